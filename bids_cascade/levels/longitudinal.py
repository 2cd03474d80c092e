"""The longitudinal level: each visit of a participant compared with the previous and with the first one."""

from __future__ import annotations

import logging
from pathlib import Path

from bids_cascade.config import Inputs
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.longitudinal.outcome import format_outcomes
from bids_cascade.longitudinal.participants import choose_participants, compare_participants
from bids_cascade.models.store import PACKAGED_MODEL, load_model
from bids_cascade.outcomes import VisitOutcome, exit_code_of
from bids_cascade.report.participant_pages import write_participant_pages
from bids_cascade.surroundings import say

_LOGGER = logging.getLogger(__name__)


def run_longitudinal(
    inputs: Inputs, n_procs: int, seed: int, model: Path | None = None, noise_floor: bool = True
) -> int:
    """Compare the finished visits of all selected participants; return the exit code.

    Parameters
    ----------
    inputs : Inputs
        The output folder holds the results of the participant level.
    n_procs : int
        Participants at once.
    seed : int
    model : Path, optional
        That found the lesions; the packaged one by default.
    noise_floor : bool
        Measure how much visits differ without any change.

    Raises
    ------
    NothingSelectedError
        When a selected participant, or any at all, has no results.
    """
    chosen = choose_participants(inputs)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    stored = load_model(model or PACKAGED_MODEL) if noise_floor else None
    outcomes = compare_participants(inputs, chosen, n_procs, seed, stored)
    failed_pages = write_participant_pages(inputs.out_dir, chosen)
    for label, error in failed_pages.items():
        _LOGGER.error("sub-%s: no page: %s", label, error)
    say(format_outcomes(outcomes))
    codes = [*(outcome.exit_code for outcome in outcomes), *(error.exit_code for error in failed_pages.values())]
    return exit_code_of([VisitOutcome("", code) for code in codes])
