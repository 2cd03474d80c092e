"""The rows of a cohort's tables: one a visit, one a lesion, one a measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np

from bids_cascade.cohort.columns import CHANGE_FLAGS, OF_CHANGE, OPTIONAL, SUMMARISED
from bids_cascade.cohort.outliers import OUTLIER_Z, log_volume, modified_z_scores
from bids_cascade.dataset.tables import NOT_AVAILABLE
from bids_cascade.derivatives.change import ChangeResults
from bids_cascade.derivatives.flags import reasons_of
from bids_cascade.derivatives.read import Processing, VisitResults
from bids_cascade.errors import OK
from bids_cascade.lesions.sizes import count_by_size, count_clinical
from bids_cascade.visit_key import VisitKey, natural_key


@dataclass(frozen=True)
class GroupVisit:
    """One visit of the cohort.

    Attributes
    ----------
    key : VisitKey
    status : str
        One of ``STATUSES`` in :mod:`bids_cascade.cohort.columns`.
    reason : str
        Why it is not complete.
    exit_code : int
        Faults of its results, if there are any.
    results : VisitResults or None
        Of a complete visit.
    day : date or None
        When its images were made.
    in_dataset : bool
        Whether the raw dataset has it.
    joined : mapping of str to str
        Cells of participants.tsv and sessions.tsv, by column.
    change : ChangeResults or None
        Result of the comparison with the previous visit.
    """

    key: VisitKey
    status: str
    reason: str = ""
    exit_code: int = OK
    results: VisitResults | None = None
    day: date | None = None
    in_dataset: bool = True
    joined: Mapping[str, str] = field(default_factory=dict)
    change: ChangeResults | None = None

    @property
    def name(self) -> str:
        """Such as ``sub-01_ses-1``."""
        return self.key.name


def number_processings(visits: Sequence[GroupVisit]) -> dict[Processing, int]:
    """Return numbers for the combinations of sequences, model, options and version: 1 for the most frequent.

    Ties are broken by the larger number of sequences, then by the order of the fields.
    """
    counts = Counter(visit.results.processing for visit in visits if visit.results)
    ordered = sorted(counts, key=lambda processing: (-counts[processing], -processing.sequences.count("+"), processing))
    return {processing: number for number, processing in enumerate(ordered, start=1)}


def visit_rows(visits: Sequence[GroupVisit]) -> list[dict[str, Any]]:
    """Return the rows of group_visits.tsv, by column, in the order of the visits, which are sorted by participant."""
    numbers = number_processings(visits)
    rows = [
        {**visit.joined, **_own_columns(visit, numbers), **_result_columns(visit, numbers), **_change_columns(visit)}
        for visit in visits
    ]
    for _, pairs in groupby(zip(visits, rows, strict=True), key=lambda pair: pair[0].key.participant):
        _add_course(list(pairs))
    for number in numbers.values():
        _add_outliers([row for row in rows if row.get("processing") == number])
    for row in rows:
        row["group_flags"] = ";".join(row["group_flags"]) or None
    return rows


def lesion_rows(visits: Sequence[GroupVisit]) -> Iterator[dict[str, Any]]:
    """Yield the rows of group_lesions.tsv, by column, visit by visit, the largest lesion first."""
    numbers = number_processings(visits)
    for visit in visits:
        if visit.results:
            own = {**visit.key.columns, "processing": numbers[visit.results.processing]}
            for lesion in visit.results.lesions.rows:
                yield {**dict(zip(visit.results.lesions.columns, lesion, strict=True)), **own}


def without_unused(columns: Mapping[str, Any], visits: Sequence[GroupVisit]) -> dict[str, Any]:
    """Return the columns of a table without those optional ones that no visit has."""
    in_use = {
        name for visit in visits if visit.results for name in (*visit.results.stats, *visit.results.lesions.columns)
    }
    if any(visit.change for visit in visits):
        in_use |= {*OF_CHANGE, CHANGE_FLAGS}
    optional = {*OPTIONAL, *OF_CHANGE, CHANGE_FLAGS}
    return {name: text for name, text in columns.items() if name not in optional or name in in_use}


def summary_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of group_summary.tsv, by column: each measure over the visits of each processing."""
    numbers = sorted({row["processing"] for row in rows if row.get("processing")})
    summary = []
    for number in numbers:
        for measure in SUMMARISED:
            cells = [row[measure] for row in rows if row.get("processing") == number]
            values = [float(cell) for cell in cells if cell not in (None, NOT_AVAILABLE)]
            if values:
                quartiles = dict(zip(_QUARTILES, np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist(), strict=True))
                summary.append({"processing": number, "measure": measure, "n_visits": len(values), **quartiles})
    return summary


