"""The records of a cross-validation: the cascade and a threshold on FLAIR, on the same visits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bids_cascade.dataset.tables import read_object
from bids_cascade.derivatives.files import write_json, write_tsv
from bids_cascade.errors import BidsCascadeError
from bids_cascade.evaluation.bootstrap import Estimate, Summary
from bids_cascade.evaluation.columns import SUMMARY_COLUMNS
from bids_cascade.evaluation.matching import MEASURES
from bids_cascade.evaluation.records import SCORES, Evaluation, summarise_measures
from bids_cascade.evaluation.tables import Columns, interval_text, summary_row

CASCADE, FLAIR_THRESHOLD = "cascade", "flair-threshold"
"""The methods, and the folders of their derivatives."""


_DIFFERENCE = "difference"


_SHOWN = (*SCORES, "hd95_mm", "absolute_volume_difference_ml")


_METHODS = {
    "Description": "Method that made the masks",
    "Levels": {
        CASCADE: "the cascade, trained without the visit's participant",
        FLAIR_THRESHOLD: "FLAIR brighter than one threshold, chosen on the same training part",
        _DIFFERENCE: f"{CASCADE} minus {FLAIR_THRESHOLD}, visit by visit",
    },
}


_VISIT_COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a in a dataset without sessions"},
    "fold": {"Description": "The fold in which the participant was left out"},
    "threshold": {"Description": "Threshold of the cascade's probability, chosen inside the training part"},
    "flair_threshold": {
        "Description": "Threshold of FLAIR, in which white matter is 1, chosen inside the training part"
    },
}


@dataclass(frozen=True)
class Fold:
    """One cascade, and the subjects left out of its training.

    Attributes
    ----------
    number : int
        From 1.
    subjects, visits : tuple of str
        Left out: labels, and names of visits.
    threshold, flair_threshold : float
        Chosen on the others: of the cascade's probability, of FLAIR's level.
    model_sha256 : str
    """

    number: int
    subjects: tuple[str, ...]
    visits: tuple[str, ...]
    threshold: float
    flair_threshold: float
    model_sha256: str


@dataclass(frozen=True)
class CrossValidation:
    """All folds together: both methods on the same visits."""

    name: str
    folds: Sequence[Fold]
    cascade: Evaluation
    flair_threshold: Evaluation


Summaries = Mapping[str, Mapping[str, Summary]]
"""Of each measure by method, and of the paired difference."""


def write_fold(fold: Fold, fingerprint: str, path: Path) -> None:
    """Write a fold as JSON, with the hash of the data and choices that it was made from."""
    write_json({"fingerprint": fingerprint, **asdict(fold)}, path)


def read_fold(path: Path, fingerprint: str) -> Fold | None:
    """Return a finished fold; None if it is not, or was made from other data or with other choices.

    Parameters
    ----------
    path : Path
        Written by :func:`write_fold`.
    fingerprint : str
        Hash of data and choices.
    """
    try:
        saved = read_object(path)
        if saved.pop("fingerprint") != fingerprint:
            return None
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}
        return Fold(**values)
    except (BidsCascadeError, KeyError, TypeError):
        return None


def write_method_tables(whole: CrossValidation, summaries: Summaries, out_dir: Path) -> dict[str, Columns]:
    """Write ``group_cross-validation*.tsv`` with their dictionaries; return their columns by file name.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    rows = [
        {"method": method} | summary_row(measure, summary)
        for method, by_measure in summaries.items()
        for measure, summary in by_measure.items()
    ]
    tables: dict[str, tuple[list[dict[str, Any]], Columns]] = {
        "group_cross-validation.tsv": (rows, {"method": _METHODS, **SUMMARY_COLUMNS}),
        "group_cross-validation_visits.tsv": (_visit_rows(whole), _visit_columns()),
    }
    for name, (rows, columns) in tables.items():
        write_tsv(rows, list(columns), out_dir / name, columns)
    return {name: columns for name, (_, columns) in tables.items()}


