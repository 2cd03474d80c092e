"""A visit's images in the spaces of templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.registration import Deformation, warp
from bids_cascade.anatomy.template import BUILT_IN, TEMPLATEFLOW_URI, URI, load_template
from bids_cascade.anatomy.visit import VisitAnatomy, find_anatomy, no_anatomy, register_visit
from bids_cascade.derivatives.flags import Flags
from bids_cascade.errors import BadDataError, MissingInputError
from bids_cascade.imaging.grid import Grid, grid_of
from bids_cascade.imaging.images import data_of
from bids_cascade.whole_file import write_whole_file

if TYPE_CHECKING:
    from bids_cascade.derivatives.writer import Writer
    from bids_cascade.lesions.visit import VisitLesions

_MARGIN = 3
"""Margin in voxels around lesions, which linear interpolation does not exceed."""

NO_OUTPUT_SPACE = "no_output_space"
"""Quality flag of a visit without images in the space of a requested template."""


@dataclass(frozen=True)
class TemplateSpace:
    """A template, and the registration to it.

    Attributes
    ----------
    name : str
    deformation : Deformation or None
    failure : str
        Why there is no deformation.
    """

    name: str
    deformation: Deformation | None
    failure: str = ""

    @property
    def flags(self) -> Flags:
        """Reasons by quality flag."""
        return {} if self.deformation else {NO_OUTPUT_SPACE: f"no images in {self.name}: {self.failure}"}


def register_space(
    name: str,
    channels: NDArray[np.floating],
    brain: nib.Nifti1Image,
    sequences: Sequence[str],
    folder: Path,
    seed: int = 0,
) -> TemplateSpace:
    """Register a visit to a template; a failed registration has its reason.

    Parameters
    ----------
    name : str
        Of the template.
    channels, brain, sequences, folder, seed
        See :func:`bids_cascade.anatomy.visit.register_visit`.
    """
    try:
        return TemplateSpace(name, register_visit(channels, brain, sequences, folder, seed, name))
    except (BadDataError, MissingInputError, ValueError) as error:
        return TemplateSpace(name, None, str(error))


def anatomy_in(
    space: TemplateSpace,
    channels: NDArray[np.floating],
    brain: nib.Nifti1Image,
    sequences: Sequence[str],
    lesion: NDArray[np.bool_],
) -> VisitAnatomy:
    """Label the structures of a visit; a flag says so if they can't be found.

    Parameters
    ----------
    space : TemplateSpace
        The built-in template.
    channels, brain, sequences, lesion
        See :func:`bids_cascade.anatomy.visit.find_anatomy`.
    """
    if space.deformation is None:
        return no_anatomy(space.failure)
    try:
        return find_anatomy(channels, brain, sequences, lesion, space.deformation)
    except (BadDataError, ValueError) as error:
        return no_anatomy(str(error))


def write_space(writer: Writer, space: TemplateSpace, lesions: VisitLesions, packed: Mapping[str, Path]) -> None:
    """Write every image, the lesions and the transforms both ways; nothing if the registration failed.

    Parameters
    ----------
    writer : Writer
    space : TemplateSpace
    lesions : VisitLesions
    packed : mapping of str to Path
        Corrected images on the grid of the T1w image, by sequence.
    """
    if space.deformation is None:
        return
    grid, own = grid_of(load_template(space.name)), writer.plan.space
    for sequence, path in packed.items():
        image = nib.Nifti1Image.from_filename(path)
        source = {"desc": "preproc"} | ({} if sequence == own else {"space": own})
        sidecar = {
            "Description": f"{sequence} image in the template's space",
            "Sources": [writer.uri(writer.path(sequence, ".nii.gz", **source))],
            "SkullStripped": writer.skull_stripped,
            "Interpolation": "linear",
            **reference(space.name),
        }
        moved = data_of(warp(image, grid, space.deformation.to_template))
        writer.image(sequence, moved, grid, np.float32, sidecar, space=space.name, desc="preproc")
    probability = data_of(warp(lesions.probability[own], grid, space.deformation.to_template))
    source_path = writer.path("probseg", ".nii.gz", space=own, label="L")
    sidecar = {
        "Description": "Probability of lesion in the template's space",
        "Sources": [writer.uri(source_path)],
        **reference(space.name),
    }
    writer.image("probseg", probability, grid, np.float32, sidecar, space=space.name, label="L")
    write_template_mask(writer, space.name, grid, lesions, space.deformation)
    write_transforms(writer, space.name, space.deformation)


def write_template_mask(writer: Writer, name: str, grid: Grid, lesions: VisitLesions, deformation: Deformation) -> None:
    """Write the lesion mask in a template's space: voxels that are at least half lesion by linear interpolation."""
    own = writer.plan.space
    mask = _around_lesions(lesions.mask[own])
    moved = data_of(warp(mask, grid, deformation.to_template)) >= 0.5
    source = writer.path("mask", ".nii.gz", space=own, label="L")
    sidecar = {
        "Description": "Lesion mask in the template's space",
        "Type": "Lesion",
        "Sources": [writer.uri(source)],
        **reference(name),
    }
    writer.image("mask", moved, grid, np.uint8, sidecar, space=name, label="L")


def _around_lesions(mask: nib.Nifti1Image) -> nib.Nifti1Image:
    """Return the part of a mask with all lesions, and a margin: the whole of a large scan would fill the memory."""
    boxes = ndimage.find_objects(np.asarray(mask.dataobj))
    if not boxes:
        return mask
    return mask.slicer[tuple(slice(max(0, edge.start - _MARGIN), edge.stop + _MARGIN) for edge in boxes[0])]


def write_transforms(writer: Writer, name: str, deformation: Deformation) -> None:
    """Write the transforms to a template and back, in the form of antsApplyTransforms."""
    own = writer.plan.space
    both = ((deformation.to_template, own, name), (deformation.from_template, name, own))
    for path, start, end in both:
        write_whole_file(path.read_bytes(), writer.path("xfm", ".h5", from_=start, to=end, mode="image"))


def reference(name: str) -> dict[str, str]:
    """Return the part of a sidecar with the reference of a template's space."""
    return {"SpatialReference": URI if name == BUILT_IN else f"{TEMPLATEFLOW_URI}/tpl-{name}"}
