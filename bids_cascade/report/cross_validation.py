"""The page of a cross-validation: the cascade beside a threshold on FLAIR, on the same visits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bids_cascade.evaluation.folds import CASCADE, FLAIR_THRESHOLD, CrossValidation, Summaries, shown_rows
from bids_cascade.evaluation.records import SCORES
from bids_cascade.evaluation.tables import Columns
from bids_cascade.report.charts import draw_methods
from bids_cascade.report.evaluation import data_url, table_of
from bids_cascade.report.page import render_page
from bids_cascade.whole_file import write_whole_file


def write_cross_validation_page(
    whole: CrossValidation, summaries: Summaries, out_dir: Path, columns: Mapping[str, Columns]
) -> Path:
    """Write ``cross-validation.html``, which shows the tables of the same folder; return its path.

    Parameters
    ----------
    whole : CrossValidation
    summaries : mapping of str to mapping
        See :func:`bids_cascade.evaluation.folds.summarise_methods`.
    out_dir : Path
    columns : mapping of str to mapping
        Of each table, by its file name, see :func:`bids_cascade.evaluation.folds.write_method_tables`.

    Raises
    ------
    OutputError, ReadWriteError
        When the file can't be written.
    """
    values = {
        method: {measure: _paired(whole, measure)[:, column].tolist() for measure in SCORES}
        for column, method in enumerate((CASCADE, FLAIR_THRESHOLD))
    }
    page = render_page(
        "cross-validation.html",
        title=f"Cross-validation of {whole.name}",
        contents=[("methods", "Both methods"), ("folds", "Folds"), ("visits", "Visits")],
        whole=whole,
        shown=shown_rows(summaries),
        chart=data_url(
            draw_methods(values, ("dice", "lesion_sensitivity", "lesion_precision", "lesion_f1")), "svg+xml"
        ),
        pages={method: f"./cross-validation/{method}/evaluation.html" for method in (CASCADE, FLAIR_THRESHOLD)},
        tables=[table_of(out_dir / name, described) for name, described in columns.items()],
    )
    write_whole_file(page.encode(), out_dir / "cross-validation.html")
    return out_dir / "cross-validation.html"


def _paired(whole: CrossValidation, measure: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a measure of both methods, (N, 2)."""
    pairs = zip(whole.cascade.measures, whole.flair_threshold.measures, strict=True)
    return np.array([[a[measure], b[measure]] for a, b in pairs], np.float64)
