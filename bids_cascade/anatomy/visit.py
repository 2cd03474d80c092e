"""Anatomy of a visit: registration to the template, which runs in parallel with the networks, and then structures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.atlas import warped_priors
from bids_cascade.anatomy.registration import Deformation, Effort, register_to_template
from bids_cascade.anatomy.template import BUILT_IN, load_template
from bids_cascade.anatomy.thresholds import THRESHOLDS
from bids_cascade.anatomy.tissue import (
    STRUCTURES_TOLD_BY,
    TOLD_BY_FLAIR,
    TOLD_BY_T1W,
    agreement,
    find_structures,
    tissue_likelihoods,
)
from bids_cascade.cascade.normalisation import normalise
from bids_cascade.errors import BadDataError
from bids_cascade.imaging.grid import grid_of
from bids_cascade.imaging.images import data_of, mask_of, save_image

ANATOMY_FAILED = "anatomy_looks_failed"
"""Quality flag of a visit without regions because its registration to the template failed."""

_EFFORT = Effort(voxel_mm=3.0, affine_iterations=(50, 30, 0), iterations=(60, 40, 0), refinement=(10, 2))
"""At 3 mm instead of 4, priors fit better (Dice of ventricles by the atlas alone 0.78 instead of 0.75 where they are
largest, 0.90 in both cases where they are not). Squared differences alone, with 8 iterations at 3 mm in the same time,
left the priors of inferior horns 1.5 to 3 mm beside them, median of a head; refined, it is 1 to 2 mm. Correlation alone
lost ventricles of 80 ml."""
_EFFORT_WITHOUT_T1W = Effort(voxel_mm=3.0, affine_iterations=(50, 30, 0), iterations=(60, 40, 8))
"""Grey and white matter have one level, so correlation within two voxels would be that of noise."""
_LEVELS = (0.3, 0.8, 0.85)
"""Levels of fluid, grey and white matter in what is registered. The template's T1w has grey matter at 0.66: with that
contrast, the cortex outweighs ventricles much larger than the template's (Dice by the atlas alone 0.61 instead of
0.75), and the cerebellum's prior lies on their horns."""
_LEVELS_WITHOUT_T1W = (0.3, 0.78, 0.78)
"""FLAIR alone separates fluid from tissue, but hardly grey from white matter, least of all in thick slices."""
_BRIGHT_FLAIR = 1.6
"""Normalised intensity above which a voxel may be lesion, before the networks' result is known: two and a half times
the usual distance from white matter, as defined in normalisation."""
_LESION_LIKE = (0.0, 0.0, 1.0)
"""Possible lesion is registered as white matter."""
_TEMPLATE_BRAIN = 0.1
_MARGIN_MM = 12.0
"""Around the template's brain: deformations end at its border. What lies beyond would take a third of the time."""


@dataclass(frozen=True, eq=False)
class VisitAnatomy:
    """A visit's structures, or the reason why there are none.

    Attributes
    ----------
    structures : nibabel.Nifti1Image or None
        uint8, :class:`~bids_cascade.anatomy.structures.Structure` + 1, on the model's grid.
    deformation : Deformation or None
    agreement : float or None
        Correlation of tissue by intensity with the atlas.
    flags : dict of str to str
        Quality flags and their messages.
    """

    structures: nib.Nifti1Image | None
    deformation: Deformation | None
    agreement: float | None
    flags: dict[str, str]


def register_visit(
    channels: NDArray[np.floating],
    brain: nib.Nifti1Image,
    sequences: Sequence[str],
    folder: Path,
    seed: int = 0,
    template: str = BUILT_IN,
) -> Deformation:
    """Register a visit to a template by its tissues, as seen in T1w and FLAIR, or in whichever exists.

    Possible lesions are excluded.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        Normalised.
    brain : nibabel.Nifti1Image
        Mask on the grid of the channels.
    sequences : sequence of str
        Of the channels.
    folder : Path
        An existing folder, to which the transforms are written.
    seed : int
    template : str
        See :func:`bids_cascade.anatomy.template.load_template`.

    Raises
    ------
    MissingInputError
        When there is no such template.
    BadDataError
        When the brain has no tissues that can be told apart, or the registration fails.
    """
    inside = mask_of(brain)
    lesion = np.zeros(inside.shape, bool)
    if "FLAIR" in sequences:
        lesion = inside & _may_be_lesion(channels[sequences.index("FLAIR")])
    levels = _levels(sequences)
    likelihoods = tissue_likelihoods(channels, inside & ~lesion, sequences)
    likelihoods[:, lesion] = np.array(_LESION_LIKE)[:, None]
    head = _paint(likelihoods, inside, levels)
    if not np.ptp(head[inside]):
        raise BadDataError("the brain has one intensity only, so its tissues can't be told apart")
    target = painted_template(template, levels)
    effort = _EFFORT if "T1w" in sequences else _EFFORT_WITHOUT_T1W
    return register_to_template([target], [nib.Nifti1Image(head, brain.affine)], folder, effort, seed)


