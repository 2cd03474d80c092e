"""The results of many visits, read from the derivative dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bids_cascade.cohort.tables import GroupVisit
from bids_cascade.dataset.tables import JoinedColumns, acquisition_date
from bids_cascade.derivatives.change import PREVIOUS, read_change
from bids_cascade.derivatives.read import list_being_written, read_latest_end, read_results
from bids_cascade.errors import OK, BidsCascadeError, MissingInputError, TemporaryError
from bids_cascade.visit_key import VisitKey

_NEEDED = ("T1w", "FLAIR")
_READERS = 8
"""Files read at once: a network file system answers several requests as fast as one."""


def read_visits(
    keys: Sequence[VisitKey],
    images: Mapping[VisitKey, set[str]],
    joined: JoinedColumns,
    bids_dir: Path,
    out_dir: Path,
) -> list[GroupVisit]:
    """Read the results of each visit, or the reason why there are none.

    Parameters
    ----------
    keys : sequence of VisitKey
    images : mapping of VisitKey to set of str
        Suffixes of the images in the raw dataset.
    joined : JoinedColumns
    bids_dir, out_dir : Path
        Roots of the raw and of the derivative dataset.
    """
    being_written = list_being_written(out_dir)

    def read(key: VisitKey) -> GroupVisit:
        common: dict[str, Any] = {
            "key": key,
            "day": acquisition_date(bids_dir, key),
            "in_dataset": key in images,
            "joined": joined.of(key),
        }
        try:
            results = read_results(out_dir, key)
            change = read_change(out_dir, key, PREVIOUS)
            return GroupVisit(status="complete", results=results, change=change, **common)
        except MissingInputError:
            if key.name in being_written:
                reason, code = "being written, or a run was killed", TemporaryError.exit_code
                return GroupVisit(status="incomplete", reason=reason, exit_code=code, **common)
            status, reason = _why_missing(images.get(key, set()), read_latest_end(out_dir, key))
            return GroupVisit(status=status, reason=reason, **common)
        except BidsCascadeError as error:
            status = "incomplete" if isinstance(error, TemporaryError) else "unreadable"
            return GroupVisit(status=status, reason=str(error), exit_code=error.exit_code, **common)

    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(read, keys))


def _why_missing(suffixes: set[str], latest_end: tuple[int, str] | None) -> tuple[str, str]:
    """Return status and reason of a visit without results."""
    lacking = [sequence for sequence in _NEEDED if sequence not in suffixes]
    code, message = latest_end or (OK, "")
    if lacking and ("FLAIR" in lacking or code in (OK, MissingInputError.exit_code)):
        return "missing", f"no {' and no '.join(lacking)} image"
    if code in (OK, TemporaryError.exit_code):
        return "missing", message or "not processed yet"
    return "failed", message
