"""The tables of an evaluation: a row a visit, a lesion, a measure, a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bids_cascade.dataset.tables import NOT_AVAILABLE
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.evaluation.bootstrap import (
    Estimate,
    SizeSummary,
    Summary,
)
from bids_cascade.evaluation.columns import (
    AGREEMENT_COLUMNS,
    LESION_COLUMNS,
    SIZE_COLUMNS,
    SUMMARY_COLUMNS,
    VISIT_COLUMNS,
)
from bids_cascade.evaluation.records import EvaluatedVisit, Evaluation, Summaries

Columns = Mapping[str, Mapping[str, Any]]
"""Descriptions of a table's columns, in their order."""


def write_tables(evaluation: Evaluation, summaries: Summaries, folder: Path) -> dict[str, Columns]:
    """Write the tables ``group_evaluation*.tsv`` with their dictionaries; return their columns by file name.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    agreement = [{"measure": name, **estimate._asdict()} for name, estimate in summaries.agreement.items()]
    lesions = [visit.columns | asdict(lesion) for visit in evaluation.visits for lesion in visit.agreement.lesions]
    tables: dict[str, tuple[list[dict[str, Any]], Columns]] = {
        "group_evaluation_summary.tsv": ([summary_row(*item) for item in summaries.measures.items()], SUMMARY_COLUMNS),
        "group_evaluation_sizes.tsv": ([_size_row(*item) for item in summaries.sizes.items()], SIZE_COLUMNS),
        "group_evaluation_agreement.tsv": (agreement, AGREEMENT_COLUMNS),
        "group_evaluation.tsv": ([_visit_row(visit) for visit in evaluation.visits], VISIT_COLUMNS),
        "group_evaluation_lesions.tsv": (lesions, LESION_COLUMNS),
    }
    for name, (rows, columns) in tables.items():
        write_tsv(rows, list(columns), folder / name, columns)
    return {name: columns for name, (_, columns) in tables.items()}


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


def interval_text(estimate: Estimate, digits: int = 3) -> str:
    """Return an estimate with its interval, such as ``0.685 [0.630, 0.731]``."""
    if not np.isfinite(estimate.value):
        return NOT_AVAILABLE
    if not np.isfinite(estimate.ci95_low):
        return f"{estimate.value:.{digits}f}"
    return f"{estimate.value:.{digits}f} [{estimate.ci95_low:.{digits}f}, {estimate.ci95_high:.{digits}f}]"


def _visit_row(visit: EvaluatedVisit) -> dict[str, Any]:
    masks = {"reference_mask": visit.reference.name, "predicted_mask": visit.predicted.name}
    return visit.columns | visit.agreement.measures | masks | asdict(visit.origin)
