"""The files of a visit's report: figures, viewer and quality measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.anatomy.lesions import locate_all, make_regions
from bids_cascade.anatomy.zones import ZONE_NAMES
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.derivatives.flags import FLAGS_COLUMN, FLAGS_KEY
from bids_cascade.imaging.grid import grid_of, resample
from bids_cascade.imaging.quality import Row, describe_columns, find_flags, gather
from bids_cascade.imaging.scan import Scan
from bids_cascade.lesions.components import Lesion
from bids_cascade.lesions.visit import VisitLesions
from bids_cascade.report.figures import draw_anatomy, draw_bias, draw_brain, draw_lesions, draw_registration, draw_sizes
from bids_cascade.report.visit_viewer import viewer_page


@dataclass(frozen=True, eq=False)
class Findings:
    """The lesions of a visit, and the sequence on which they are displayed.

    Attributes
    ----------
    name : str
        Of the sequence.
    scan : Scan
    lesion, probability, first_probability : nibabel.Nifti1Image
        Lesion mask, and probability of lesion by the whole cascade and by stage 1, on the grid of the scan.
    gate : pair of float
        Lower and higher probability of stage 1 for :func:`bids_cascade.cascade.gate.open_gate`.
    labels : nibabel.Nifti1Image
        Numbers of the lesions, on the grid of the T1w image.
    lesions : sequence of Lesion
    locations : sequence of str
        Where each lesion is; empty where that is not known.
    uncertainty : nibabel.Nifti1Image, optional
        Disagreement of a model's several cascades, on the grid of the scan.
    t1w : nibabel.Nifti1Image, optional
        The T1w image on the grid of the scan; None if that is the T1w image.
    """

    name: str
    scan: Scan
    lesion: nib.Nifti1Image
    probability: nib.Nifti1Image
    first_probability: nib.Nifti1Image
    gate: tuple[float, float]
    labels: nib.Nifti1Image
    lesions: Sequence[Lesion]
    locations: Sequence[str] = ()
    uncertainty: nib.Nifti1Image | None = None
    t1w: nib.Nifti1Image | None = None


def gather_findings(
    name: str,
    scan: Scan,
    lesions: VisitLesions,
    maps: Mapping[str, nib.Nifti1Image],
    gate: tuple[float, float],
    locations: Sequence[str] = (),
) -> Findings:
    """Bring the findings of a visit onto the grid of the displayed sequence.

    Parameters
    ----------
    name : str
        Of the sequence.
    scan : Scan
    lesions : VisitLesions
        Found on the sequence's own grid as well.
    maps : mapping of str to nibabel.Nifti1Image
        In the world of the T1w image: ``first_probability`` and, if there are, ``uncertainty`` and ``t1w``.
    gate : pair of float
    locations : sequence of str
        Where each lesion is; empty where that is not known.
    """
    moved = {field: resample(image, grid_of(scan.image), 1, scan.own_to_t1w) for field, image in maps.items()}
    return Findings(
        name=name,
        scan=scan,
        lesion=nib.as_closest_canonical(lesions.mask[name]),
        probability=nib.as_closest_canonical(lesions.probability[name]),
        first_probability=moved["first_probability"],
        gate=gate,
        labels=lesions.labels,
        lesions=lesions.table,
        locations=locations,
        uncertainty=moved.get("uncertainty"),
        t1w=moved.get("t1w"),
    )


def draw_scan(name: str, t1w: Scan, folder: Path, moved: Scan | None = None) -> list[Path]:
    """Write the figure of a sequence's alignment into a folder; return the file.

    Parameters
    ----------
    name : str
        Of the sequence.
    t1w : Scan
        The T1w image, or the FLAIR where there is none.
    folder : Path
    moved : Scan, optional
        The sequence, corrected or not; None for that image itself.
    """
    if moved is None:
        return _write({f"brain_{name}.svg": draw_brain(t1w, name)}, folder)
    return _write({f"registration_{name}.svg": draw_registration(t1w, moved, name)}, folder)


def draw_field(name: str, raw: nib.Nifti1Image, scan: Scan, folder: Path) -> list[Path]:
    """Write the figure of a sequence's bias field into a folder; return the file.

    Parameters
    ----------
    name : str
        Of the sequence.
    raw : nibabel.Nifti1Image
        Before bias correction, on the grid of `scan`.
    scan : Scan
    folder : Path
    """
    return _write({f"bias_{name}.svg": draw_bias(raw, scan)}, folder)


def draw_regions(
    name: str, scan: Scan, structures: nib.Nifti1Image | None, labels: nib.Nifti1Image, folder: Path
) -> tuple[list[Path], list[str]]:
    """Write the figure of a visit's anatomy into a folder; return the file, and where each lesion is.

    Without structures, there is no figure, and no lesion's location is known.

    Parameters
    ----------
    name : str
        Of the sequence on whose grid the results are.
    scan : Scan
    structures : nibabel.Nifti1Image or None
        On the model's grid, see :class:`bids_cascade.anatomy.visit.VisitAnatomy`.
    labels : nibabel.Nifti1Image
        Numbers of the lesions on the grid of the scan.
    folder : Path
    """
    if structures is None:
        return [], []
    labels = nib.as_closest_canonical(labels)
    numbers, regions = np.asarray(labels.dataobj), make_regions(structures, grid_of(scan.image))
    locations = [lesion.location for lesion in locate_all(regions, numbers, labels.affine)]
    zone_of = {name: zone for zone, name in ZONE_NAMES.items()}
    zones = np.array([0, *(zone_of[location] for location in locations)], np.uint8)
    figure = draw_anatomy(scan, regions.regions, zones[numbers])
    return _write({f"anatomy_{name}.svg": figure}, folder), locations


def draw_findings(findings: Findings, folder: Path) -> list[Path]:
    """Write the figures of the findings, and the viewer, into a folder; return the files."""
    scan, lesion, first = findings.scan, findings.lesion, findings.first_probability
    lesions = draw_lesions(scan, lesion, first, findings.gate)
    viewer = viewer_page(
        *(scan, lesion, findings.probability, first, findings.labels, findings.lesions, findings.uncertainty),
        locations=findings.locations,
        sequence=findings.name,
        t1w=findings.t1w,
    )
    sizes = draw_sizes([entry.volume_mm3 for entry in findings.lesions])
    contents = {f"lesions_{findings.name}.svg": lesions, f"viewer_{findings.name}.html": viewer.encode()}
    return _write({**contents, "sizes_dseg.svg": sizes}, folder)


def write_quality(
    measured: Mapping[str, Row],
    contrast: float | None,
    flags: Mapping[str, str],
    folder: Path,
    agreement: float | None = None,
) -> list[Path]:
    """Write a visit's quality measures and all of its flags into a folder; return the files.

    Parameters
    ----------
    measured : mapping of str to dict
    contrast : float or None
    flags : mapping of str to str
        Reasons of the flags raised before; the measures' own reasons, which are more precise, replace them.
    folder : Path
    agreement : float, optional
        See :func:`bids_cascade.imaging.quality.gather`.
    """
    row = gather(measured, contrast, agreement)
    flags = {**flags, **find_flags(row)}
    descriptions = {
        **describe_columns(row),
        FLAGS_COLUMN: {"Description": "Quality flags, joined by semicolons"},
        FLAGS_KEY: flags,
    }
    path = folder / "desc-quality_stats.tsv"
    write_tsv([{**row, FLAGS_COLUMN: ";".join(flags) or None}], [*row, FLAGS_COLUMN], path, descriptions)
    return [path, path.with_suffix(".json")]


def _write(contents: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write figures, by names such as ``brain_T1w.svg``, into a folder; return the files."""
    files = []
    for name, content in contents.items():
        files.append(folder / f"desc-{name}")
        files[-1].write_bytes(content)
    return files