def summarise_methods(whole: CrossValidation) -> dict[str, dict[str, Summary]]:
    """Return each measure's summary by method, and that of the paired difference."""
    subjects, seed = whole.cascade.subjects, whole.cascade.seed
    differences = [
        {measure: a[measure] - b[measure] for measure in MEASURES}
        for a, b in zip(whole.cascade.measures, whole.flair_threshold.measures, strict=True)
    ]
    return {
        CASCADE: summarise_measures(whole.cascade.measures, subjects, seed),
        FLAIR_THRESHOLD: summarise_measures(whole.flair_threshold.measures, subjects, seed),
        _DIFFERENCE: summarise_measures(differences, subjects, seed),
    }


def _visit_columns() -> dict[str, dict[str, Any]]:
    described = dict(_VISIT_COLUMNS)
    for measure in ("reference_volume_ml", *_SHOWN, "predicted_volume_ml"):
        if measure == "reference_volume_ml":
            described[measure] = MEASURES[measure]
            continue
        for method in (CASCADE, FLAIR_THRESHOLD):
            text = f"Of the {method} masks: {MEASURES[measure]['Description']}"
            described[_column(measure, method)] = MEASURES[measure] | {"Description": text}
    return described


def _column(measure: str, method: str) -> str:
    """Return the name of the column with a method's measure; BIDS wants column names in snake case."""
    return f"{measure}_{method.replace('-', '_')}"


def _visit_rows(whole: CrossValidation) -> list[dict[str, Any]]:
    fold_of = {name: fold for fold in whole.folds for name in fold.visits}
    rows = []
    for visit, measures in zip(whole.cascade.visits, whole.flair_threshold.measures, strict=True):
        fold = fold_of[visit.name]
        row: dict[str, Any] = {
            **visit.columns,
            "fold": fold.number,
            "threshold": fold.threshold,
            "flair_threshold": fold.flair_threshold,
            "reference_volume_ml": measures["reference_volume_ml"],
        }
        for measure in (*_SHOWN, "predicted_volume_ml"):
            row[_column(measure, CASCADE)] = visit.agreement.measures[measure]
            row[_column(measure, FLAIR_THRESHOLD)] = measures[measure]
        rows.append(row)
    return rows


def shown_rows(summaries: Summaries) -> list[list[str]]:
    """Return the main rows: measure, mean with interval and median of each method, difference of means."""
    rows = []
    for measure in _SHOWN:
        digits = 1 if measure.endswith("_mm") else 2 if measure.endswith("_ml") else 3
        row = [measure.replace("_", " ")]
        for method in (CASCADE, FLAIR_THRESHOLD):
            summary = summaries[method][measure]
            row += [interval_text(summary.mean, digits), interval_text(Estimate(summary.median.value), digits)]
        rows.append([*row, interval_text(summaries[_DIFFERENCE][measure].mean, digits)])
    return rows


def format_methods(summaries: Summaries) -> str:
    """Return the table of both methods as text."""
    n = summaries[CASCADE]["dice"].n_visits
    lines = [
        f"Left-out visits: {n}. Mean [95 % interval] and median:",
        f"{'':<30}  {CASCADE:<32}  {FLAIR_THRESHOLD:<32}  difference of means",
    ]
    for measure, mean, median, other_mean, other_median, difference in shown_rows(summaries):
        lines.append(f"{measure:<30}  {mean + '  ' + median:<32}  {other_mean + '  ' + other_median:<32}  {difference}")
    return "\n".join(lines)


def card_of(whole: CrossValidation, summaries: Summaries) -> dict[str, Any]:
    """Return the cross-validation's results for a model card."""
    names = (
        "measure",
        "cascade_mean",
        "cascade_median",
        "flair_threshold_mean",
        "flair_threshold_median",
        "difference",
    )
    return {
        "folds": len(whole.folds),
        "visits": len(whole.cascade.visits),
        "subjects": len(set(whole.cascade.subjects)),
        "figures": [dict(zip(names, row, strict=True)) for row in shown_rows(summaries)],
    }
