"""The atlas in the package: the probability of each structure in the template's space."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.anatomy.registration import warp
from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.tissue import widen_fluid
from bids_cascade.imaging.grid import Grid, resample
from bids_cascade.imaging.images import data_of

ATLAS = Path(__file__).parent / "atlas.nii.gz"
"""(X, Y, Z, S) uint8, scaled by 255; ``atlas.md`` describes its sources and how it was made."""

_PRIORS_MM = 2.0


@cache
def load_atlas() -> nib.Nifti1Image:
    """Return the atlas, (X, Y, Z, S) uint8, with its affine to the template's world, RAS+ mm."""
    image = nib.Nifti1Image.from_filename(ATLAS)
    return nib.Nifti1Image(np.asarray(image.dataobj, np.uint8), image.affine)


def warped_priors(grid: Grid, from_template: Path) -> NDArray[np.float32]:
    """Return the prior probability of each structure, (S, X, Y, Z), on a head's grid.

    The priors are smooth, so they are warped at 2 mm and then interpolated linearly.

    Parameters
    ----------
    grid : Grid
    from_template : Path
        ITK transform that brings images of the template to the head.
    """
    between = _coarser(grid)
    priors = np.empty((len(Structure), *grid.shape), np.float32)
    for structure, volume in zip(Structure, _volumes(), strict=True):
        priors[structure] = data_of(resample(warp(volume, between, from_template), grid, 1))
    return priors


@cache
def _volumes() -> tuple[nib.Nifti1Image, ...]:
    """Return the atlas's volumes as fractions, with fluid extended beyond its source maps."""
    atlas = load_atlas()
    fractions = np.moveaxis(np.asarray(atlas.dataobj), -1, 0).astype(np.float32) / 255
    sizes = np.linalg.norm(atlas.affine[:3, :3], axis=0)
    return tuple(nib.Nifti1Image(volume, atlas.affine) for volume in widen_fluid(fractions, sizes.tolist()))


def _coarser(grid: Grid) -> Grid:
    """Return a grid with voxels of about 2 mm that extends one voxel beyond another grid."""
    sizes = np.linalg.norm(grid.affine[:3, :3], axis=0)
    factors = np.maximum(_PRIORS_MM / sizes, 1.0)
    affine = grid.affine @ np.diag([*factors, 1.0])
    affine[:3, 3] = grid.affine[:3, 3] - affine[:3, :3].sum(axis=1) / 2
    x, y, z = (np.ceil(np.array(grid.shape) / factors).astype(int) + 2).tolist()
    return Grid((x, y, z), affine)