def _levels(sequences: Sequence[str]) -> tuple[float, float, float]:
    return _LEVELS if "T1w" in sequences else _LEVELS_WITHOUT_T1W


def _paint(
    likelihoods: NDArray[np.float32], brain: NDArray[np.bool_], levels: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return a synthetic T1w (X, Y, Z) with the same three tissue levels for every scan, from tissue likelihoods.

    The scan's contrast therefore makes no difference, and FLAIR alone suffices.
    """
    return np.where(brain, np.tensordot(np.array(levels, np.float32), likelihoods, 1), 0).astype(np.float32)


def _may_be_lesion(flair: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return possible lesion, bright in FLAIR (X, Y, Z) beyond noise: the networks' result is not yet known."""
    return np.asarray(ndimage.gaussian_filter(flair.astype(np.float32), 1.0) > _BRIGHT_FLAIR)


def find_anatomy(
    channels: NDArray[np.floating],
    brain: nib.Nifti1Image,
    sequences: Sequence[str],
    lesion: NDArray[np.bool_],
    deformation: Deformation,
) -> VisitAnatomy:
    """Label the structures of a registered visit, unless the registration seems to have failed.

    Parameters
    ----------
    channels, brain, sequences
        See :func:`register_visit`.
    lesion : (X, Y, Z) bool array
        On the same grid.
    deformation : Deformation
    """
    inside = mask_of(brain)
    priors = warped_priors(grid_of(brain), deformation.from_template)
    likelihoods = tissue_likelihoods(channels, inside & ~lesion, sequences)
    with_t1w = "T1w" in sequences
    agree = agreement(likelihoods, priors, inside & ~lesion, TOLD_BY_T1W if with_t1w else TOLD_BY_FLAIR)
    least = THRESHOLDS.agreement_below if with_t1w else THRESHOLDS.agreement_without_t1w_below
    if agree < least:
        reason = (
            f"the registration to the template looks failed (agreement of tissue and atlas {agree:.2f}, expected at "
            f"least {least:g}), so there are no regions of lesions"
        )
        return VisitAnatomy(None, None, agree, {ANATOMY_FAILED: reason})
    told_by = [index for index, name in enumerate(sequences) if name in STRUCTURES_TOLD_BY]
    structures = find_structures(channels[told_by], priors, inside, lesion, with_t1w=with_t1w)
    return VisitAnatomy(nib.Nifti1Image(structures, brain.affine), deformation, agree, {})


def save_anatomy(anatomy: VisitAnatomy, path: Path) -> None:
    """Write an anatomy as JSON, with the structures as an image beside it."""
    structures = path.with_name("structures.nii")
    if anatomy.structures is not None:
        save_image(np.asarray(anatomy.structures.dataobj), anatomy.structures.affine, structures, np.uint8)
    transforms = anatomy.deformation and [str(anatomy.deformation.to_template), str(anatomy.deformation.from_template)]
    content = {
        "structures": None if anatomy.structures is None else str(structures),
        "transforms": transforms,
        "agreement": anatomy.agreement,
        "flags": anatomy.flags,
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def load_anatomy(path: Path) -> VisitAnatomy:
    """Read an anatomy that :func:`save_anatomy` has written."""
    content = json.loads(path.read_text(encoding="utf-8"))
    structures, transforms = content["structures"], content["transforms"]
    return VisitAnatomy(
        structures=structures and nib.Nifti1Image.from_filename(structures),
        deformation=transforms and Deformation(*map(Path, transforms)),
        agreement=content["agreement"],
        flags=content["flags"],
    )


def no_anatomy(reason: str) -> VisitAnatomy:
    """Return the anatomy of a visit for which it failed."""
    return VisitAnatomy(None, None, None, {ANATOMY_FAILED: f"there are no regions of lesions: {reason}"})


@cache
def painted_template(name: str = BUILT_IN, levels: tuple[float, float, float] = _LEVELS) -> nib.Nifti1Image:
    """Return a template's brain, cropped, with the same levels of fluid, grey and white matter as a visit's."""
    image = load_template(name)
    data = data_of(image)
    brain = data > _TEMPLATE_BRAIN * data.max()
    likelihoods = tissue_likelihoods(normalise(data[None], brain, ("T1w",)), brain, ("T1w",), mixed=False)
    margin = np.ceil(_MARGIN_MM / voxel_sizes(image.affine)).astype(int).tolist()
    box = tuple(
        slice(max(0, edge.start - more), edge.stop + more)
        for edge, more in zip(ndimage.find_objects(brain.astype(np.int8))[0], margin, strict=True)
    )
    return nib.Nifti1Image(_paint(likelihoods, brain, levels), image.affine).slicer[box]
