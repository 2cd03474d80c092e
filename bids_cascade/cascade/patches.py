"""Where the patches are, and how they are read and turned."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FLIPS = tuple(
    tuple(axis for axis, flipped in zip((2, 3, 4), combination, strict=True) if flipped)
    for combination in product((False, True), repeat=3)
    if any(combination)
)
"""The seven mirrorings of an (N, C, P, P, P) batch: three flips, three half turns, and the point reflection."""


def gather_patches(channels: NDArray[np.float32], centres: NDArray[np.integer], size: int) -> NDArray[np.float32]:
    """Read the cubic patches around the given voxels; beyond the volume they hold zeros.

    Parameters
    ----------
    channels : (C, X, Y, Z) float32 array
        May be memory-mapped: only what the patches cover is read.
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
    before, after = np.maximum(-low, 0), np.maximum(high - shape, 0)
    if before.any() or after.any():
        channels = np.pad(channels, [(0, 0), *zip(before, after, strict=True)])
    starts = centres - half + before
    windows = sliding_window_view(channels, (size, size, size), axis=(1, 2, 3))  # type: ignore[call-overload]
    patches = windows[:, starts[:, 0], starts[:, 1], starts[:, 2]]
    return np.ascontiguousarray(patches.swapaxes(0, 1), np.float32)


def mirror_half(patches: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Mirror a random half of the batch by flips and 180-degree rotations.

    Parameters
    ----------
    patches : (N, C, P, P, P) tensor
    rng : numpy.random.Generator
        Decides which patches are mirrored, and how.

    Returns
    -------
    (N, C, P, P, P) tensor
        A new tensor; the order of the patches is kept.
    """
    mirrored = patches.clone()
    chosen = rng.permutation(len(patches))[: len(patches) // 2]
    flips = rng.integers(len(FLIPS), size=len(chosen))
    for index, axes in enumerate(FLIPS):
        rows = torch.from_numpy(chosen[flips == index])
        if len(rows):
            mirrored[rows] = patches[rows].flip(axes)
    return mirrored
