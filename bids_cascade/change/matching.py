"""Intensities of two visits brought to one footing: white matter matched, the difference of bias fields removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.cascade.normalisation import normalise
from bids_cascade.lesions.components import TOUCHING
from bids_cascade.synthesis.fields import along_axes, linear_weights

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

MAD_TO_SD = 1.4826
_FIELD_MM = 8.0
"""Standard deviation of the weights that average differences into a field. What bias correction and scanners leave
varies over some 5 cm: with 20 mm, the difference of two synthetic scans of one head had a standard deviation of 0.060
in white matter, most of it smooth, with 12 mm 0.043, with 8 mm 0.040 and with 6 mm 0.039."""
_COARSER = 4
"""Voxels along each axis that are averaged first."""
_MOST_SDS = 3.0
_RANGE_PERCENTILES = (95, 5)
_WHITE_T1W = 0.85
_WHITE_FLAIR = (0.7, 1.3)
"""Where normal-appearing white matter is looked for; 1 is its level."""
_AWAY = 2
"""Voxels that normal-appearing white matter keeps from lesions of either visit."""


@dataclass(frozen=True, eq=False)
class MatchedPair:
    """Two visits' scans on one grid with one scale; white matter is 1.

    Attributes
    ----------
    earlier, later : (C, X, Y, Z) float32 array
    usual : (X, Y, Z) bool array
        Brain away from lesions.
    white : (X, Y, Z) bool array
        Normal-appearing white matter.
    field_sds : tuple of float
        By channel: standard deviation in white matter of the smooth field that was taken from the difference.
    """

    earlier: FloatArray
    later: FloatArray
    usual: BoolArray
    white: BoolArray
    field_sds: tuple[float, ...]


def match_visits(
    earlier: NDArray[np.floating],
    later: NDArray[np.floating],
    brain: BoolArray,
    lesion: BoolArray,
    edge_mm: float,
    sequences: Sequence[str],
) -> MatchedPair:
    """Bring two visits' scans to one scale.

    Each visit is normalised by its own tissues, see :mod:`bids_cascade.cascade.normalisation`, and both are given one
    contrast, half-way between theirs; then half of the smooth difference of the two in normal-appearing white matter is
    taken from the later visit and added to the earlier one.

    Parameters
    ----------
    earlier, later : (C, X, Y, Z) array
    brain : (X, Y, Z) bool array
        Brain in both.
    lesion : (X, Y, Z) bool array
        What may be lesion in either.
    edge_mm : float
        Of a voxel.
    sequences : sequence of str
        Of the channels.

    Raises
    ------
    ValueError
        When a visit's tissues can't be told apart, or all of the brain may be lesion.
    """
    first, second = (normalise(one, brain, sequences) for one in (earlier, later))
    usual = brain & ~ndimage.binary_dilation(lesion, TOUCHING, iterations=_AWAY)
    if not usual.any():
        raise ValueError("no part of the brain is away from what may be lesion at either visit")
    for a, b in zip(first, second, strict=True):
        _match_contrast(a, b, usual)
    white = _white_matter(first, second, usual, sequences)
    field_sds = []
    for a, b in zip(first, second, strict=True):
        half = np.float32(0.5) * smooth_difference(b - a, white, edge_mm)
        field_sds.append(float(2 * half[white].std()) if white.any() else 0.0)
        a += half * brain
        b -= half * brain
    return MatchedPair(first, second, usual, _white_matter(first, second, usual, sequences), tuple(field_sds))


def _match_contrast(first: FloatArray, second: FloatArray, usual: BoolArray) -> None:
    """Stretch two images around white matter, in place, until their usual brains have one range of intensities."""
    spreads = [float(np.subtract(*np.percentile(one[usual], _RANGE_PERCENTILES))) for one in (first, second)]
    if min(spreads) <= 0:
        return
    gain = np.float32(np.sqrt(spreads[0] / spreads[1]))
    for one, factor in ((first, 1 / gain), (second, gain)):
        one[one != 0] = 1 + (one[one != 0] - 1) * factor


def smooth_difference(difference: FloatArray, white: BoolArray, edge_mm: float) -> FloatArray:
    """Return the field of which a difference (X, Y, Z) is made up but for details, from white matter alone.

    Values more than three robust standard deviations from the median are cut off, so that what has changed has no say.
    """
    values = difference[white]
    if not values.size:
        return np.zeros_like(difference)
    middle = np.median(values)
    reach = _MOST_SDS * robust_sd(values)
    return local_mean(np.clip(difference, middle - reach, middle + reach) - middle, white, _FIELD_MM / edge_mm) + middle


def local_mean(values: FloatArray, where: BoolArray, sd_voxels: float) -> FloatArray:
    """Return the mean of the values (X, Y, Z) around each voxel, from some voxels alone; 0 far from all of them.

    Parameters
    ----------
    values : (X, Y, Z) float32 array
    where : (X, Y, Z) bool array
        Voxels that count.
    sd_voxels : float
        Standard deviation of the Gaussian weights, some voxels at least: blocks of four along each axis are one.
    """
    sums, counts = (_block_sums(one) for one in (np.where(where, values, np.float32(0)), where.astype(np.float32)))
    smoothed, weights = (ndimage.gaussian_filter(one, sd_voxels / _COARSER, mode="constant") for one in (sums, counts))
    coarse = np.divide(smoothed, weights, out=np.zeros_like(smoothed), where=weights > 1e-3 * weights.max())
    sizes = zip(values.shape, coarse.shape, strict=True)
    return along_axes(coarse, [linear_weights((np.arange(n) + 0.5) / _COARSER - 0.5, blocks) for n, blocks in sizes])


def robust_sd(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of a normal distribution with the values' median absolute deviation."""
    return float(MAD_TO_SD * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def _block_sums(volume: FloatArray) -> FloatArray:
    """Return the sums of blocks of a volume, padded with 0 to whole blocks."""
    padded = np.pad(volume, [(0, -n % _COARSER) for n in volume.shape])
    x, y, z = (n // _COARSER for n in padded.shape)
    return np.asarray(padded.reshape(x, _COARSER, y, _COARSER, z, _COARSER).sum(axis=(1, 3, 5)))


def _white_matter(first: FloatArray, second: FloatArray, usual: BoolArray, sequences: Sequence[str]) -> BoolArray:
    """Return the usual voxels that are white matter in both visits together, with all their neighbours."""
    mean = (first + second) / 2
    flair = mean[list(sequences).index("FLAIR")]
    white = usual & (flair > _WHITE_FLAIR[0]) & (flair < _WHITE_FLAIR[1])
    if "T1w" in sequences:
        white &= mean[list(sequences).index("T1w")] > _WHITE_T1W
    return np.asarray(ndimage.binary_erosion(white))
