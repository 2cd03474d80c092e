"""The tables and the page of an evaluation."""

from __future__ import annotations

import base64
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_cascade.dataset.tables import NOT_AVAILABLE, read_tsv
from bids_cascade.derivatives.names import write_tsv
from bids_cascade.errors import BidsCascadeError
from bids_cascade.evaluation.bootstrap import (
    MIN_SUBJECTS,
    Estimate,
    SizeSummary,
    Summary,
    agreement_over_cohort,
    summarise,
    summarise_sizes,
)
from bids_cascade.evaluation.columns import (
    AGREEMENT_COLUMNS,
    LEARNT_FROM,
    LESION_COLUMNS,
    SIZE_COLUMNS,
    SUMMARY_COLUMNS,
    VISIT_COLUMNS,
)
from bids_cascade.evaluation.matching import MEASURES, Agreement, MatchedLesion
from bids_cascade.imaging.images import load_image, load_mask
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3
from bids_cascade.report.charts import ERROR_KINDS, draw_errors, draw_scores, draw_sizes, draw_volumes
from bids_cascade.report.outlines import draw_outlines
from bids_cascade.report.page import Column, Table, render_page
from bids_cascade.whole_file import write_whole_file

SCORES = ("dice", "sensitivity", "precision", "lesion_sensitivity", "lesion_precision", "lesion_f1")
"""The measures from 0 to 1 that are drawn by visit."""

PAGE = "evaluation.html"

_LOGGER = logging.getLogger(__name__)

_N_WORST = 3


@dataclass(frozen=True)
class Origin:
    """What made a predicted mask; None is what its sidecar doesn't say.

    Attributes
    ----------
    model_name, model_sha256 : str or None
    threshold : float or None
    learnt_from : str or None
        One of :data:`bids_cascade.evaluation.columns.LEARNT_FROM`.
    """

    model_name: str | None = None
    model_sha256: str | None = None
    threshold: float | None = None
    learnt_from: str | None = None

    @property
    def text(self) -> str:
        """Model and threshold in a line."""
        model = "a model that the masks' sidecars don't name"
        if self.model_name is not None:
            model = f"model {self.model_name} (SHA-256 {self.model_sha256 or 'not stated'})"
        return f"{model}, threshold {'not stated' if self.threshold is None else format(self.threshold, 'g')}"


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
    origin : Origin
        Of the predicted mask.
    """

    participant: str
    session: str | None
    reference: Path
    predicted: Path
    background: Path | None
    agreement: Agreement
    origin: Origin = Origin()

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

    @property
    def lesions(self) -> list[list[MatchedLesion]]:
        """What became of the lesions of each visit."""
        return [one.agreement.lesions for one in self.visits]

    @property
    def origins(self) -> dict[str, int]:
        """What made the predicted masks, and how many visits' masks it made."""
        return dict(Counter(one.origin.text for one in self.visits))

    @property
    def learnt_from(self) -> dict[str, list[str]]:
        """Names of the visits that the model has learnt from, and of those it may have, by what is known of that."""
        found: dict[str, list[str]] = {}
        for one in self.visits:
            if one.origin.learnt_from in ("visit", "participant"):
                found.setdefault(LEARNT_FROM[one.origin.learnt_from], []).append(one.name)
        return found

    @property
    def n_unknown(self) -> int:
        """Number of visits of which it is not known whether the model has learnt from them."""
        return sum(one.origin.learnt_from is None for one in self.visits)


@dataclass(frozen=True)
class Summaries:
    """What the visits of an evaluation come to together."""

    measures: Mapping[str, Summary]
    sizes: Mapping[str, SizeSummary]
    agreement: Mapping[str, Estimate]


def summarise_evaluation(evaluation: Evaluation) -> Summaries:
    """Return what the visits come to together, with bootstrap intervals where there are participants enough."""
    subjects, seed = evaluation.subjects, evaluation.seed
    return Summaries(
        summarise_measures(evaluation.measures, subjects, seed),
        summarise_sizes(evaluation.lesions, subjects, seed),
        agreement_over_cohort(evaluation.measures, subjects, seed),
    )


def write_evaluation(evaluation: Evaluation, summaries: Summaries, folder: Path) -> Path:
    """Write the tables ``group_evaluation*.tsv`` with their dictionaries, then ``evaluation.html``; return its path.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    tables: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
        "group_evaluation_summary.tsv": ([summary_row(*item) for item in summaries.measures.items()], SUMMARY_COLUMNS),
        "group_evaluation_sizes.tsv": ([_size_row(*item) for item in summaries.sizes.items()], SIZE_COLUMNS),
        "group_evaluation_agreement.tsv": (
            [{"measure": name, **estimate._asdict()} for name, estimate in summaries.agreement.items()],
            AGREEMENT_COLUMNS,
        ),
        "group_evaluation.tsv": ([_visit_row(one) for one in evaluation.visits], VISIT_COLUMNS),
        "group_evaluation_lesions.tsv": (
            [one.keys | asdict(lesion) for one in evaluation.visits for lesion in one.agreement.lesions],
            LESION_COLUMNS,
        ),
    }
    for name, (rows, columns) in tables.items():
        write_tsv(rows, list(columns), folder / name, columns)
    page = _page(evaluation, summaries, {name: table_of(folder / name, tables[name][1]) for name in tables})
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


def _size_row(size: str, summary: SizeSummary) -> dict[str, Any]:
    row: dict[str, Any] = {"size": size, **asdict(summary.counts)}
    for name in ("sensitivity", "precision", "f1"):
        estimate: Estimate = getattr(summary, name)
        row |= {name: estimate.value, f"{name}_ci95_low": estimate.ci95_low, f"{name}_ci95_high": estimate.ci95_high}
    return row


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
    masks = {"reference_mask": one.reference.name, "predicted_mask": one.predicted.name}
    return one.keys | one.agreement.measures | masks | asdict(one.origin)


def _page(evaluation: Evaluation, summaries: Summaries, tables: Mapping[str, Table]) -> str:
    measures, names = evaluation.measures, [one.name for one in evaluation.visits]
    by_size = {name: summaries.sizes[name].counts for name in COUNTED_CLASSES_MM3}
    errors_ml = {name: sum(one[kind] for one in measures) for kind, name in ERROR_KINDS.items()}
    charts = {
        "volumes": draw_volumes(measures, summaries.agreement),
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
