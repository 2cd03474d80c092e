"""The tables and the page of an evaluation."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_cascade.dataset.derivatives import write_tsv
from bids_cascade.dataset.tables import NOT_AVAILABLE, read_tsv
from bids_cascade.errors import BidsCascadeError
from bids_cascade.imaging.images import load_image, load_mask
from bids_cascade.lesions.agreement import MEASURES, Agreement, count_lesions
from bids_cascade.lesions.cohort import (
    COHORT_MEASURES,
    N_RESAMPLES,
    Estimate,
    Summary,
    agreement_over_cohort,
    summarise,
)
from bids_cascade.lesions.components import CENTRE
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3, SIZE_CLASSES_MM3, size_text
from bids_cascade.report.charts import ERROR_KINDS, draw_errors, draw_scores, draw_sizes, draw_volumes
from bids_cascade.report.outlines import draw_outlines
from bids_cascade.report.page import Column, Table, render_page
from bids_cascade.whole_file import write_whole_file

SCORES = ("dice", "sensitivity", "precision", "lesion_sensitivity", "lesion_precision", "lesion_f1")
"""The measures from 0 to 1 that are drawn by visit."""

PAGE = "evaluation.html"

_LOGGER = logging.getLogger(__name__)

_N_WORST = 3
_INTERVAL = f"95 %% interval of %s: percentile bootstrap over subjects, {N_RESAMPLES} draws"
_VISIT_COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a in a dataset without sessions"},
    **MEASURES,
    "reference_mask": {"Description": "File name of the reference mask"},
    "predicted_mask": {"Description": "File name of the predicted mask, on the same grid"},
}
_LESION_COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a in a dataset without sessions"},
    "mask": {"Description": "Whose lesion", "Levels": {"reference": "reference mask", "predicted": "predicted mask"}},
    "index": {"Description": "Its number in that mask, from the largest"},
    "outcome": {
        "Description": "Whether it shares at least one voxel with the other mask",
        "Levels": {
            "found": "reference lesion that does",
            "missed": "reference lesion that does not",
            "right": "predicted lesion that does",
            "false": "predicted lesion that does not",
        },
    },
    "size_class": {
        "Description": "Class by volume; a lesion below 3 mm^3 is listed but not counted",
        "Levels": {name: size_text(name) for name in SIZE_CLASSES_MM3},
    },
    "volume_mm3": {"Description": "Volume", "Units": "mm^3"},
    "overlap_mm3": {"Description": "Volume of it in the other mask", "Units": "mm^3"},
    "centre_x_mm": {"Description": f"{CENTRE}, left to right, in the world of the masks", "Units": "mm"},
    "centre_y_mm": {"Description": "The same, posterior to anterior", "Units": "mm"},
    "centre_z_mm": {"Description": "The same, inferior to superior", "Units": "mm"},
}
SUMMARY_COLUMNS = {
    "measure": {"Description": "A column of the table of visits, which describes it"},
    "n_visits": {"Description": "Visits where the measure is defined"},
    "n_subjects": {"Description": "Their participants"},
    "mean": {"Description": "Mean over visits"},
    "mean_ci95_low": {"Description": _INTERVAL % "the mean" + ", lower end"},
    "mean_ci95_high": {"Description": "Upper end"},
    "median": {"Description": "Median over visits"},
    "median_ci95_low": {"Description": _INTERVAL % "the median" + ", lower end"},
    "median_ci95_high": {"Description": "Upper end"},
    "min": {"Description": "Smallest value"},
    "max": {"Description": "Largest value"},
}
_AGREEMENT_COLUMNS = {
    "measure": {
        "Description": "What is estimated",
        "Levels": {k: v["Description"] for k, v in COHORT_MEASURES.items()},
    },
    "value": {"Description": "Estimate over the visits"},
    "ci95_low": {"Description": _INTERVAL % "the estimate" + ", lower end"},
    "ci95_high": {"Description": "Upper end"},
}


@dataclass(frozen=True, eq=False)
class EvaluatedVisit:
    """One visit's predicted mask beside its reference.

    Attributes
    ----------
    participant : str
        Label without ``sub-``.
    session : str or None
        Label without ``ses-``.
    reference, predicted : Path
        The masks that were compared.
    background : Path or None
        A scan on their grid.
    agreement : Agreement
    """

    participant: str
    session: str | None
    reference: Path
    predicted: Path
    background: Path | None
    agreement: Agreement

    @property
    def name(self) -> str:
        """What the visit's files begin with, such as ``sub-01_ses-1``."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def keys(self) -> dict[str, str | None]:
        """What every row of a table begins with."""
        return {"participant_id": f"sub-{self.participant}", "session_id": self.session and f"ses-{self.session}"}