_QUARTILES = ("minimum", "first_quartile", "median", "third_quartile", "maximum")

_STATS = ("n_lesions", "lesion_volume_t1w_ml", "lesion_volume_flair_ml", "brain_volume_ml")


def _own_columns(visit: GroupVisit, numbers: Mapping[Processing, int]) -> dict[str, Any]:
    flags = {
        "not_in_dataset": not visit.in_dataset,
        "different_processing": visit.results is not None and numbers[visit.results.processing] != 1,
    }
    return {
        **visit.key.columns,
        "status": visit.status,
        "status_reason": visit.reason or None,
        "acquisition_date": visit.day and visit.day.isoformat(),
        "group_flags": [flag for flag, raised in flags.items() if raised],
    }


def _result_columns(visit: GroupVisit, numbers: Mapping[Processing, int]) -> dict[str, Any]:
    """Return the columns of a complete visit's own results; none of other visits."""
    results = visit.results
    if results is None:
        return {}
    volumes_mm3 = results.volumes_mm3
    lesion_ml, brain_ml = float(results.lesion_volume), _number(results.stats["brain_volume_ml"])
    processing = asdict(results.processing)
    return {
        **{name: results.stats[name] for name in _STATS},
        "lesion_volume_ml": results.lesion_volume,
        # Counted here, so that results of earlier versions have it, too.
        "n_lesions_14mm3": count_clinical(volumes_mm3),
        **{name: cell for name, cell in results.stats.items() if name in OPTIONAL},
        "lesion_volume_brain_percent": 100 * lesion_ml / brain_ml if brain_ml else None,
        "largest_lesion_mm3": max(volumes_mm3, default=None),
        "median_lesion_mm3": float(np.median(volumes_mm3)) if volumes_mm3 else None,
        **{f"n_lesions_{name}_mm3": count for name, count in count_by_size(volumes_mm3).items()},
        "quality_flags": ";".join(results.flags) or None,
        "warnings": "; ".join(reasons_of(results.flags)) or None,
        "processing": numbers[results.processing],
        "bids_cascade_version": processing.pop("version"),
        **processing,
    }


def _change_columns(visit: GroupVisit) -> dict[str, Any]:
    """Return the columns of a visit's comparison with the previous one."""
    if visit.change is None or visit.results is None:
        return {}
    cells = {name: visit.change.stats.get(own) for name, own in OF_CHANGE.items()}
    return {**cells, CHANGE_FLAGS: ";".join(visit.change.flags) or None}


def _add_course(visits: Sequence[tuple[GroupVisit, dict[str, Any]]]) -> None:
    """Add to the rows of a participant's visits their order, the time between them and the change of volume."""
    dated = all(visit.day for visit, _ in visits)
    ordered = sorted(visits, key=lambda pair: ((dated and pair[0].day) or date.min, natural_key(pair[0].key.session)))
    first_day = min((visit.day for visit, _ in visits if visit.day), default=None)
    previous: GroupVisit | None = None
    for number, (visit, row) in enumerate(ordered, start=1):
        row["visit_number"] = number
        row["days_since_first_visit"] = _days(first_day, visit.day)
        if visit.results is None:
            continue
        if previous is not None:
            row["days_since_previous_visit"] = _days(previous.day, visit.day)
            row["lesion_volume_change_ml"] = _change_ml(previous.results, visit.results)
        previous = visit


def _days(first: date | None, second: date | None) -> int | None:
    return (second - first).days if first and second else None


def _change_ml(before: VisitResults | None, after: VisitResults) -> float | None:
    """Return the change of lesion volume; None unless both visits were processed alike."""
    if before is None or before.processing != after.processing:
        return None
    return float(after.lesion_volume) - float(before.lesion_volume)


def _add_outliers(rows: Sequence[dict[str, Any]]) -> None:
    """Add modified z-scores, and flags where they are beyond the limit, to the rows of one processing."""
    volumes_ml = [float(row["lesion_volume_ml"]) for row in rows]
    _flag(rows, modified_z_scores(log_volume(volumes_ml)), "lesion_volume")
    with_brain = [row for row in rows if _number(row["brain_volume_ml"]) is not None]
    _flag(with_brain, modified_z_scores([float(row["brain_volume_ml"]) for row in with_brain]), "brain_volume")


def _flag(rows: Sequence[dict[str, Any]], z_scores: Any, name: str) -> None:
    for row, z in zip(rows, z_scores.tolist(), strict=True):
        row[f"{name}_modified_z"] = z
        if abs(z) > OUTLIER_Z:
            row["group_flags"].append(f"{name}_outlier")


def _number(cell: str) -> float | None:
    return None if cell == NOT_AVAILABLE else float(cell)
