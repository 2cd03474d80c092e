"""The derivatives of a visit, written atomically."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_cascade import __version__
from bids_cascade.anatomy.lesions import COUNT_COLUMNS, LOCATION_COLUMNS
from bids_cascade.derivatives.anatomy import AnatomyCells, earlier_anatomy, write_anatomy, write_roi
from bids_cascade.derivatives.course import quality_locked
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.derivatives.flags import FLAGS_KEY, Flags
from bids_cascade.derivatives.names import derivative_path, sidecar_path
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.derivatives.spaces import write_space
from bids_cascade.derivatives.visit_images import VisitImages
from bids_cascade.derivatives.writer import Writer
from bids_cascade.derivatives.written import LEARNT_FROM_KEY, model_fields, quality_path, stats_path
from bids_cascade.errors import OutputError, cannot_create
from bids_cascade.imaging.grid import Grid, grid_of, resample
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.imaging.quality_rules import AGREEMENT
from bids_cascade.imaging.registration import write_itk_transform
from bids_cascade.lesions.components import CENTRE
from bids_cascade.lesions.sizes import CLINICAL_TEXT, count_clinical
from bids_cascade.lesions.visit import VisitLesions
from bids_cascade.whole_file import HELD, hold_folder, write_whole_file

_MASK = (
    "Lesion mask: 26-connected components of the voxels with a probability of at least Threshold, without those "
    "smaller than MinLesionVolume or with no probability of at least PeakProbability; cavities that a component "
    "encloses, up to LargestFilledCavity, are a part of it, whatever their probability"
)
_LESION_COLUMNS = {
    "volume_mm3": {"Description": "Volume", "Units": "mm^3"},
    "centre_x_mm": {"Description": f"{CENTRE}, left to right, in the world of the SPACE image", "Units": "mm"},
    "centre_y_mm": {"Description": "The same, posterior to anterior", "Units": "mm"},
    "centre_z_mm": {"Description": "The same, inferior to superior", "Units": "mm"},
    "mean_probability": {"Description": "Mean probability over the lesion's voxels, with those of filled cavities"},
}
_STATS_COLUMNS = {
    "n_lesions": {"Description": "Number of lesions (26-connected components) on the grid of the SPACE image"},
    "n_lesions_14mm3": {"Description": f"Number of these {CLINICAL_TEXT}"},
    "lesion_volume_t1w_ml": {"Description": "Volume of all lesions on the grid of the T1w image", "Units": "mL"},
    "lesion_volume_flair_ml": {"Description": "Volume of all lesions on the grid of the FLAIR image", "Units": "mL"},
    "brain_volume_ml": {"Description": "Volume of the brain mask", "Units": "mL"},
}
_UNCERTAINTY_COLUMN = {
    "uncertainty": {
        "Description": "1 less the mean over the model's cascades of the intersection over union of the lesion and "
        "what the cascade's own mask has in its place: 0 where all agree, 1 where none has it"
    }
}
_AGREEMENT_COLUMN = {
    AGREEMENT: {
        "Description": "Mean pairwise Dice of the masks of the model's cascades, on the grid of the SPACE image"
    }
}
"""Of models with several cascades only."""
_SPACES = ("T1w", "FLAIR")
"""Sequences on whose grid a visit's results may be: the first one that it has."""


def write_outputs(plan: OutputPlan, images: VisitImages) -> Path:
    """Write all of a visit's derivatives, or none; return the path of the table of volumes.

    That table marks complete results: of earlier results it is removed first, and it is written last. Figures and
    quality measures of earlier results are removed.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    staging = plan.out_dir / f".{plan.visit.name}.{uuid.uuid4().hex}"
    try:
        held = hold_folder(staging)
    except OSError as error:
        raise cannot_create(staging, error) from error
    try:
        _write_all(Writer(plan, staging, skull_stripped=images.mask_method == "nonzero"), images)
        _remove_earlier(plan)
        _move_all(staging, plan.out_dir, last=stats_path(plan).name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        held.close()
    return stats_path(plan)


def _move_all(staging: Path, out_dir: Path, last: str) -> None:
    """Move all files to the same places in another folder of the same file system, the one named `last` last."""
    files = sorted(
        (path for path in staging.rglob("*") if path.is_file() and path.name != HELD),
        key=lambda path: (path.name == last, path),
    )
    for path in files:
        target = out_dir / path.relative_to(staging)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        except OSError as error:
            raise cannot_create(target, error) from error


def _write_all(writer: Writer, images: VisitImages) -> None:
    """Write all of a visit's derivatives where the writer writes."""
    space, grid = writer.plan.space, grid_of(images.mask)
    _write_preprocessed(writer, images)
    brain_sidecar = {
        "Description": "Brain mask",
        "Type": "Brain",
        "Method": images.mask_method,
        "SpatialReference": writer.spatial_reference(space),
    }
    writer.image("mask", mask_of(images.mask), grid, np.uint8, brain_sidecar, desc="brain")
    for sequence in images.lesions.mask:
        _write_lesions(writer, sequence, images.lesions)
    if space == "T1w":
        write_roi(writer, mask_of(images.lesions.mask[space]), grid)
    packed = dict(zip(writer.plan.visit.images, images.packed, strict=True))
    for template in images.spaces:
        write_space(writer, template, images.lesions, packed)
    cells, flags = _write_anatomy(writer, images)
    _write_lesion_table(writer, images.lesions, cells)
    for image in images.uncertainty:
        _write_uncertainty(writer, image, grid)
    _write_stats(writer, images, cells, flags)


