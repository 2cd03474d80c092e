"""Training by cross-validation: each labelled visit is segmented once by a cascade not trained on its subject."""

from __future__ import annotations

import logging

from bids_cascade.config import CrossValidationConfig, Inputs, RunConfig, TrainConfig
from bids_cascade.cross_validation.folds import Job, UnfinishedError, assign_folds, run_fold
from bids_cascade.cross_validation.gather import gather
from bids_cascade.derivatives.record import write_record
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.evaluation.folds import Fold
from bids_cascade.outcomes import VisitOutcome, count, exit_code_of, format_table
from bids_cascade.surroundings import say
from bids_cascade.training.fit import check_start
from bids_cascade.training.prepare import find_labelled, prepare_visits

_LOGGER = logging.getLogger(__name__)


def run_cross_validation(inputs: Inputs, config: TrainConfig, folding: CrossValidationConfig, run: RunConfig) -> int:
    """Train and evaluate the unfinished folds, then gather all; return the exit code.

    With ``folding.fold`` only that fold is processed and nothing is gathered, so that each fold can be a job.
    """
    check_start(config)
    labelled, labels = find_labelled(inputs, config)
    folds = assign_folds(labelled, folding, config.training.seed)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    log_dir = write_record(inputs, {"train": config, "cross_validation": folding, "folds": folds, "run": run}, labelled)
    # Jobs may share a work folder: the first one preprocesses the visits, and the others wait for it.
    prepared, outcomes = prepare_visits(labelled, labels, config, run, log_dir, wait=True)
    say(format_table(outcomes))
    job = Job(inputs, config, run, prepared)
    usable = {visit.data.subject for visit in prepared}
    wanted = [number for number in range(1, len(folds) + 1) if folding.fold in (None, number)]
    done: list[Fold] = []
    unfinished: list[VisitOutcome] = []
    for number in wanted:
        if usable.isdisjoint(folds[number - 1]):
            _LOGGER.warning("fold %d: none of its visits can be used (%s)", number, ", ".join(folds[number - 1]))
            continue
        try:
            done.append(run_fold(job, number, folds[number - 1]))
        except UnfinishedError as error:
            unfinished += error.outcomes
    if folding.fold is None and not unfinished:
        return gather(job, done, labelled, outcomes)
    for outcome in unfinished:
        say(f"{outcome.name}  {outcome.message}")
    finished = f"{len(done)} of {count(len(wanted), 'fold')} done"
    say(f"{finished}; when all {len(folds)} are, run this without --fold to gather them")
    return exit_code_of([*outcomes, *unfinished])