@dataclass(frozen=True)
class Evaluation:
    """All that a page tells.

    Attributes
    ----------
    title : str
        Of the page.
    compared : str
        What was compared with what, in a few words.
    visits : sequence of EvaluatedVisit
        At least one.
    not_evaluated : mapping of str to str
        By name of a visit, why not.
    seed : int
        Of the bootstrap.
    """

    title: str
    compared: str
    visits: Sequence[EvaluatedVisit]
    not_evaluated: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0

    @property
    def subjects(self) -> list[str]:
        """Whose each visit is."""
        return [one.participant for one in self.visits]

    @property
    def measures(self) -> list[dict[str, float]]:
        """What was measured at each visit."""
        return [one.agreement.measures for one in self.visits]


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write the tables ``group_evaluation*.tsv`` with their dictionaries, then ``evaluation.html``; return its path.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    summaries = summarise_measures(evaluation.measures, evaluation.subjects, evaluation.seed)
    agreement = agreement_over_cohort(evaluation.measures, evaluation.subjects, evaluation.seed)
    tables: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
        "group_evaluation_summary.tsv": ([summary_row(*item) for item in summaries.items()], SUMMARY_COLUMNS),
        "group_evaluation_agreement.tsv": (
            [{"measure": name, **estimate._asdict()} for name, estimate in agreement.items()],
            _AGREEMENT_COLUMNS,
        ),
        "group_evaluation.tsv": ([_visit_row(one) for one in evaluation.visits], _VISIT_COLUMNS),
        "group_evaluation_lesions.tsv": (
            [one.keys | asdict(lesion) for one in evaluation.visits for lesion in one.agreement.lesions],
            _LESION_COLUMNS,
        ),
    }
    for name, (rows, columns) in tables.items():
        write_tsv(rows, list(columns), folder / name, columns)
    page = _page(evaluation, summaries, agreement, [table_of(folder / name, tables[name][1]) for name in tables])
    write_whole_file(page.encode(), folder / PAGE)
    return folder / PAGE


def summarise_measures(
    measures: Sequence[Mapping[str, float]], subjects: Sequence[str], seed: int
) -> dict[str, Summary]:
    """Return each measure's summary over the visits, in the order of the table of visits."""
    return {name: summarise([one[name] for one in measures], subjects, seed) for name in MEASURES}


def summary_row(measure: str, summary: Summary) -> dict[str, Any]:
    """Return a row of the table of measures."""
    row: dict[str, Any] = {"measure": measure, "n_visits": summary.n_visits, "n_subjects": summary.n_subjects}
    for name, estimate in (("mean", summary.mean), ("median", summary.median)):
        row |= {name: estimate.value, f"{name}_ci95_low": estimate.ci95_low, f"{name}_ci95_high": estimate.ci95_high}
    return row | {"min": summary.low, "max": summary.high}


def table_of(path: Path, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the table of a TSV file, cell by cell, for a page."""
    found = read_tsv(path)
    return Table(path.name, [Column.described(name, columns[name]) for name in found.columns], found.rows)


def data_url(content: bytes, kind: str) -> str:
    """Return an image (``svg+xml`` or ``png``) as an address that holds it, so that a page needs no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def interval_text(estimate: Estimate, digits: int = 3) -> str:
    """Return an estimate with its interval, such as ``0.685 [0.630, 0.731]``."""
    if not np.isfinite(estimate.value):
        return NOT_AVAILABLE
    if not np.isfinite(estimate.ci95_low):
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.ci95_low:.{digits}f}, {estimate.ci95_high:.{digits}f}]"


def _visit_row(one: EvaluatedVisit) -> dict[str, Any]:
    return (
        one.keys | one.agreement.measures | {"reference_mask": one.reference.name, "predicted_mask": one.predicted.name}
    )


def _page(
    evaluation: Evaluation,
    summaries: Mapping[str, Summary],
    agreement: Mapping[str, Estimate],
    tables: Sequence[Table],
) -> str:
    measures, names = evaluation.measures, [one.name for one in evaluation.visits]
    every_lesion = [lesion for one in evaluation.visits for lesion in one.agreement.lesions]
    by_size = {name: count_lesions(every_lesion, name) for name in COUNTED_CLASSES_MM3}
    errors_ml = {name: sum(one[kind] for one in measures) for kind, name in ERROR_KINDS.items()}
    charts = {
        "volumes": draw_volumes(measures, agreement),
        "scores": draw_scores({name: [one[name] for one in measures] for name in SCORES}),
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
        evaluation=evaluation,
        figures=_key_figures(evaluation, summaries),
        errors_ml={name: f"{volume:.2f} ml" for name, volume in errors_ml.items()},
        dominating=max(errors_ml, key=lambda name: errors_ml[name]) if any(errors_ml.values()) else "",
        charts={name: data_url(content, "svg+xml") for name, content in charts.items()},
        worst=_worst(evaluation.visits),
        tables=tables,
    )


def _key_figures(evaluation: Evaluation, summaries: Mapping[str, Summary]) -> list[tuple[str, str]]:
    names = {"dice": "Dice", "lesion_f1": "lesion F1", "hd95_mm": "HD95 (mm)"}
    figures = [(str(len(evaluation.visits)), f"visits of {len(set(evaluation.subjects))} subjects")]
    for measure, name in names.items():
        digits = 1 if measure.endswith("_mm") else 3
        figures.append((interval_text(summaries[measure].mean, digits), f"mean {name} [95 % interval]"))
    return figures


def _load_background(one: EvaluatedVisit) -> nib.Nifti1Image | None:
    """Return the scan to draw on; None where there is none that can be read."""
    try:
        return None if one.background is None else load_image(one.background)
    except BidsCascadeError as error:
        _LOGGER.warning("%s: drawn without its scan: %s", one.name, error)
        return None


def _worst(visits: Sequence[EvaluatedVisit]) -> list[tuple[EvaluatedVisit, str]]:
    """Return the visits of lowest Dice with a picture each."""
    ordered = sorted(visits, key=lambda one: (one.agreement.measures["dice"], one.name))
    pictures = []
    for one in ordered[:_N_WORST]:
        picture = draw_outlines(load_mask(one.reference), load_mask(one.predicted), _load_background(one))
        pictures.append((one, data_url(picture, "png")))
    return pictures
