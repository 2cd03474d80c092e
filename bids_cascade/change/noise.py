"""Noise of two visits' FLAIR difference in unchanged tissue, measured in the pair itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.change.matching import BoolArray, FloatArray, local_mean, robust_sd

_SMOOTHING_MM = 0.8
_NEIGHBOURHOOD_MM = 8.0
"""Standard deviation of the Gaussian weights of the local noise: they cover enough voxels and are still local."""
_MOST_SDS = 6.0
"""Differences are clipped to this many standard deviations: larger ones say no more about the noise around them."""
_N_BINS = 20
_EDGES = (1, 2, 3, 5, 7, 9)
"""Edges, in voxels, of the cubes whose means are measured."""
_FEWEST_CUBES = 200
_LEAST_SD = 1e-3
"""Lower limit of the voxels' noise: copies of one image have none, so that rounding would count as a change."""


@dataclass(frozen=True)
class PairNoise:
    """Noise of the smoothed FLAIR difference of a pair.

    Attributes
    ----------
    white_sd : float
        In normal-appearing white matter, whose level is 1.
    shift_mm : float
        Displacement that would cause the noise at the brain's edges, which registration, interpolation and the shape
        of the voxels leave.
    of_means : tuple of (int, float)
        Numbers of connected voxels, and the standard deviation of the mean z-value over so many.
    """

    white_sd: float
    shift_mm: float
    of_means: tuple[tuple[int, float], ...]

    def sd_of_mean(self, n_voxels: int) -> float:
        """Return the standard deviation of the mean z-value over this number of connected voxels."""
        counts, sds = np.array(self.of_means, np.float64).T
        return float(np.exp(np.interp(np.log(max(n_voxels, 1)), np.log(counts), np.log(sds))))


def smooth_slightly(volume: FloatArray, edge_mm: float) -> FloatArray:
    """Return a slightly smoothed volume, in which single voxels have less weight."""
    return np.asarray(ndimage.gaussian_filter(volume, _SMOOTHING_MM / edge_mm, mode="nearest", truncate=3))


def gradient_per_mm(volume: NDArray[np.floating], edge_mm: float) -> FloatArray:
    """Return the magnitude of a volume's gradient, per mm."""
    total = np.zeros(volume.shape, np.float32)
    for along in np.gradient(volume, edge_mm):
        total += np.asarray(along, np.float32) ** 2
    return np.asarray(np.sqrt(total, out=total))


def measure_noise(
    difference: FloatArray, gradient: FloatArray, usual: BoolArray, white: BoolArray, edge_mm: float
) -> tuple[PairNoise, FloatArray]:
    """Measure the noise of a smoothed difference.

    The variance is that of white matter plus, at edges in the image, the square of a displacement times the square of
    the gradient; the displacement is fitted to robust variances of twenty classes of gradients. Where the usual tissue
    around a voxel differs by more than that, such as at the rim of brains that were scanned with two protocols, the
    noise is increased accordingly.

    Parameters
    ----------
    difference, gradient : (X, Y, Z) float32 array
        Later minus earlier FLAIR; gradient magnitude of the mean of both, per mm.
    usual, white : (X, Y, Z) bool array
        Brain away from lesions; normal-appearing white matter in it.
    edge_mm : float
        Edge of a voxel.

    Returns
    -------
    noise : PairNoise
    sd : (X, Y, Z) float32 array
        Standard deviation at each voxel.

    Raises
    ------
    ValueError
        When there is no white matter.
    """
    if not white.any():
        raise ValueError("no normal-appearing white matter in which the noise of the difference could be measured")
    white_sd = max(robust_sd(difference[white]), _LEAST_SD)
    shift_mm = _fit_shift(difference[usual], gradient[usual], white_sd)
    sd = np.sqrt(white_sd**2 + (shift_mm * gradient) ** 2).astype(np.float32)
    centred = difference - np.float32(np.median(difference[white]))
    around = local_mean((centred / sd).clip(-_MOST_SDS, _MOST_SDS) ** 2, usual, _NEIGHBOURHOOD_MM / edge_mm)
    sd *= np.sqrt(np.maximum(around, np.float32(1)))
    return PairNoise(white_sd, shift_mm, _noise_of_means(np.where(usual, centred / sd, np.float32(0)), usual)), sd


def _fit_shift(difference: FloatArray, gradient: FloatArray, white_sd: float) -> float:
    edges = np.quantile(gradient, np.linspace(0, 1, _N_BINS + 1)[1:-1])
    classes = np.digitize(gradient, edges)
    squares, excesses = [], []
    for number in range(_N_BINS):
        own = classes == number
        if own.any():
            squares.append(float(np.median(gradient[own])) ** 2)
            excesses.append(robust_sd(difference[own]) ** 2 - white_sd**2)
    x, y = np.array(squares, np.float64), np.array(excesses, np.float64)
    return float(np.sqrt(max(0.0, (x * y).sum() / max((x * x).sum(), 1e-12))))


def _noise_of_means(z: FloatArray, usual: BoolArray) -> tuple[tuple[int, float], ...]:
    """Return the robust standard deviation of mean z-values over cubes of usual voxels, by the cubes' volume."""
    sds: list[tuple[int, float]] = []
    for edge in _EDGES:
        whole = ndimage.minimum_filter(usual, edge)[::2, ::2, ::2]
        if sds and np.count_nonzero(whole) < _FEWEST_CUBES:
            break
        means = ndimage.uniform_filter(z, edge)[::2, ::2, ::2][whole]
        sds.append((edge**3, max(robust_sd(means), 1e-3)))
    return tuple(sds)
