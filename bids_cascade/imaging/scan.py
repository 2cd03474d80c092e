"""A sequence of a visit on its own grid, with its brain mask and transform."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from bids_cascade.imaging.grid import grid_of, resample

_THICK_RATIO = 1.5


@dataclass(frozen=True, eq=False)
class Scan:
    """One sequence on its own grid, whose axes are in the order and direction nearest to RAS+.

    Attributes
    ----------
    image : nibabel.Nifti1Image
        The sequence, corrected or raw.
    brain : nibabel.Nifti1Image
        Brain mask.
    t1w_to_own : (4, 4) ndarray
        Maps points of the T1w image's world to its own, in mm.
    """

    image: nib.Nifti1Image
    brain: nib.Nifti1Image
    t1w_to_own: NDArray[np.float64]

    @property
    def own_to_t1w(self) -> NDArray[np.float64]:
        """Maps points of its world to that of the T1w image."""
        return np.asarray(np.linalg.inv(self.t1w_to_own), np.float64)


def make_scan(image: nib.Nifti1Image, brain: nib.Nifti1Image, t1w_to_own: NDArray[np.float64]) -> Scan:
    """Put a scan together from images of any orientation.

    Parameters
    ----------
    image : Nifti1Image
    brain : Nifti1Image
        Brain mask on the grid of the T1w image.
    t1w_to_own : (4, 4) array
        Transform from the T1w image's world to that of `image`, in RAS+ mm.
    """
    image, brain = nib.as_closest_canonical(image), nib.as_closest_canonical(brain)
    own_brain = resample(brain, grid_of(image), 0, np.asarray(np.linalg.inv(t1w_to_own), np.float64))
    return Scan(image, own_brain, t1w_to_own)


def slice_axis(image: nib.Nifti1Image) -> int:
    """Return the axis across the slices a scanner took: that of the thickest edge; the last where none is thick.

    Thick is what stands out from both other edges, not from the finest alone: voxels of 1 x 0.5 x 0.9 mm have no
    thick edge.
    """
    sizes_mm = voxel_sizes(image.affine)
    thickest = int(np.argmax(sizes_mm))
    return thickest if sizes_mm[thickest] > _THICK_RATIO * np.median(sizes_mm) else 2
