"""Participants whose visits are compared, and all their comparisons, in several processes."""

from __future__ import annotations

from collections.abc import Sequence

from bids_cascade.children import map_in_processes
from bids_cascade.config import Inputs
from bids_cascade.derivatives.change import FIRST, PREVIOUS, stats_path
from bids_cascade.derivatives.read import list_results, list_sessions_with_results
from bids_cascade.errors import NothingSelectedError
from bids_cascade.longitudinal.compare import compare_once
from bids_cascade.longitudinal.outcome import PairOutcome, flag_visits
from bids_cascade.longitudinal.pairs import plan_participant
from bids_cascade.longitudinal.stale import remove_unplanned
from bids_cascade.longitudinal.task import ComparisonTask
from bids_cascade.models.store import StoredModel
from bids_cascade.visit_key import VisitKey, natural_key

_ATTEMPTS = 3
_GB_EACH = 1.5


def choose_participants(inputs: Inputs) -> list[str]:
    """Return the labels of the selected participants, or of all with results, in natural order.

    Raises
    ------
    NothingSelectedError
        When a selected participant, or any at all, has no results.
    """
    available = sorted({key.participant for key in list_results(inputs.out_dir)}, key=natural_key)
    asked_for = inputs.selection.participants
    unknown = [label for label in asked_for if label not in available]
    if unknown or not available:
        raise NothingSelectedError(
            f"no results of {', '.join(unknown) or 'any participant'} in {inputs.out_dir}; run the participant level "
            "first"
        )
    return [label for label in available if label in (asked_for or (label,))]


def compare_participants(
    inputs: Inputs, participants: Sequence[str], n_procs: int, seed: int, model: StoredModel | None = None
) -> list[PairOutcome]:
    """Compare each visit of some participants with the previous and the first one, unless that is done already.

    Parameters
    ----------
    inputs : Inputs
        The output folder holds finished visits, of whichever run.
    participants : sequence of str
        Labels.
    n_procs : int
        Participants at once.
    seed : int
    model : StoredModel, optional
        For the noise floor of visits that were segmented with it.

    Returns
    -------
    list of PairOutcome
        By participant, then in the order of time.
    """
    tasks = [ComparisonTask(inputs.out_dir, inputs.bids_dir, label, seed, model) for label in participants]
    concerned = [task for task in tasks if _has_several_visits(task) or _has_comparisons(task)]
    done = map_in_processes(_compare_participant, concerned, n_procs, "compared visits", _GB_EACH)
    return [outcome for outcomes in done for outcome in outcomes]


def _has_several_visits(task: ComparisonTask) -> bool:
    return len(list_sessions_with_results(task.out_dir, task.participant)) > 1


def _has_comparisons(task: ComparisonTask) -> bool:
    """Whether there are comparisons, perhaps with visits that are gone."""
    visits = [VisitKey(task.participant, label) for label in list_sessions_with_results(task.out_dir, task.participant)]
    return any(stats_path(task.out_dir, visit, desc).exists() for visit in visits for desc in (PREVIOUS, FIRST))


def _compare_participant(task: ComparisonTask) -> list[PairOutcome]:
    """Do a participant's missing comparisons; repeat those for which another run has added or replaced a visit."""
    outcomes: list[PairOutcome] = []
    processings, pairs = plan_participant(task.out_dir, task.bids_dir, task.participant)
    for _ in range(_ATTEMPTS):
        remove_unplanned(task.out_dir, processings, pairs)
        outcomes, previous, all_fresh = [], None, True
        for pair in pairs:
            outcome, fresh = compare_once(task, pair, previous, processings)
            outcomes.append(outcome)
            all_fresh &= fresh
            if pair.desc == PREVIOUS:
                previous = pair
        done = pairs
        processings, pairs = plan_participant(task.out_dir, task.bids_dir, task.participant)
        if all_fresh and pairs == done:
            break
    flag_visits(task.out_dir, processings, outcomes)
    return outcomes
