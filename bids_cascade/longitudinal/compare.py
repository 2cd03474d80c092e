"""One comparison: made unless it is done, by one run at a time, and written."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial

from bids_cascade.change.compare import compare_visits
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.derivatives.change import (
    ChangeResults,
    Pair,
    earlier_numbers,
    fingerprint_of,
    lacks_files,
    read_change,
    read_finished,
    write_change,
    write_refused,
)
from bids_cascade.derivatives.course import comparison_locked
from bids_cascade.derivatives.read import Processing
from bids_cascade.errors import BidsCascadeError, MissingInputError
from bids_cascade.longitudinal.outcome import PairOutcome, outcome_of
from bids_cascade.longitudinal.refusal import refusal_of
from bids_cascade.longitudinal.task import ComparisonTask
from bids_cascade.report.change_viewer import change_viewer_page
from bids_cascade.visit_key import VisitKey

_LOGGER = logging.getLogger(__name__)


def compare_once(
    task: ComparisonTask, pair: Pair, previous: Pair | None, processings: Mapping[VisitKey, Processing]
) -> tuple[PairOutcome, bool]:
    """Do a comparison unless it is done.

    If two runs reach it at once, the second one waits and finds it done.

    Parameters
    ----------
    task : ComparisonTask
    pair : Pair
    previous : Pair or None
        The comparison whose lesion numbers this one goes on with.
    processings : mapping of VisitKey to Processing
        Of both visits at least.

    Returns
    -------
    outcome : PairOutcome
        How it ended; errors are in it.
    fresh : bool
        Whether its inputs are still the same.
    """
    try:
        with comparison_locked(task.out_dir, pair.later):
            before = _fingerprint(task, pair, previous, processings)
            done = read_change(task.out_dir, pair.later, pair.desc)
            if done is None or done.fingerprint != before or _is_incomplete(task, pair, done, processings):
                _LOGGER.info("%s: comparing with ses-%s", pair.later.name, pair.earlier.session)
                _compare(task, pair, previous, processings, before)
            return outcome_of(task.out_dir, pair), _fingerprint(task, pair, previous, processings) == before
    except BidsCascadeError as error:
        _LOGGER.error("%s: not compared with ses-%s: %s", pair.later.name, pair.earlier.session, error)
        failed = PairOutcome(pair.later.name, pair.earlier.label, pair.desc, str(error), exit_code=error.exit_code)
        return failed, True


def _is_incomplete(
    task: ComparisonTask, pair: Pair, done: ChangeResults, processings: Mapping[VisitKey, Processing]
) -> bool:
    """Whether a comparison lacks files, or a noise floor that can be measured now."""
    if not done.flags and lacks_files(task.out_dir, pair.later, pair.desc):
        return True
    return not done.has_floor and task.segmenter(processings[pair.later]) is not None


def _fingerprint(
    task: ComparisonTask, pair: Pair, previous: Pair | None, processings: Mapping[VisitKey, Processing]
) -> str:
    """Return hashes of all that a comparison depends on."""
    before = read_change(task.out_dir, previous.later, previous.desc) if previous else None
    ways = [repr(processings[key]) for key in (pair.earlier, pair.later)]
    earlier = before.fingerprint if before else ""
    return fingerprint_of(task.out_dir, pair, ChangeThresholds(), earlier, str(task.seed), *ways)


def _compare(
    task: ComparisonTask,
    pair: Pair,
    previous: Pair | None,
    processings: Mapping[VisitKey, Processing],
    fingerprint: str,
) -> None:
    """Compare two visits and write the result."""
    if refusal := refusal_of(task.out_dir, pair, processings):
        write_refused(task.out_dir, pair, refusal, fingerprint)
        return
    try:
        earlier, later = (read_finished(task.out_dir, visit) for visit in (pair.earlier, pair.later))
        segment = task.segmenter(processings[pair.later])
        comparison = compare_visits(earlier, later, seed=task.seed, segment=segment)
    except (ValueError, BidsCascadeError) as error:
        if isinstance(error, MissingInputError):
            raise
        write_refused(task.out_dir, pair, {"visits_cannot_be_registered": str(error)}, fingerprint)
        return
    if comparison.flags or comparison.result is None:
        write_refused(task.out_dir, pair, comparison.flags, fingerprint, comparison)
        return
    before = earlier_numbers(task.out_dir, pair, comparison, previous)
    make_page = partial(change_viewer_page, comparison, names=(pair.earlier.label, f"ses-{pair.later.session}"))
    write_change(task.out_dir, pair, comparison, before, make_page, fingerprint)
