"""Transfers the table's lesion numbers to another grid."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.imaging.grid import Grid, resample
from bids_cascade.lesions.components import TOUCHING, Lesion


def lesion_numbers(
    labels: nib.Nifti1Image,
    lesions: Sequence[Lesion],
    mask: NDArray[np.bool_],
    grid: Grid,
    to_t1w: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Return the lesion number of each voxel of a grid.

    The mask on each grid has its own components, but the table has those on the grid of the T1w image. A voxel of the
    other grid's mask outside these lesions belongs to the nearest one within its component.

    Parameters
    ----------
    labels : nibabel.Nifti1Image
        Numbers of the lesions on the grid of the T1w image.
    lesions : sequence of Lesion
        A lesion smaller than a voxel of the grid is still marked at its centre.
    mask : (X, Y, Z) bool array
        Lesion mask on the grid.
    grid : Grid
    to_t1w : (4, 4) array
        Maps points of the grid's world to that of the T1w image, in mm.

    Returns
    -------
    (X, Y, Z) int32 array
        0 outside lesions of the table.
    """
    numbers = np.array(resample(labels, grid, 0, to_t1w).dataobj, np.int32)
    to_voxels = np.linalg.inv(to_t1w @ grid.affine)
    for lesion in lesions:
        centre = np.floor(apply_affine(to_voxels, [lesion.centre_x_mm, lesion.centre_y_mm, lesion.centre_z_mm]) + 0.5)
        voxel = tuple(np.clip(centre.astype(int), 0, np.array(grid.shape) - 1))
        numbers[voxel] = numbers[voxel] or lesion.label
    _spread(numbers, mask, np.linalg.norm(grid.affine[:3, :3], axis=0))
    return numbers


def _spread(numbers: NDArray[np.int32], mask: NDArray[np.bool_], sizes_mm: NDArray[np.float64]) -> None:
    """Give each unnumbered voxel of the mask the nearest number of its component, if that has any."""
    components, _ = ndimage.label(mask, TOUCHING)
    for index, box in enumerate(ndimage.find_objects(components), start=1):
        inside, within = components[box] == index, numbers[box]
        numbered = inside & (within > 0)
        if numbered.any():
            nearest = ndimage.distance_transform_edt(
                ~numbered, sampling=sizes_mm, return_distances=False, return_indices=True
            )
            within[...] = np.where(inside & ~numbered, within[tuple(nearest)], within)