def _write_stats(writer: Writer, images: VisitImages, cells: AnatomyCells | None, flags: Flags) -> None:
    """Write the table of volumes, with all flags; `cells` and `flags` are those of the anatomy."""
    grid = grid_of(images.mask)
    volumes_mm3 = [lesion.volume_mm3 for lesion in images.lesions.table]
    row = {
        "n_lesions": len(volumes_mm3),
        "n_lesions_14mm3": count_clinical(volumes_mm3),
        "lesion_volume_t1w_ml": images.lesions.volume_ml("T1w"),
        "lesion_volume_flair_ml": images.lesions.volume_ml("FLAIR"),
        "brain_volume_ml": mask_of(images.mask).sum() * grid.voxel_volume_mm3 / 1000,
    }
    columns = _STATS_COLUMNS
    if images.lesions.agreement is not None:
        row[AGREEMENT], columns = images.lesions.agreement, {**_STATS_COLUMNS, **_AGREEMENT_COLUMN}
    if cells is not None:
        row, columns = {**row, **cells.of_visit}, {**columns, **COUNT_COLUMNS}
    descriptions = {
        **_of_space(columns, writer.plan.space),
        FLAGS_KEY: writer.plan.joined_flags([*images.flags, *(template.flags for template in images.spaces), flags]),
        **model_fields(writer.plan),
        "BrainMaskMethod": images.mask_method,
        **writer.plan.provenance,
        "GeneratedByVersion": __version__,
    }
    write_tsv([row], list(columns), writer.path("stats", ".tsv", desc="lesions"), descriptions)


def _write_preprocessed(writer: Writer, images: VisitImages) -> None:
    """Write every sequence on the grid of the T1w image, and the transforms that brought them there."""
    space = writer.plan.space
    for sequence, packed, transform, quality in zip(
        writer.plan.visit.images, images.packed, images.transforms, images.qualities, strict=True
    ):
        choice = writer.plan.visit.images[sequence]
        sidecar: dict[str, Any] = {
            "Description": f"{sequence} image without its bias field",
            "SkullStripped": writer.skull_stripped,
            "Sources": [writer.raw[sequence]],
            "ImageChoice": choice.reason,
            "BiasCorrection": "N4 inside the brain mask",
        }
        entities = {"desc": "preproc"}
        if sequence != space:
            sidecar |= {
                "SpatialReference": writer.spatial_reference(space),
                "Interpolation": "linear",
                "RegistrationQuality": quality,
            }
            entities["space"] = space
            write_itk_transform(transform, writer.path("xfm", ".txt", from_=sequence, to=space, mode="image"))
        writer.packed(sequence, packed, sidecar, **entities)


def _write_lesions(writer: Writer, space: str, lesions: VisitLesions) -> None:
    """Write probability and mask on the grid of one image."""
    probability, mask, grid = lesions.probability[space], lesions.mask[space], grid_of(lesions.mask[space])
    plan = writer.plan
    sources = list(writer.raw.values())
    common = {"SpatialReference": writer.spatial_reference(space), **model_fields(plan)}
    sidecar = {"Description": "Probability of lesion", "Sources": sources, **common}
    path = writer.image("probseg", data_of(probability), grid, np.float32, sidecar, space=space, label="L")
    sidecar = {"Description": _MASK, "Type": "Lesion", "Sources": [writer.uri(path)], **common}
    if plan.learnt_from is not None:
        sidecar[LEARNT_FROM_KEY] = plan.learnt_from
    writer.image("mask", mask_of(mask), grid, np.uint8, sidecar, space=space, label="L")


def _write_anatomy(writer: Writer, images: VisitImages) -> tuple[AnatomyCells | None, Flags]:
    """Write the outputs of the anatomy, if it was found; return its part of the tables, and its flags."""
    anatomy = images.anatomy
    if anatomy is None:
        return None, {}
    if anatomy.structures is None:
        return None, anatomy.flags
    packed = dict(zip(writer.plan.visit.images, images.packed, strict=True))
    return write_anatomy(writer, anatomy, images.lesions, packed), anatomy.flags


