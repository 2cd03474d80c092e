"""The page of a cohort, made only from the tables beside it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_cascade.cohort.columns import STATUSES, SUMMARISED, SUMMARY_COLUMNS, VISIT_COLUMNS
from bids_cascade.cohort.outliers import LOG_OFFSET_ML, MIN_VALUES, OUTLIER_Z
from bids_cascade.dataset.tables import NOT_AVAILABLE, Tsv, read_tsv
from bids_cascade.report.frequency import read_maps
from bids_cascade.report.page import Column, Table, relative_url, render_page
from bids_cascade.report.regions import draw_stacked
from bids_cascade.whole_file import write_whole_file

_CONTENTS = {
    "attention": "To look at",
    "distribution": "Distribution",
    "regions": "Where the lesions are",
    "relation": "Against another column",
    "course": "Between visits",
    "visits": "All visits",
    "rules": "How to read this",
}
_OWN_X = ("brain_volume_ml", "visit_number", "days_since_first_visit")
_PROCESSING = (
    "sequences",
    "model_name",
    "model_sha256",
    "threshold",
    "min_lesion_volume_mm3",
    "precision",
    "bids_cascade_version",
)


def write_group_page(
    out_dir: Path, *, name: str, descriptions: Mapping[str, Any], problems: Sequence[str], selection: str
) -> Path:
    """Write group.html from group_visits.tsv and group_summary.tsv; return its path.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset, which holds the tables.
    name : str
        Of the dataset.
    descriptions : mapping of str to dict
        Of the columns joined from the raw dataset's tables.
    problems : sequence of str
        Faults of the raw dataset's tables.
    selection : str
        The selection, if not everything.
    """
    page = out_dir / "group.html"
    visits, summary = (read_tsv(out_dir / f"{table}.tsv") for table in ("group_visits", "group_summary"))
    links = _links(visits, out_dir, page)
    table = Table("group_visits.tsv", _columns(visits, VISIT_COLUMNS | dict(descriptions)), visits.rows, links)
    rows = [row | {"link": link} for row, link in zip(visits.dicts(), links, strict=True)]
    numeric = {column.name for column, is_number in zip(table.columns, table.numeric, strict=True) if is_number}
    text = render_page(
        "group.html",
        title=f"Lesions in {name}",
        contents=list(_CONTENTS.items()),
        other_pages=[("./evaluation.html", "Evaluation")] if (out_dir / "evaluation.html").exists() else [],
        scripts=["group.js"],
        styles=["group.css"],
        selection=selection,
        problems=problems,
        n_participants=len({row["participant_id"] for row in rows}),
        rows=rows,
        by_status={status: [row for row in rows if row["status"] == status] for status in STATUSES},
        statuses=STATUSES,
        medians=_medians(summary),
        by_group_flag=_by_flag(rows, "group_flags"),
        by_quality_flag=_by_flag(rows, "quality_flags"),
        processings=_processings(rows),
        table=table,
        summary=Table("group_summary.tsv", _columns(summary, SUMMARY_COLUMNS), summary.rows),
        joined_x=[column for column in descriptions if column in numeric],
        own_x=[column for column in _OWN_X if column in numeric],
        n_repeated=_count_repeated(rows),
        compared=_compared(rows),
        n_with_new=sum(row.get("n_new_lesions", "0") not in ("0", NOT_AVAILABLE) for row in rows),
        maps=read_maps(out_dir),
        has_regions=_write_regions_chart(out_dir, rows),
        topographies=Counter(row["n_topographies"] for row in rows if row.get("n_topographies", "n/a") != "n/a"),
        outlier_z=OUTLIER_Z,
        min_values=MIN_VALUES,
        log_offset_ml=LOG_OFFSET_ML,
    )
    write_whole_file(text.encode(), page)
    return page


def _write_regions_chart(out_dir: Path, rows: Sequence[Mapping[str, str]]) -> bool:
    """Write the chart of lesions by region beside the page if any visit has regions; return whether one has."""
    path, chart = out_dir / "group_regions.svg", draw_stacked(rows)
    if chart is None:
        path.unlink(missing_ok=True)
        return False
    write_whole_file(chart, path)
    return True


def _links(visits: Tsv, out_dir: Path, page: Path) -> list[str]:
    """Return each visit's link to its participant's page, if there is such a page."""
    existing = {entry.name for entry in os.scandir(out_dir)}
    links = []
    for row in visits.dicts():
        names = [row[column] for column in ("participant_id", "session_id") if row[column] != NOT_AVAILABLE]
        path = out_dir / f"{names[0]}.html"
        links.append(f"{relative_url(path, page)}#{'_'.join(names)}" if path.name in existing else "")
    return links


def _columns(table: Tsv, descriptions: Mapping[str, Any]) -> list[Column]:
    return [Column.described(name, descriptions.get(name)) for name in table.columns]


def _medians(summary: Tsv) -> dict[str, str]:
    """Return the medians of the most frequent processing by measure, rounded for display."""
    medians = {row["measure"]: _round(row["median"]) for row in summary.dicts() if row["processing"] == "1"}
    return dict.fromkeys(SUMMARISED, NOT_AVAILABLE) | medians


def _round(cell: str) -> str:
    """Return a number with three significant digits, or without decimals."""
    return f"{float(cell):.0f}" if abs(float(cell)) >= 100 else f"{float(cell):.3g}"


def _by_flag(rows: Iterable[dict[str, str]], column: str) -> dict[str, list[dict[str, str]]]:
    """Return the visits with each flag."""
    by_flag: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if row[column] != NOT_AVAILABLE:
            for flag in row[column].split(";"):
                by_flag.setdefault(flag, []).append(row)
    return dict(sorted(by_flag.items()))


def _processings(rows: Iterable[dict[str, str]]) -> dict[str, dict[str, Any]]:
    """Return each processing by number: model, options and version, and its visits."""
    processings: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["processing"] != NOT_AVAILABLE:
            own = processings.setdefault(row["processing"], {**{name: row[name] for name in _PROCESSING}, "visits": []})
            own["visits"].append(row)
    return {number: processings[number] for number in sorted(processings, key=int)}


def _count_repeated(rows: Iterable[dict[str, str]]) -> int:
    """Return how many participants have more than one visit with results."""
    counts = Counter(row["participant_id"] for row in rows if row["status"] == "complete")
    return sum(count > 1 for count in counts.values())


def _compared(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the visits compared with the previous one, or not comparable; those with most new lesions first."""
    compared = [row for row in rows if row.get("change_compared_with", NOT_AVAILABLE) != NOT_AVAILABLE]

    def n_new(row: dict[str, str]) -> float:
        cell = row["n_new_lesions"]
        return -1 if cell == NOT_AVAILABLE else float(cell)

    return sorted(compared, key=n_new, reverse=True)
