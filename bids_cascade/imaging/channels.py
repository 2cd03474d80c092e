"""The channels of the networks: every sequence normalised on the model's grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.normalisation import normalise
from bids_cascade.cascade.zscore import zscore_over_volume
from bids_cascade.config import WHITE_MATTER
from bids_cascade.errors import BadDataError
from bids_cascade.imaging.contrast import measure_contrast
from bids_cascade.imaging.grid import Grid, grid_of, model_grid, resample
from bids_cascade.imaging.images import data_of, load_image, load_labels, mask_of, same_grid, save_image

_ROUNDING = 1e-4
_MARGIN_MM = 2.0
"""Enough to interpolate probabilities back onto other grids; beyond the brain, all channels are 0 anyway."""


def stack_channels(
    images: Mapping[str, nib.Nifti1Image],
    transforms: Sequence[NDArray[np.float64] | None],
    mask: nib.Nifti1Image,
    voxel_size_mm: float,
    sequences: Sequence[str],
    normalisation: str = WHITE_MATTER,
) -> tuple[NDArray[np.float32], nib.Nifti1Image, dict[str, dict[str, float | None]]]:
    """Bring the sequences onto the model's grid and normalise them there, together.

    Parameters
    ----------
    images : mapping of str to nibabel.Nifti1Image
        (X, Y, Z) each, by sequence, on their own grids.
    transforms : sequence of (4, 4) ndarray or None
        For each image, maps points of the mask's world to its world, in mm; None where they share one.
    mask : nibabel.Nifti1Image
        Brain mask, which the model's grid is put around.
    voxel_size_mm : float
        Edge of the grid's voxels.
    sequences : sequence of str
        Of the channels, in their order; those without an image are 0.
    normalisation : str
        Of the channels, one of ``bids_cascade.config.NORMALISATIONS``.

    Returns
    -------
    channels : (C, X, Y, Z) float32 ndarray
        White matter is 1, and 0 outside the brain, or as :func:`bids_cascade.cascade.zscore.zscore_over_volume` says.
    brain : nibabel.Nifti1Image
        uint8, the voxels that are brain in every image's field of view, on the model's grid.
    contrast : dict of dict
        Of every image, by sequence: see :func:`bids_cascade.imaging.contrast.measure_contrast`.

    Raises
    ------
    ValueError
        If fewer than 1000 brain voxels lie in every field of view, or an image is constant over the brain.
    """
    grid = model_grid(mask, mask, voxel_size_mm, _MARGIN_MM)
    brain = data_of(resample(_as_float(mask), grid, 1)) >= 0.5 - _ROUNDING
    for image, transform in zip(images.values(), transforms, strict=True):
        brain &= _covered(image, grid, transform)
    resampled = [
        data_of(resample(image, grid, 1, transform))
        for image, transform in zip(images.values(), transforms, strict=True)
    ]
    normalised = normalise(np.stack(resampled), brain, list(images))
    present = [name for name in sequences if name in images]
    chosen = [list(images).index(name) for name in present]
    channels = np.zeros((len(sequences), *brain.shape), np.float32)
    if normalisation == WHITE_MATTER:
        values = normalised[chosen]
    else:
        values = zscore_over_volume(np.stack([resampled[i] for i in chosen]), brain, _n_voxels(images, grid))
    channels[[list(sequences).index(name) for name in present]] = values
    contrast = measure_contrast(normalised, brain, voxel_size_mm, list(images))
    return channels, nib.Nifti1Image(brain.astype(np.uint8), grid.affine), contrast


def save_channels(channels: NDArray[np.float32], brain: nib.Nifti1Image, folder: Path) -> dict[str, str]:
    """Write what :func:`stack_channels` returns into a folder, as ``channels.npy`` and ``brain.nii``.

    Parameters
    ----------
    channels : (C, X, Y, Z) float32 array
    brain : Nifti1Image
        The brain mask on the same grid.
    folder : Path
        Existing folder.

    Returns
    -------
    dict of str to str
        Paths of ``channels`` and ``brain``.
    """
    np.save(folder / "channels.npy", channels)
    save_image(mask_of(brain), brain.affine, folder / "brain.nii", np.uint8)
    return {"channels": str(folder / "channels.npy"), "brain": str(folder / "brain.nii")}


def present_channels(
    channels: NDArray[np.float32], brain: nib.Nifti1Image, sequences: Sequence[str], normalisation: str
) -> tuple[NDArray[np.float32], list[str]]:
    """Return the channels that have an image, with white matter 1, and their sequences.

    Parameters
    ----------
    channels : (C, X, Y, Z) float32 array
        From :func:`stack_channels`: 0 where there is no image.
    brain : nibabel.Nifti1Image
        Mask on their grid.
    sequences : sequence of str
        Of the channels.
    normalisation : str
        Of the channels.
    """
    present = [index for index, channel in enumerate(channels) if channel.any()]
    names = [sequences[index] for index in present]
    if normalisation == WHITE_MATTER:
        return channels[present], names
    return normalise(channels[present], mask_of(brain), names), names


def move_label(path: Path, transforms: Mapping[Path, NDArray[np.float64]], grid: Grid) -> nib.Nifti1Image:
    """Bring a manual mask, which is on the grid of one of its visit's images, onto the model's grid.

    Parameters
    ----------
    path : Path
        The mask.
    transforms : mapping of Path to (4, 4) array
        By raw image, what maps points of the T1w image's world to that image's, in mm.
    grid : Grid
        The model's, in the world of the T1w image.

    Raises
    ------
    BadDataError
        When the mask is on the grid of none of the images.
    """
    label = load_labels(path)
    for image, transform in transforms.items():
        if same_grid(label, load_image(image)):
            return label_on_grid(label, grid, transform)
    names = " or ".join(image.name for image in transforms)
    raise BadDataError(
        f"{path}: the mask, {label.shape}, is not on the grid of any image of its visit; expected that of {names}"
    )


def label_on_grid(label: nib.Nifti1Image, grid: Grid, fixed_to_moving: NDArray[np.float64] | None) -> nib.Nifti1Image:
    """Bring a manual mask onto the model's grid by nearest neighbour, in one step, as uint8 0 and 1.

    Parameters
    ----------
    label : Nifti1Image
    grid : Grid
        The model's.
    fixed_to_moving : (4, 4) array or None
        Rigid transform from the grid's world to the mask's, in RAS+ mm; None for the same world.
    """
    binary = nib.Nifti1Image(mask_of(label).astype(np.uint8), label.affine)
    return resample(binary, grid, 0, fixed_to_moving)


def _n_voxels(images: Mapping[str, nib.Nifti1Image], grid: Grid) -> int:
    """Return how many of the grid's voxels the field of view of the FLAIR, or else of the first image, would take."""
    own = grid_of(images.get("FLAIR", next(iter(images.values()))))
    return round(math.prod(own.shape) * own.voxel_volume_mm3 / grid.voxel_volume_mm3)


def _as_float(mask: nib.Nifti1Image) -> nib.Nifti1Image:
    return nib.Nifti1Image(mask_of(mask).astype(np.float32), mask.affine)


def _covered(image: nib.Nifti1Image, grid: Grid, transform: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Which points of the grid lie in the image's field of view, as (X, Y, Z)."""
    own = grid_of(image)
    return mask_of(resample(nib.Nifti1Image(np.ones(own.shape, np.uint8), own.affine), grid, 0, transform))
