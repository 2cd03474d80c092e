"""Comparison of the visits of participants of whom some have just been segmented."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bids_cascade.config import Inputs, ParticipantConfig, RunConfig
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import OK, BidsCascadeError
from bids_cascade.longitudinal.outcome import PairOutcome, format_outcomes
from bids_cascade.longitudinal.participants import compare_participants
from bids_cascade.longitudinal.stale import remove_stale
from bids_cascade.models.store import StoredModel
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.surroundings import say

_LOGGER = logging.getLogger(__name__)


def compare_segmented(
    visits: Sequence[Visit],
    outcomes: Sequence[VisitOutcome],
    inputs: Inputs,
    config: ParticipantConfig,
    run: RunConfig,
    model: StoredModel,
) -> list[VisitOutcome]:
    """Compare the participants' visits, also those of earlier runs; return the outcomes with warnings.

    Without comparisons, those of replaced results are removed.

    Parameters
    ----------
    visits : sequence of Visit
        Of this run.
    outcomes : sequence of VisitOutcome
        Of these visits.
    inputs : Inputs
    config : ParticipantConfig
    run : RunConfig
    model : StoredModel
    """
    participants = list(dict.fromkeys(visit.participant for visit in visits))
    try:
        if not config.longitudinal:
            remove_stale(inputs, participants)
            return list(outcomes)
        pairs = compare_participants(
            inputs, participants, run.n_procs, config.seed, model if config.noise_floor else None
        )
    except BidsCascadeError as error:
        _LOGGER.error("visits were not compared: %s", error)
        return [outcome.with_warnings([f"not compared: {error}"], error.exit_code) for outcome in outcomes]
    if pairs:
        say(format_outcomes(pairs))
    return [_with_pairs(outcome, [pair for pair in pairs if pair.later == outcome.name]) for outcome in outcomes]


def _with_pairs(outcome: VisitOutcome, pairs: Sequence[PairOutcome]) -> VisitOutcome:
    """Return a visit's outcome, with warnings of the earlier visits with which it could not be compared."""
    failed = [pair for pair in pairs if pair.message]
    texts = [f"not compared with {pair.compared_with}: {pair.message}" for pair in failed]
    return outcome.with_warnings(texts, max((pair.exit_code for pair in failed), default=OK))
