"""The images and measures of a visit that the workflow has computed, before they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.anatomy.visit import VisitAnatomy, load_anatomy
from bids_cascade.derivatives.flags import Flags
from bids_cascade.derivatives.spaces import TemplateSpace
from bids_cascade.imaging.registration import read_itk_transform
from bids_cascade.lesions.visit import VisitLesions, load_lesions


@dataclass(frozen=True, eq=False)
class VisitImages:
    """All that the workflow has computed; lists are in the order of the visit's images, the T1w image first if any.

    Attributes
    ----------
    packed : list of Path
        Bias-corrected, on the grid of the T1w image, as compressed files.
    transforms : list of (4, 4) ndarray
        Map points of the T1w image's world to each image's world, in mm.
    qualities : list of float
        Similarity of each image with the T1w image after registration.
    flags : list of dict
        Quality flags of each registration.
    mask : nibabel.Nifti1Image
        Brain on the grid of the T1w image.
    mask_method : str
        ``deepbet`` or ``nonzero``.
    lesions : VisitLesions
    uncertainty : list of nibabel.Nifti1Image
        One map of the disagreement of a model's several cascades, or none.
    anatomy : VisitAnatomy or None
        None if it was not asked for.
    spaces : list of TemplateSpace
        Those asked for.
    """

    packed: list[Path]
    transforms: list[NDArray[np.float64]]
    qualities: list[float]
    flags: list[Flags]
    mask: nib.Nifti1Image
    mask_method: str
    lesions: VisitLesions
    uncertainty: list[nib.Nifti1Image] = field(default_factory=list)
    anatomy: VisitAnatomy | None = None
    spaces: list[TemplateSpace] = field(default_factory=list)


def load_visit_images(results: Mapping[str, Any]) -> VisitImages:
    """Read the results of the steps of a visit's graph.

    Parameters
    ----------
    results : mapping
        By attribute of :class:`VisitImages`, with paths for all that is in files, and transforms, qualities and flags
        without the first image's. `flags`, `qualities`, `transforms`, `uncertainty`, `anatomy` and `spaces` may be
        missing.
    """
    anatomy = results.get("anatomy")
    return VisitImages(
        packed=[Path(path) for path in results["packed"]],
        transforms=[np.eye(4), *(read_itk_transform(path) for path in results.get("transforms", ()))],
        qualities=[1.0, *results.get("qualities", ())],
        flags=list(results.get("flags", ())),
        mask=nib.Nifti1Image.from_filename(results["mask"]),
        mask_method=results["mask_method"],
        lesions=load_lesions(Path(results["lesions"])),
        uncertainty=[nib.Nifti1Image.from_filename(path) for path in results.get("uncertainty", ())],
        anatomy=load_anatomy(Path(anatomy)) if anatomy else None,
        spaces=list(results.get("spaces", ())),
    )
