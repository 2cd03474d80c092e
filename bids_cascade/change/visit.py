"""A finished visit, prepared for comparison."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib


@dataclass(frozen=True, eq=False)
class FinishedVisit:
    """A visit's results, each in the world of the visit's reference image.

    Attributes
    ----------
    scans : dict of str to nibabel.Nifti1Image
        Bias-corrected, by sequence, the one to register first: T1w and FLAIR, or FLAIR alone.
    brain, probability, mask : nibabel.Nifti1Image
        Brain mask on the grid of the first scan; probability of lesion; lesion mask.
    """

    scans: dict[str, nib.Nifti1Image]
    brain: nib.Nifti1Image
    probability: nib.Nifti1Image
    mask: nib.Nifti1Image
