"""Comparisons that no longer fit the visits' results, removed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from bids_cascade.config import Inputs
from bids_cascade.derivatives.change import FIRST, OUT_OF_DATE, PREVIOUS, Pair, read_change, remove_change
from bids_cascade.derivatives.course import comparison_locked
from bids_cascade.longitudinal.outcome import PairOutcome, flag_visits, outcome_of
from bids_cascade.longitudinal.pairs import plan_participant
from bids_cascade.visit_key import VisitKey

_LOGGER = logging.getLogger(__name__)


def remove_stale(inputs: Inputs, participants: Sequence[str]) -> None:
    """Remove the comparisons of some participants whose results have been replaced since.

    For runs without comparisons, so that no outdated ones remain.

    Parameters
    ----------
    inputs : Inputs
        The output folder may hold comparisons, of whichever run.
    participants : sequence of str
        Labels.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be removed.
    """
    for label in participants:
        processings, pairs = plan_participant(inputs.out_dir, inputs.bids_dir, label)
        remove_unplanned(inputs.out_dir, processings, pairs)
        kept = [outcome for pair in pairs if (outcome := _remove_if_stale(inputs.out_dir, pair))]
        flag_visits(inputs.out_dir, processings, kept)


def _remove_if_stale(out_dir: Path, pair: Pair) -> PairOutcome | None:
    """Remove a comparison of results that have been replaced; return the outcome of one that is kept."""
    with comparison_locked(out_dir, pair.later):
        done = read_change(out_dir, pair.later, pair.desc)
        if done is None:
            return None
        if OUT_OF_DATE not in done.flags:
            return outcome_of(out_dir, pair)
        _LOGGER.warning(
            "%s: its comparison with %s was of results that have been replaced, and was removed; the longitudinal "
            "level makes it again",
            pair.later.name,
            pair.earlier.label,
        )
        remove_change(out_dir, pair.later, pair.desc)
        return None


def remove_unplanned(out_dir: Path, visits: Iterable[VisitKey], pairs: Sequence[Pair]) -> None:
    """Remove comparisons that are obsolete since an earlier visit was added or removed, complete or not.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    visits : iterable of VisitKey
        All of a participant.
    pairs : sequence of Pair
        Those whose comparisons stay.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be removed.
    """
    wanted = {(pair.later, pair.desc) for pair in pairs}
    for visit in visits:
        for desc in (PREVIOUS, FIRST):
            if (visit, desc) not in wanted:
                with comparison_locked(out_dir, visit):
                    remove_change(out_dir, visit, desc)
