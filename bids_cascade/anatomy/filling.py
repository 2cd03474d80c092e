"""Lesion filling with the intensities of the normal white matter around, so that lesions don't bias other tools."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.structures import Structure

_WHITE = (Structure.WHITE_MATTER + 1, Structure.BRAINSTEM + 1)
_REACHES_MM = (3.0, 6.0, 12.0, 24.0)
"""Standard deviations of the neighbourhoods to fill a voxel from; the smallest with enough white matter is used."""
_ENOUGH = 0.02
"""Smallest weight (0 to 1) of normal white matter with which a neighbourhood's mean and spread are reliable."""
_TOUCHING = np.ones((3, 3, 3), bool)
_MARGIN_REACHES = 3.0
_FURTHEST_SD = 2.5
_LEAST_CORRELATION, _MOST_CORRELATION = 0.05, 0.97
"""Correlation of neighbours below which noise is white, and the largest that is used: a Gaussian of 3 voxels."""


def fill_lesions(
    t1w: NDArray[np.floating],
    lesion: NDArray[np.bool_],
    structures: NDArray[np.uint8],
    voxel_mm: Sequence[float],
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Fill the lesions of a T1w image, and the white matter that touches them.

    Each voxel gets the mean of the normal white matter near it, plus noise as large and as smooth as that white
    matter's. A mask that misses a lesion's rim harms tissue volumes more than one that is too large, so masks are
    dilated by one voxel, but not into cortex, deep grey matter or fluid.

    Parameters
    ----------
    t1w : (X, Y, Z) array
        Bias-corrected.
    lesion : (X, Y, Z) bool array
    structures : (X, Y, Z) uint8 array
        :class:`~bids_cascade.anatomy.structures.Structure` + 1.
    voxel_mm : sequence of float
    seed : int
        Seed of the noise.

    Returns
    -------
    filled : (X, Y, Z) float32 array
        Unchanged where nothing was filled, and everywhere if there is no normal white matter.
    refilled : (X, Y, Z) bool array

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    if not t1w.shape == lesion.shape == structures.shape:
        raise ValueError(f"expected one grid, found {t1w.shape}, {lesion.shape} and {structures.shape}")
    filled = np.array(t1w, np.float32)
    refilled = np.zeros(lesion.shape, bool)
    if not lesion.any():
        return filled, refilled
    grown = ndimage.binary_dilation(lesion, _TOUCHING)
    normal = normal_white_matter(t1w, grown, structures)
    if not normal.any():
        return filled, refilled
    refilled[:] = lesion | (grown & np.isin(structures, _WHITE))
    mean, spread = _local_white_matter(filled, normal, refilled, voxel_mm)
    sigmas = _smoothness(filled, normal, float(np.sqrt(np.mean(spread.astype(np.float64) ** 2))))
    filled[refilled] = mean + spread * _smooth_noise(refilled, sigmas, seed)
    return filled, refilled


def normal_white_matter(
    t1w: NDArray[np.floating], lesion: NDArray[np.bool_], structures: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Return white matter (X, Y, Z) that touches neither lesion nor other tissue, without outliers."""
    white = np.isin(structures, _WHITE) & ~lesion
    core = ndimage.binary_erosion(white, ndimage.generate_binary_structure(3, 1))
    core = core if core.any() else white
    if not core.any():
        return core
    values = t1w[core]
    middle = np.median(values)
    off = np.abs(values - middle)
    spread = 1.4826 * np.median(off)
    core[core] = off <= 3 * spread + 1e-6 * abs(middle)  # in place and only for these voxels: scans may be large
    return core


def _local_white_matter(
    t1w: NDArray[np.float32], normal: NDArray[np.bool_], wanted: NDArray[np.bool_], voxel_mm: Sequence[float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of normal white matter around each wanted voxel, (N,) each.

    This is a Gaussian convolution, normalised by the weight of white matter in it.
    """
    overall = t1w[normal]
    mean = np.full(np.count_nonzero(wanted), overall.mean(dtype=np.float64), np.float32)
    spread = np.full(len(mean), overall.std(dtype=np.float64), np.float32)
    left, remaining = np.ones(len(mean), bool), wanted.copy()
    for reach in _REACHES_MM:
        sigmas = [reach / size for size in voxel_mm]
        box = _box_around(remaining, [_MARGIN_REACHES * sigma for sigma in sigmas])
        inside, weight = remaining[box], normal[box].astype(np.float32)
        centred = (t1w[box] - overall.mean(dtype=np.float64)) * weight
        total, first, second = (
            ndimage.gaussian_filter(volume, sigmas, truncate=_MARGIN_REACHES)[inside]
            for volume in (weight, centred, centred * centred)
        )
        enough = total > _ENOUGH
        found = np.flatnonzero(left)[enough]
        around = first[enough] / total[enough]
        mean[found] = around + overall.mean(dtype=np.float64)
        spread[found] = np.sqrt(np.maximum(second[enough] / total[enough] - around**2, 0))
        left[found] = False
        remaining[wanted] = left
        if not left.any():
            break
    return mean, spread


def _smoothness(t1w: NDArray[np.float32], normal: NDArray[np.bool_], spread: float) -> list[float]:
    """Return the standard deviation, in voxels along each axis, of a Gaussian that makes white noise as smooth as T1w.

    White noise smoothed by it has the correlation exp(-1 / (4 sigma^2)) between neighbours [1]_. That of normal white
    matter follows from the variance of their differences, which slow changes hardly affect.

    References
    ----------
    .. [1] Worsley K. J. et al., A three-dimensional statistical analysis for CBF activation studies in human brain,
       Journal of Cerebral Blood Flow and Metabolism 12 (1992) 900-918.
    """
    sigmas = []
    for axis in range(3):
        values, here = np.moveaxis(t1w, axis, 0), np.moveaxis(normal, axis, 0)
        steps = np.diff(values, axis=0)[here[1:] & here[:-1]]
        rough = float(np.mean(steps.astype(np.float64) ** 2)) if len(steps) else 2 * spread**2
        correlation = 1 - rough / (2 * spread**2) if spread > 0 else 0.0
        likely = correlation > _LEAST_CORRELATION
        sigmas.append(float(np.sqrt(-1 / (4 * np.log(min(correlation, _MOST_CORRELATION))))) if likely else 0.0)
    return sigmas


def _smooth_noise(wanted: NDArray[np.bool_], sigmas: Sequence[float], seed: int) -> NDArray[np.float32]:
    """Return Gaussian noise of this smoothness and of variance 1 at the wanted voxels, (N,), without outliers."""
    inside = wanted[_box_around(wanted, [_MARGIN_REACHES * sigma for sigma in sigmas])]
    noise = np.random.default_rng(seed).standard_normal(inside.shape, dtype=np.float32)
    for axis, sigma in enumerate(sigmas):
        if sigma > 0:
            noise = ndimage.gaussian_filter1d(noise, sigma, axis, truncate=_MARGIN_REACHES)
            impulse = np.zeros(2 * int(np.ceil(_MARGIN_REACHES * sigma)) + 1)
            impulse[len(impulse) // 2] = 1
            noise /= np.linalg.norm(ndimage.gaussian_filter1d(impulse, sigma, truncate=_MARGIN_REACHES))
    return np.asarray(noise[inside].clip(-_FURTHEST_SD, _FURTHEST_SD))


def _box_around(mask: NDArray[np.bool_], margins: Sequence[float]) -> tuple[slice, ...]:
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    return tuple(
        slice(max(0, edge.start - int(np.ceil(more))), edge.stop + int(np.ceil(more)))
        for edge, more in zip(box, margins, strict=True)
    )
