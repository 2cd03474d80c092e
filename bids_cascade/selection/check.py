"""Checks of all images before any work is done: a run reports at once which visits it cannot process, and why."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.flags import Flags, join_flags
from bids_cascade.errors import BidsCascadeError
from bids_cascade.imaging.images import check_labels, check_scan
from bids_cascade.outcomes import VisitOutcome, missing_outcome
from bids_cascade.progress_bar import progress_bar

_LOGGER = logging.getLogger(__name__)

SEQUENCES_ABSENT = "sequences_absent"
_MOST_READERS = 4
"""Images in memory at once."""
_MANY = 20


@dataclass
class CheckedVisits:
    """Which visits can be worked on.

    Attributes
    ----------
    ready : list of Visit
        With all images, which could be read.
    flags : dict of str to Flags
        Quality flags of their images, by name of the visit.
    refused : dict of str to VisitOutcome
        The others, by name.
    """

    ready: list[Visit] = field(default_factory=list)
    flags: dict[str, Flags] = field(default_factory=dict)
    refused: dict[str, VisitOutcome] = field(default_factory=dict)


def check_visits(
    visits: Sequence[Visit], n_procs: int, *, guess_orientation: bool, masks: Mapping[str, Path] | None = None
) -> CheckedVisits:
    """Read every image of every visit to its end.

    Parameters
    ----------
    visits : sequence of Visit
    n_procs : int
        Processors to use.
    guess_orientation : bool
        See :func:`bids_cascade.imaging.images.check_scan`.
    masks : mapping of str to Path, optional
        Manual masks by name of the visit, which are also read.
    """
    checked_visits = CheckedVisits()
    whole = [visit for visit in visits if not visit.missing]
    if len(whole) > _MANY:
        _LOGGER.info("checking the images of %d visits before processing", len(whole))

    def check(visit: Visit) -> tuple[Flags, list[BidsCascadeError]]:
        return _check(visit, (masks or {}).get(visit.name), guess_orientation)

    checked = {}
    with (
        ThreadPoolExecutor(max(1, min(n_procs, _MOST_READERS))) as pool,
        progress_bar(len(whole), "visits read") as bar,
    ):
        for visit, result in zip(whole, pool.map(check, whole), strict=True):
            checked[visit.name] = result
            bar.update()
    for visit in visits:
        flags, errors = checked.get(visit.name, ({}, []))
        if visit.missing:
            checked_visits.refused[visit.name] = missing_outcome(visit)
        elif errors:
            message = "; ".join(str(error).rstrip(".") for error in errors)
            checked_visits.refused[visit.name] = VisitOutcome(visit.name, errors[0].exit_code, f"FAILED: {message}")
            _LOGGER.error("%s: %s; not processed", visit.name, message)
        else:
            checked_visits.ready.append(visit)
            checked_visits.flags[visit.name] = join_flags(flags, _absent(visit, "found" if masks is None else "learnt"))
    return checked_visits


def _absent(visit: Visit, done: str) -> Flags:
    """Return a flag if a visit lacks sequences of the model: its lesions are then less certain."""
    if not visit.absent:
        return {}
    lacking, present = " and no ".join(visit.absent), " and ".join(visit.images)
    reasons = [
        f"there is no {lacking} image: lesions were {done} in {present} alone, with less certainty",
        *visit.left_out,
    ]
    return {SEQUENCES_ABSENT: "; ".join(reasons)}


def _check(visit: Visit, mask: Path | None, guess_orientation: bool) -> tuple[Flags, list[BidsCascadeError]]:
    """Return the quality flags of a visit's images, and the faults of images that can't be used."""
    flags: list[Flags] = []
    errors: list[BidsCascadeError] = []
    for choice in visit.images.values():
        try:
            flags.append(check_scan(choice.path, guess_orientation=guess_orientation))
        except BidsCascadeError as error:
            errors.append(error)
    if mask is not None:
        try:
            check_labels(mask)
        except BidsCascadeError as error:
            errors.append(error)
    return join_flags(*flags), errors
