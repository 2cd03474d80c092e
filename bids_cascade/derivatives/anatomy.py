"""Outputs of a visit's anatomy: regions, filled T1w, transforms, and the lesion mask in the template's space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from bids_cascade.anatomy.filling import fill_lesions
from bids_cascade.anatomy.lesions import Regions, count_by_region, location_rows, make_regions
from bids_cascade.anatomy.template import BUILT_IN, template_image
from bids_cascade.anatomy.visit import VisitAnatomy
from bids_cascade.anatomy.zones import REGION_COLOURS
from bids_cascade.config import SEQUENCES
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.derivatives.names import derivative_path
from bids_cascade.derivatives.spaces import write_template_mask, write_transforms
from bids_cascade.imaging.grid import Grid, grid_of
from bids_cascade.imaging.images import data_of

if TYPE_CHECKING:
    from bids_cascade.derivatives.writer import Writer
    from bids_cascade.lesions.visit import VisitLesions

_REGIONS_FROM = (
    "Atlas probabilities, warped to the visit, times the likelihood of each voxel's intensities; white matter of the "
    "cerebrum split by its distance from lateral ventricles and cortex"
)


@dataclass(frozen=True, eq=False)
class AnatomyCells:
    """Columns that the anatomy adds to a visit's tables: of each lesion, in their order, and of the visit."""

    of_lesions: Sequence[Mapping[str, Any]]
    of_visit: Mapping[str, Any]


def earlier_anatomy(out_dir: Path, visit: Visit) -> list[Path]:
    """Return the files of an earlier run that this run may not replace."""
    folder = derivative_path(out_dir, visit, "stats", ".tsv", desc="lesions").parent
    patterns = ("space-*_seg-regions_dseg.*", "desc-lesionfilled_T1w.*", "*_xfm.h5", "space-*")
    paths = {path for pattern in patterns for path in folder.glob(f"{visit.name}_{pattern}")}
    own = tuple(f"{visit.name}_space-{sequence}_" for sequence in SEQUENCES)
    return sorted(path for path in paths if "_seg-regions_" in path.name or not path.name.startswith(own))


def write_roi(writer: Writer, lesion: NDArray[np.bool_], grid: Grid) -> None:
    """Write the lesion mask (X, Y, Z) that sMRIPrep and fMRIPrep use for cost-function masking."""
    sidecar = {
        "Description": "Lesion mask on the grid of the raw T1w image, for cost-function masking: beside the raw T1w "
        "image, under this name, sMRIPrep and fMRIPrep use it",
        "Type": "Lesion",
    }
    writer.image("roi", lesion, grid, np.uint8, sidecar, label="lesion")


def write_anatomy(
    writer: Writer, anatomy: VisitAnatomy, lesions: VisitLesions, packed: Mapping[str, Path]
) -> AnatomyCells:
    """Write regions, filled T1w, transforms and the mask in the template's space; return columns of the tables.

    Parameters
    ----------
    writer : Writer
    anatomy : VisitAnatomy
        With structures.
    lesions : VisitLesions
    packed : mapping of str to Path
        Corrected images on the grid of the T1w image, by sequence.
    """
    if anatomy.structures is None or anatomy.deformation is None:
        raise ValueError("the visit has no structures")
    labels = np.asarray(lesions.labels.dataobj)
    grid = grid_of(lesions.labels)
    # The group level averages these masks.
    write_template_mask(writer, BUILT_IN, grid_of(template_image()), lesions, anatomy.deformation)
    write_transforms(writer, BUILT_IN, anatomy.deformation)
    regions = make_regions(anatomy.structures, grid)
    _write_regions(writer, regions, grid, anatomy)
    images = {name: data_of(nib.Nifti1Image.from_filename(path)) for name, path in packed.items()}
    rows = location_rows(regions, labels, lesions.table, images, grid.affine, anatomy.deformation.from_template)
    t1w = images.pop("T1w", None)
    images.clear()  # large scans fill the memory
    if t1w is not None:
        _write_filled(writer, t1w, labels > 0, regions, grid)
    return AnatomyCells(rows, count_by_region(rows, regions))


def _write_regions(writer: Writer, regions: Regions, grid: Grid, anatomy: VisitAnatomy) -> None:
    space = writer.plan.space
    sidecar = {
        "Description": f"Regions of the brain. {_REGIONS_FROM}",
        "SpatialReference": writer.spatial_reference(space),
        "Atlas": f"bids_cascade, in {BUILT_IN}",
        "AtlasAgreement": anatomy.agreement,
    }
    rows = [
        {"index": int(region), "name": region.name.lower(), "color": "#{:02x}{:02x}{:02x}".format(*colour)}
        for region, colour in REGION_COLOURS.items()
    ]
    write_tsv(rows, ["index", "name", "color"], writer.path("dseg", ".tsv", space=space, seg="regions"))
    writer.image("dseg", regions.regions, grid, np.uint8, sidecar, space=space, seg="regions")


def _write_filled(
    writer: Writer, t1w: NDArray[np.float32], lesion: NDArray[np.bool_], regions: Regions, grid: Grid
) -> None:
    filled, refilled = fill_lesions(t1w, lesion, regions.structures, voxel_sizes(grid.affine).tolist())
    mask, t1w_path = (
        writer.path("mask", ".nii.gz", space="T1w", label="L"),
        writer.path("T1w", ".nii.gz", desc="preproc"),
    )
    sidecar = {
        "Description": "The preprocessed T1w image with its lesions, and the white matter that touches them, refilled "
        "from the normal white matter around them",
        "Sources": [writer.uri(t1w_path), writer.uri(mask)],
        "SkullStripped": writer.skull_stripped,
        "FilledVolume": float(np.count_nonzero(refilled) * grid.voxel_volume_mm3),
        "FilledVolumeUnits": "mm^3",
    }
    writer.image("T1w", filled, grid, np.float32, sidecar, desc="lesionfilled")
