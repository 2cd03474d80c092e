"""Lesion filling with the intensities of the normal white matter around, so that lesions don't bias other tools."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.structures import Structure

_WHITE = (Structure.WHITE_MATTER + 1, Structure.BRAINSTEM + 1)
_CORTEX = Structure.CORTEX + 1
_REACHES_MM = (3.0, 6.0, 12.0, 24.0)
"""Standard deviations of the neighbourhoods to fill a voxel from; the smallest with enough white matter is used."""
_ENOUGH = 0.02
"""Smallest weight (0 to 1) of normal white matter with which a neighbourhood's mean and spread are reliable."""
_TOUCHING = np.ones((3, 3, 3), bool)
_MARGIN_REACHES = 3.0
_FURTHEST_SD = 2.5


def fill_lesions(
    t1w: NDArray[np.floating],
    lesion: NDArray[np.bool_],
    structures: NDArray[np.uint8],
    voxel_mm: Sequence[float],
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Fill the lesions of a T1w image, and the white matter that touches them.

    Each voxel gets the mean of the normal white matter near it, plus noise of that white matter's spread. A mask that
    misses a lesion's rim harms tissue volumes more than one that is too large, so masks are dilated by one voxel, but
    not into cortex, deep grey matter or fluid. Parts of lesions in cortex are not filled: white matter in their place
    would thin the cortex.

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
    refilled[:] = (lesion & (structures != _CORTEX)) | (grown & np.isin(structures, _WHITE))
    if not refilled.any():
        return filled, refilled
    normal = normal_white_matter(t1w, grown, structures)
    if not normal.any():
        return filled, np.zeros(lesion.shape, bool)
    mean, spread = _local_white_matter(filled, normal, refilled, voxel_mm)
    noise = np.random.default_rng(seed).standard_normal(len(mean)).clip(-_FURTHEST_SD, _FURTHEST_SD)
    filled[refilled] = mean + spread * noise
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
    left = np.ones(len(mean), bool)
    for reach in _REACHES_MM:
        sigmas = [reach / size for size in voxel_mm]
        box = _box_around(wanted, [_MARGIN_REACHES * sigma for sigma in sigmas])
        inside, weight = wanted[box], normal[box].astype(np.float32)
        centred = (t1w[box] - overall.mean(dtype=np.float64)) * weight
        total, first, second = (
            ndimage.gaussian_filter(volume, sigmas, truncate=_MARGIN_REACHES)[inside]
            for volume in (weight, centred, centred * centred)
        )
        enough = left & (total > _ENOUGH)
        around = first[enough] / total[enough]
        mean[enough] = around + overall.mean(dtype=np.float64)
        spread[enough] = np.sqrt(np.maximum(second[enough] / total[enough] - around**2, 0))
        left &= ~enough
        if not left.any():
            break
    return mean, spread


def _box_around(mask: NDArray[np.bool_], margins: Sequence[float]) -> tuple[slice, ...]:
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    return tuple(
        slice(max(0, edge.start - int(np.ceil(more))), edge.stop + int(np.ceil(more)))
        for edge, more in zip(box, margins, strict=True)
    )
