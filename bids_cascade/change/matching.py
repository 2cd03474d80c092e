"""Intensity matching of two visits: white matter gets one level, and the difference of their bias fields is removed."""

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
"""Standard deviation of the Gaussian weights that average differences into a field. Fields that remain after bias
correction vary over some 5 cm: with 20 mm, the difference of two synthetic scans of one head had a standard deviation
of 0.060 in white matter, most of it smooth, with 12 mm 0.043, with 8 mm 0.040 and with 6 mm 0.039."""
_COARSER = 4
"""Edge, in voxels, of the blocks that are averaged before smoothing."""
_MOST_SDS = 3.0
_RANGE_PERCENTILES = (95, 5)
_WHITE_T1W = 0.85
_WHITE_FLAIR = (0.7, 1.3)
"""Intensities of normal-appearing white matter, whose level is 1: T1w above the first, FLAIR between the others."""
_AWAY = 2
"""Distance, in voxels, that normal-appearing white matter keeps from lesions of either visit."""


@dataclass(frozen=True, eq=False)
class MatchedPair:
    """Two visits' scans on one grid and one intensity scale; white matter is 1.

    Attributes
    ----------
    earlier, later : (C, X, Y, Z) float32 array
    usual : (X, Y, Z) bool array
        Brain away from lesions.
    white : (X, Y, Z) bool array
        Normal-appearing white matter.
    field_sds : tuple of float
        Standard deviation, in white matter, of the smooth field that was removed from each channel's difference.
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
    """Bring two visits' scans to one intensity scale.

    Each visit is normalised by its own tissues, see :mod:`bids_cascade.cascade.normalisation`, and both are scaled to
    the contrast half-way between theirs. Then half of their smooth difference in normal-appearing white matter is
    subtracted from the later visit and added to the earlier one.

    Parameters
    ----------
    earlier, later : (C, X, Y, Z) array
    brain : (X, Y, Z) bool array
        Brain of both visits.
    lesion : (X, Y, Z) bool array
        Possible lesion at either visit.
    edge_mm : float
        Edge of a voxel.
    sequences : sequence of str
        Of the channels.

    Raises
    ------
    ValueError
        When a visit's tissues can't be told apart, or the whole brain may be lesion.
    """
    first, second = (normalise(scans, brain, sequences) for scans in (earlier, later))
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
    """Scale two images around white matter, in place, so that their usual brains have the same range of intensities."""
    spreads = [float(np.subtract(*np.percentile(image[usual], _RANGE_PERCENTILES))) for image in (first, second)]
    if min(spreads) <= 0:
        return
    gain = np.float32(np.sqrt(spreads[0] / spreads[1]))
    for image, factor in ((first, 1 / gain), (second, gain)):
        image[image != 0] = 1 + (image[image != 0] - 1) * factor


def smooth_difference(difference: FloatArray, white: BoolArray, edge_mm: float) -> FloatArray:
    """Return the smooth field in a difference (X, Y, Z), estimated from white matter alone.

    Values more than three robust standard deviations from the median are clipped, so that changes hardly influence it.
    """
    values = difference[white]
    if not values.size:
        return np.zeros_like(difference)
    middle = np.median(values)
    reach = _MOST_SDS * robust_sd(values)
    return local_mean(np.clip(difference, middle - reach, middle + reach) - middle, white, _FIELD_MM / edge_mm) + middle


def local_mean(values: FloatArray, where: BoolArray, sd_voxels: float) -> FloatArray:
    """Return the local mean of values (X, Y, Z) over the selected voxels; 0 far from all of them.

    Parameters
    ----------
    values : (X, Y, Z) float32 array
    where : (X, Y, Z) bool array
        Selected voxels.
    sd_voxels : float
        Standard deviation of the Gaussian weights, at least several voxels: blocks of 4 along each axis count as one.
    """
    sums, counts = (
        _block_sums(volume) for volume in (np.where(where, values, np.float32(0)), where.astype(np.float32))
    )
    smoothed, weights = (
        ndimage.gaussian_filter(blocks, sd_voxels / _COARSER, mode="constant") for blocks in (sums, counts)
    )
    coarse = np.divide(smoothed, weights, out=np.zeros_like(smoothed), where=weights > 1e-3 * weights.max())
    sizes = zip(values.shape, coarse.shape, strict=True)
    return along_axes(coarse, [linear_weights((np.arange(n) + 0.5) / _COARSER - 0.5, blocks) for n, blocks in sizes])


def robust_sd(values: NDArray[np.floating]) -> float:
    """Return the standard deviation of a normal distribution with the values' median absolute deviation."""
    return float(MAD_TO_SD * np.median(np.abs(values - np.median(values)))) if values.size else 0.0


def _block_sums(volume: FloatArray) -> FloatArray:
    """Return the sums over blocks of a volume, which is padded with 0 to whole blocks."""
    padded = np.pad(volume, [(0, -n % _COARSER) for n in volume.shape])
    x, y, z = (n // _COARSER for n in padded.shape)
    return np.asarray(padded.reshape(x, _COARSER, y, _COARSER, z, _COARSER).sum(axis=(1, 3, 5)))


def _white_matter(first: FloatArray, second: FloatArray, usual: BoolArray, sequences: Sequence[str]) -> BoolArray:
    """Return the usual voxels that are white matter in the mean of both visits, as are all their neighbours."""
    mean = (first + second) / 2
    flair = mean[list(sequences).index("FLAIR")]
    white = usual & (flair > _WHITE_FLAIR[0]) & (flair < _WHITE_FLAIR[1])
    if "T1w" in sequences:
        white &= mean[list(sequences).index("T1w")] > _WHITE_T1W
    return np.asarray(ndimage.binary_erosion(white))
