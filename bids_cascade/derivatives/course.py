"""Quality flags that follow from comparing a participant's visits."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from bids_cascade.dataset.tables import read_object, read_tsv
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.derivatives.flags import FLAGS_COLUMN, FLAGS_KEY, Flags, flags_of
from bids_cascade.derivatives.names import derivative_path, sidecar_path
from bids_cascade.derivatives.read import VisitResults, list_sessions_with_results, read_results
from bids_cascade.errors import BidsCascadeError, MissingInputError
from bids_cascade.visit_key import VisitKey, natural_key

FAR_FROM_OTHER_VISIT = "lesion_volume_far_from_other_visit"
FAR_ML, FAR_FRACTION = 1.0, 0.5
NOT_COMPARABLE = "not_comparable_with_other_visit"


def flag_far_volumes(out_dir: Path, participant: str) -> dict[str, str]:
    """Flag each visit of a participant whose lesion volume is far from the previous visit's, in its own table.

    Visits are in natural order of their sessions; those without complete results are skipped. A flag that no longer
    holds is removed. Several runs may do so at once.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    participant : str
        Label.

    Returns
    -------
    dict of str to str
        Reasons, by name of the visit, of the flagged visits only.

    Raises
    ------
    OutputError, ReadWriteError, BadDataError
        A table of quality measures can't be replaced, or read.
    """
    far: dict[str, str] = {}
    volumes: list[tuple[VisitKey, VisitResults]] = []
    for session in sorted(list_sessions_with_results(out_dir, participant), key=natural_key):
        visit = VisitKey(participant, session)
        with suppress(BidsCascadeError):
            volumes.append((visit, read_results(out_dir, visit)))
    for (earlier, before), (later, after) in pairwise(volumes):
        reason = far_volume(earlier, before.lesion_volume, after.lesion_volume)
        if reason:
            far[later.name] = reason + _other_sequences(before, after)
    for visit, _ in volumes:
        set_flag(out_dir, visit, FAR_FROM_OTHER_VISIT, far.get(visit.name))
    return far


def far_volume(earlier: VisitKey, before: str, after: str) -> str | None:
    """Return why a lesion volume is far from the previous visit's, both in ml as text; None if it isn't."""
    before_ml, after_ml = float(before), float(after)
    if abs(after_ml - before_ml) <= max(FAR_ML, FAR_FRACTION * max(before_ml, after_ml)):
        return None
    return (
        f"the lesion volume is {after} ml, at {earlier.label} it is {before} ml (expected within {FAR_ML:g} ml or "
        f"{FAR_FRACTION:.0%} of the larger)."
    )


def _other_sequences(before: VisitResults, after: VisitResults) -> str:
    """Return that lesions were found in other sequences than at the previous visit, if so."""
    earlier, later = before.processing.sequences, after.processing.sequences
    return "" if earlier == later else f" They were found in {later} and in {earlier}, which finds others."


@contextmanager
def quality_locked(out_dir: Path, participant: str) -> Iterator[None]:
    """Lock a participant's tables of quality measures against other runs."""
    with _locked(out_dir / f"sub-{participant}"):
        yield


@contextmanager
def comparison_locked(out_dir: Path, later: VisitKey) -> Iterator[None]:
    """Lock the comparisons of a visit with earlier ones against other runs."""
    with _locked(out_dir / later.folder / "anat"):
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with suppress(OSError):  # a file system without locks
            opened = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, opened)
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def set_flag(out_dir: Path, visit: VisitKey, flag: str, reason: str | None) -> None:
    """Add a flag to a visit's table of quality measures, or remove it; do nothing if there is no table.

    Several runs may do so at once.

    Raises
    ------
    OutputError, ReadWriteError, BadDataError
        When the table can't be replaced, or read.
    """
    path = derivative_path(out_dir, visit, "stats", ".tsv", desc="quality")
    with quality_locked(out_dir, visit.participant):
        try:
            table, sidecar = read_tsv(path), read_object(sidecar_path(path))
        except MissingInputError:
            return
        flags = flags_of(sidecar)
        wanted = _with_flag(flags, flag, reason)
        if wanted != flags:
            row = {**table.dicts()[0], FLAGS_COLUMN: ";".join(wanted) or None}
            write_tsv([row], table.columns, path, {**sidecar, FLAGS_KEY: wanted})


def _with_flag(flags: Mapping[str, str], flag: str, reason: str | None) -> Flags:
    others = {name: text for name, text in flags.items() if name != flag}
    return others | ({flag: reason} if reason else {})
