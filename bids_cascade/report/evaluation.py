"""The page of an evaluation."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib

from bids_cascade.dataset.tables import read_tsv
from bids_cascade.errors import BidsCascadeError
from bids_cascade.evaluation.bootstrap import (
    MIN_SUBJECTS,
    Summary,
)
from bids_cascade.evaluation.records import SCORES, EvaluatedVisit, Evaluation, Summaries
from bids_cascade.evaluation.tables import Columns, interval_text
from bids_cascade.imaging.images import load_image, load_mask
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3
from bids_cascade.report.charts import ERROR_KINDS, draw_errors, draw_scores, draw_sizes, draw_volumes
from bids_cascade.report.outlines import draw_outlines
from bids_cascade.report.page import Column, Table, render_page
from bids_cascade.whole_file import write_whole_file

PAGE = "evaluation.html"
VISITS_TABLE = "group_evaluation.tsv"

_LOGGER = logging.getLogger(__name__)

_N_WORST = 3


def write_evaluation_page(
    evaluation: Evaluation, summaries: Summaries, folder: Path, columns: Mapping[str, Columns]
) -> Path:
    """Write ``evaluation.html``, which shows the tables of the same folder; return its path.

    Parameters
    ----------
    evaluation : Evaluation
    summaries : Summaries
    folder : Path
    columns : mapping of str to mapping
        Of each table, by its file name, see :func:`bids_cascade.evaluation.tables.write_tables`.

    Raises
    ------
    OutputError, ReadWriteError
        When the file can't be written.
    """
    pages = {path.name for path in folder.glob("*.html")}
    links = [f"./sub-{visit.participant}.html#{visit.name}" for visit in evaluation.visits]
    links = [link if link[2:].partition("#")[0] in pages else "" for link in links]
    tables = {name: table_of(folder / name, described) for name, described in columns.items()}
    tables[VISITS_TABLE] = replace(tables[VISITS_TABLE], links=links)
    beside = [("./group.html", "Group page")] if "group.html" in pages else []
    write_whole_file(_page(evaluation, summaries, tables, beside).encode(), folder / PAGE)
    return folder / PAGE


def table_of(path: Path, columns: Columns) -> Table:
    """Return the table of a TSV file, cell by cell, for a page."""
    tsv = read_tsv(path)
    return Table(path.name, [Column.described(name, columns[name]) for name in tsv.columns], tsv.rows)


def data_url(content: bytes, kind: str) -> str:
    """Return an image (``svg+xml`` or ``png``) as a data URL, so that a page needs no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _page(
    evaluation: Evaluation, summaries: Summaries, tables: Mapping[str, Table], beside: Sequence[tuple[str, str]]
) -> str:
    measures, names = evaluation.measures, [visit.name for visit in evaluation.visits]
    by_size = {name: summaries.sizes[name].counts for name in COUNTED_CLASSES_MM3}
    errors_ml = {name: sum(measured[kind] for measured in measures) for kind, name in ERROR_KINDS.items()}
    charts = {
        "volumes": draw_volumes(measures, summaries.agreement),
        "scores": draw_scores({name: [measured[name] for measured in measures] for name in SCORES}),
        "sizes": draw_sizes(by_size),
        "errors": draw_errors(names, measures),
    }
    return render_page(
        PAGE,
        title=evaluation.title,
        contents=[
            ("scores", "Scores"),
            ("errors", "Errors"),
            ("worst", "Worst cases"),
            ("visits", "Visits"),
            ("lesions", "Lesions"),
        ],
        other_pages=beside,
        evaluation=evaluation,
        figures=_key_figures(evaluation, summaries.measures),
        min_subjects=MIN_SUBJECTS,
        errors_ml={name: f"{volume:.2f} ml" for name, volume in errors_ml.items()},
        dominating=max(errors_ml, key=lambda name: errors_ml[name]) if any(errors_ml.values()) else "",
        charts={name: data_url(content, "svg+xml") for name, content in charts.items()},
        worst=_worst(evaluation.visits),
        tables=tables,
    )


def _key_figures(evaluation: Evaluation, summaries: Mapping[str, Summary]) -> list[tuple[str, str]]:
    names = {"dice": "Dice", "lesion_f1": "lesion F1", "hd95_mm": "HD95 (mm)"}
    n_visits, n_subjects = len(evaluation.visits), len(set(evaluation.subjects))
    figures = [(f"{n_visits}", f"visit{'s' * (n_visits != 1)} of {n_subjects} participant{'s' * (n_subjects != 1)}")]
    interval = " [95 % interval]" if n_subjects >= MIN_SUBJECTS else ""
    for measure, name in names.items():
        digits = 1 if measure.endswith("_mm") else 3
        figures.append((interval_text(summaries[measure].mean, digits), f"{name}, mean over visits{interval}"))
    return figures


def _load_background(visit: EvaluatedVisit) -> nib.Nifti1Image | None:
    """Return the scan to draw on; None if there is none or it can't be read."""
    try:
        return None if visit.background is None else load_image(visit.background)
    except BidsCascadeError as error:
        _LOGGER.warning("%s: drawn without its scan: %s", visit.name, error)
        return None


def _worst(visits: Sequence[EvaluatedVisit]) -> list[tuple[EvaluatedVisit, str]]:
    """Return the visits with the lowest Dice, with a picture each."""
    ordered = sorted(visits, key=lambda visit: (visit.agreement.measures["dice"], visit.name))
    pictures = []
    for visit in ordered[:_N_WORST]:
        picture = draw_outlines(load_mask(visit.reference), load_mask(visit.predicted), _load_background(visit))
        pictures.append((visit, data_url(picture, "png")))
    return pictures
