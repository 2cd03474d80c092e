"""The files of a visit's report: figures, viewer and quality measures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.anatomy.lesions import locate_all, make_regions
from bids_cascade.anatomy.zones import ZONE_NAMES
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.derivatives.flags import FLAGS_COLUMN, FLAGS_KEY
from bids_cascade.imaging.grid import grid_of
from bids_cascade.imaging.quality import gather
from bids_cascade.imaging.quality_rules import Row, describe_columns, find_flags
from bids_cascade.imaging.scan import Scan
from bids_cascade.report.figures import draw_anatomy, draw_bias, draw_brain, draw_lesions, draw_registration, draw_sizes
from bids_cascade.report.findings import Findings
from bids_cascade.report.visit_viewer import viewer_page


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
    lesions = draw_lesions(findings.scan, findings.lesion, findings.first_probability, findings.gate)
    sizes = draw_sizes([entry.volume_mm3 for entry in findings.lesions])
    contents = {f"lesions_{findings.name}.svg": lesions, f"viewer_{findings.name}.html": viewer_page(findings).encode()}
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