def _write_lesion_table(writer: Writer, lesions: VisitLesions, cells: AnatomyCells | None) -> None:
    """Write each lesion as a value of a discrete segmentation, and a row of its table.

    With several cascades, the table has each lesion's uncertainty; with anatomy, its location.
    """
    rows = [{"index": lesion.label, "name": f"lesion{lesion.label}", **asdict(lesion)} for lesion in lesions.table]
    columns = _LESION_COLUMNS
    if lesions.uncertainty is not None:
        columns = {**_LESION_COLUMNS, **_UNCERTAINTY_COLUMN}
        for row, uncertainty in zip(rows, lesions.uncertainty, strict=True):
            row["uncertainty"] = uncertainty
    if cells is not None:
        columns = {**columns, **LOCATION_COLUMNS}
        for row, location in zip(rows, cells.of_lesions, strict=True):
            row.update(location)
    space = writer.plan.space
    mask = writer.path("mask", ".nii.gz", space=space, label="L")
    sidecar = {
        "Description": "Lesions, numbered from the largest",
        "Sources": [writer.uri(mask)],
        "SpatialReference": writer.spatial_reference(space),
        **_of_space(columns, space),
        **model_fields(writer.plan),
    }
    # The columns index and name are BIDS's own; describing them again would make the validator warn.
    write_tsv(rows, ["index", "name", *columns], writer.path("dseg", ".tsv", space=space, seg="lesions"))
    labels, grid = np.asarray(lesions.labels.dataobj), grid_of(lesions.labels)
    writer.image("dseg", labels, grid, np.int32, sidecar, space=space, seg="lesions")


def _write_uncertainty(writer: Writer, uncertainty: nib.Nifti1Image, grid: Grid) -> None:
    """Write the map of the cascades' disagreement."""
    sidecar = {
        "Description": "Disagreement of the model's cascades: standard deviation of their lesion probabilities",
        "Sources": list(writer.raw.values()),
        "SpatialReference": writer.spatial_reference(writer.plan.space),
        **model_fields(writer.plan),
    }
    values = data_of(resample(uncertainty, grid, 1))
    writer.image("probseg", values, grid, np.float32, sidecar, **_uncertainty_entities(writer.plan.space))


def _uncertainty_entities(space: str) -> dict[str, str]:
    return {"space": space, "label": "L", "desc": "uncertainty"}


def _of_space(columns: Mapping[str, Mapping[str, Any]], space: str) -> dict[str, dict[str, Any]]:
    """Return the descriptions of columns with the name of the image on whose grid the results are."""
    return {
        name: {**column, "Description": column["Description"].replace("SPACE", space)}
        for name, column in columns.items()
    }


def publish_report(plan: OutputPlan, files: Sequence[Path]) -> None:
    """Copy a visit's figures, called as in ``desc-brain_T1w.svg``, and its quality measures to their places.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    with quality_locked(plan.out_dir, plan.visit.participant):
        for path in files:
            desc, _, suffix = path.stem.removeprefix("desc-").partition("_")
            target = derivative_path(plan.out_dir, plan.visit, suffix, path.suffix, desc=desc)
            write_whole_file(path.read_bytes(), target)


def _remove_earlier(plan: OutputPlan) -> None:
    """Remove the mark of complete earlier results, then their figures and quality measures."""
    figures = derivative_path(plan.out_dir, plan.visit, "dseg", ".svg", desc="sizes").parent
    quality = quality_path(plan)
    # Another model may have had several cascades, and this one may not; the T1w may have come since, or gone.
    stale = [
        derivative_path(plan.out_dir, plan.visit, "probseg", ".nii.gz", **_uncertainty_entities(plan.space)),
        *(path for space in _SPACES if space != plan.space for path in _paths_in(plan, space)),
    ]
    single = [path for table in (quality, *stale) for path in (table, sidecar_path(table))]
    single += earlier_anatomy(plan.out_dir, plan.visit)
    try:
        for path in [stats_path(plan), *figures.glob(f"{plan.visit.name}_desc-*"), *single]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"can't replace {error.filename}: {error.strerror}") from error


def _paths_in(plan: OutputPlan, space: str) -> list[Path]:
    """Return the paths of all images, tables and transforms that results on the grid of a sequence would have."""
    folder = stats_path(plan).parent
    patterns = (f"space-{space}_*", f"from-*_to-{space}_*", f"desc-preproc_{space}.*")
    return [path for pattern in patterns for path in folder.glob(f"{plan.visit.name}_{pattern}")]
