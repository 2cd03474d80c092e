"""How the group level ends: its text, with visits by status and those that need attention, and its exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_cascade.cohort.columns import STATUSES
from bids_cascade.cohort.tables import GroupVisit
from bids_cascade.errors import BidsCascadeError, MissingInputError
from bids_cascade.outcomes import VisitOutcome, count, exit_code_of

_NAMED = 20


def closing_text(
    visits: Sequence[GroupVisit], rows: Sequence[dict[str, Any]], problems: Sequence[BidsCascadeError], page: Path
) -> str:
    """Return the number of visits by status, and the names of those that need attention."""
    counts = Counter(visit.status for visit in visits)
    lines = [
        f"{count(len(visits), 'visit')}: "
        + ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
    ]
    for status in STATUSES:
        if status != "complete":
            named = [f"{visit.name}: {visit.reason}" for visit in visits if visit.status == status]
            lines += _first(named, status)
    different = [row for row in rows if row.get("processing", 1) != 1]
    like_most = next((f" ({_say_processing(row)})" for row in rows if row.get("processing") == 1), "")
    lines += _first(
        [f"{_name(row)}: {_say_processing(row)}" for row in different], f"not processed like most{like_most}"
    )
    far = [row for row in rows if "_outlier" in str(row["group_flags"])]
    lines += _first([f"{_name(row)}: {row['group_flags'].replace(';', ', ')}" for row in far], "far from the others")
    flagged = [row for row in rows if row.get("quality_flags")]
    lines += _first([f"{_name(row)}: {row['warnings']}" for row in flagged], "to be looked at")
    strange = [row for row in rows if "not_in_dataset" in str(row["group_flags"])]
    lines += _first([_name(row) for row in strange], "with results, but not in the dataset")
    lines += _first([str(problem) for problem in problems], "in the dataset's tables")
    return "\n".join([*lines, f"wrote {page} and the tables beside it"])


def _first(named: Sequence[str], heading: str) -> list[str]:
    """Return the first few of a list under a heading, and how many more there are."""
    if not named:
        return []
    more = [f"  and {len(named) - _NAMED} more, see group_visits.tsv"] if len(named) > _NAMED else []
    return [f"{heading}:", *(f"  {line}" for line in named[:_NAMED]), *more]


def _name(row: dict[str, Any]) -> str:
    return "_".join(filter(None, (row["participant_id"], row["session_id"])))


def _say_processing(row: dict[str, Any]) -> str:
    sequences = "" if row["sequences"] in (None, "", "n/a") else f"{row['sequences']}, "
    return (
        f"{sequences}model {row['model_name']} ({row['model_sha256'][:8]}), threshold {row['threshold']:g}, "
        f"lesions from {row['min_lesion_volume_mm3']:g} mm^3, {row['precision']} precision, "
        f"bids_cascade {row['bids_cascade_version']}"
    )


def exit_code_of_visits(visits: Sequence[GroupVisit], problems: Sequence[BidsCascadeError]) -> int:
    """Return 0 if there are results and all of them could be read."""
    ends = [
        VisitOutcome("", code)
        for code in [visit.exit_code for visit in visits] + [problem.exit_code for problem in problems]
    ]
    if not any(visit.results for visit in visits):
        ends.append(VisitOutcome("", MissingInputError.exit_code))
    return exit_code_of(ends)
