"""Reads and mirrors patches, on the grid and on coarser ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
_Scalar = TypeVar("_Scalar", bound=np.generic)

FLIPS = tuple(
    tuple(axis for axis, flipped in zip((-3, -2, -1), combination, strict=True) if flipped)
    for combination in product((False, True), repeat=3)
    if any(combination)
)
"""The seven mirrorings along the last three axes: three flips, three half turns, and the point reflection."""


def coarsen(channels: NDArray[np.floating], scale: int) -> NDArray[np.float32]:
    """Return the means (C, X', Y', Z') float32 of blocks of ``scale**3`` voxels, the last ones filled up with zeros.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
    scale : int
        Edge of a block in voxels.
    """
    if scale == 1:
        return channels.astype(np.float32, copy=False)
    margins = [(0, -size % scale) for size in channels.shape[1:]]
    means = np.pad(channels, [(0, 0), *margins]).astype(np.float32, copy=False)
    for axis in (1, 2, 3):
        shape = (*means.shape[:axis], means.shape[axis] // scale, scale, *means.shape[axis + 1 :])
        means = means.reshape(shape).mean(axis + 1)
    return means


def gather_patches(channels: NDArray[np.floating], centres: NDArray[np.integer], size: int) -> NDArray[np.float32]:
    """Read the cubic patches around the given voxels; beyond the volume they hold zeros.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        May be memory-mapped: only the patches are read.
    centres : (N, 3) integer array
        Centre voxels; the patch covers ``centre - size // 2`` to ``centre + size // 2``.
    size : int
        Edge P of the patches in voxels, odd.

    Returns
    -------
    (N, C, P, P, P) float32 array

    Raises
    ------
    ValueError
        When the size is even, the arrays have other axes, or a centre lies outside the volume.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"the patch size is {size}; a patch with a centre voxel has an odd size")
    if channels.ndim != 4 or centres.ndim != 2 or centres.shape[1] != 3:
        raise ValueError(
            f"expected channels (C, X, Y, Z) and centres (N, 3), found {channels.shape} and {centres.shape}"
        )
    n_patches, n_channels = len(centres), len(channels)
    if n_patches == 0:
        return np.empty((0, n_channels, size, size, size), np.float32)
    shape = np.array(channels.shape[1:])
    if (centres < 0).any() or (centres >= shape).any():
        raise ValueError(f"a centre lies outside the volume of shape {tuple(shape.tolist())}")
    half = size // 2
    low, high = centres.min(axis=0) - half, centres.max(axis=0) + half + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    windows = sliding_window_view(read_box(channels, box), (size, size, size), axis=(1, 2, 3))  # type: ignore[call-overload]
    starts = centres - half - low
    patches = windows[:, starts[:, 0], starts[:, 1], starts[:, 2]]
    return np.ascontiguousarray(patches.swapaxes(0, 1), np.float32)


def read_box(channels: NDArray[_Scalar], box: Sequence[slice]) -> NDArray[_Scalar]:
    """Read a box from channels (C, X, Y, Z); beyond the volume it holds zeros."""
    inside = tuple(slice(max(edge.start, 0), max(edge.stop, 0)) for edge in box)
    margins = [
        (max(min(edge.stop, 0) - edge.start, 0), max(edge.stop - max(size, edge.start), 0))
        for edge, size in zip(box, channels.shape[1:], strict=True)
    ]
    return np.pad(channels[(slice(None), *inside)], [(0, 0), *margins])


def read_crop(
    channels: NDArray[np.floating],
    box: Sequence[slice],
    scales: Sequence[int],
    margins: tuple[int, int],
    coarse: Mapping[int, NDArray[np.float32]],
) -> list[NDArray[np.float32]]:
    """Read a box and, at each scale, its surroundings in voxels of that scale; zeros beyond the volume.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        May be memory-mapped: only the needed part is read.
    box : three slices
        Starts are multiples of all scales.
    scales : sequence of S ints
    margins : pair of int
        Voxels of each scale to add before and after it.
    coarse : mapping of int to (C, X', Y', Z') float32 array
        By scale, :func:`coarsen` of the channels, if available; other scales are computed.

    Returns
    -------
    list of S (C, X', Y', Z') float32 arrays
        Equal to the boxes in :func:`coarsen` of the whole volume.

    Raises
    ------
    ValueError
        When the box doesn't start at a multiple of each scale.
    """
    if any(edge.start % scale for edge in box for scale in scales):
        raise ValueError(f"the box starts at {[edge.start for edge in box]}, expected multiples of {tuple(scales)}")
    before, after = margins
    crops = []
    for scale in scales:
        cells = [slice(edge.start // scale - before, -(-edge.stop // scale) + after) for edge in box]
        if scale in coarse:
            crops.append(read_box(coarse[scale], cells))
        else:
            crops.append(coarsen(read_box(channels, [slice(c.start * scale, c.stop * scale) for c in cells]), scale))
    return crops
