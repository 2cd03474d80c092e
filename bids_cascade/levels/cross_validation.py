"""Training by cross-validation: each labelled visit is segmented once by a cascade not trained on its subject."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.splits import split_folds
from bids_cascade.config import CrossValidationConfig, Inputs, ParticipantConfig, RunConfig, TrainConfig
from bids_cascade.dataset.labels import find_lesion_masks
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.files import write_json
from bids_cascade.derivatives.learnt import dataset_name
from bids_cascade.derivatives.record import write_record
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.errors import OK, BadDataError, TemporaryError, UsageError
from bids_cascade.evaluation.folds import (
    CASCADE,
    FLAIR_THRESHOLD,
    CrossValidation,
    Fold,
    card_of,
    format_methods,
    read_fold,
    summarise_methods,
    write_fold,
    write_method_tables,
)
from bids_cascade.evaluation.pairing import compare_visits
from bids_cascade.evaluation.records import EvaluatedVisit, Evaluation, summarise_evaluation
from bids_cascade.evaluation.tables import write_tables
from bids_cascade.levels.participant import segment_visits
from bids_cascade.models.store import StoredModel
from bids_cascade.outcomes import VisitOutcome, exit_code_of, format_table
from bids_cascade.report.cross_validation import write_cross_validation_page
from bids_cascade.report.evaluation import write_evaluation_page
from bids_cascade.selection.claim import locked
from bids_cascade.surroundings import say
from bids_cascade.training.fit import check_start, train_model
from bids_cascade.training.flair_threshold import choose_flair_threshold, flair_curve, write_flair_masks
from bids_cascade.training.prepare import Prepared, find_labelled, prepare_visits
from bids_cascade.training.recipe import fingerprint_of, recipe_of

_LOGGER = logging.getLogger(__name__)

FOLDER = "cross-validation"
_TITLES = {CASCADE: "Cascade on left-out visits", FLAIR_THRESHOLD: "FLAIR threshold on left-out visits"}


@dataclass(frozen=True)
class _Job:
    """What all folds share; `curves` keeps what is computed once a visit."""

    inputs: Inputs
    config: TrainConfig
    run: RunConfig
    prepared: Sequence[Prepared]
    curves: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return self.inputs.out_dir / FOLDER


def run_cross_validation(inputs: Inputs, config: TrainConfig, folding: CrossValidationConfig, run: RunConfig) -> int:
    """Train and evaluate the unfinished folds, then gather all; return the exit code.

    With ``folding.fold`` only that fold is processed and nothing is gathered, so that each fold can be a job.
    """
    check_start(config)
    labelled, labels = find_labelled(inputs, config)
    folds = _split(labelled, folding, config.training.seed)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    log_dir = write_record(inputs, {"train": config, "cross_validation": folding, "folds": folds, "run": run}, labelled)
    # Jobs may share a work folder: the first one preprocesses the visits, and the others wait for it.
    prepared, results = prepare_visits(labelled, labels, config, run, log_dir, wait=True)
    say(format_table(results))
    job = _Job(inputs, config, run, prepared)
    usable = {visit.data.subject for visit in prepared}
    wanted = [number for number in range(1, len(folds) + 1) if folding.fold in (None, number)]
    done: list[Fold] = []
    unfinished: list[VisitOutcome] = []
    for number in wanted:
        if usable.isdisjoint(folds[number - 1]):
            _LOGGER.warning("fold %d: none of its visits can be used (%s)", number, ", ".join(folds[number - 1]))
            continue
        try:
            done.append(_run_fold(job, number, folds[number - 1]))
        except _UnfinishedError as error:
            unfinished += error.results
    if folding.fold is None and not unfinished:
        return _gather(job, done, labelled, results)
    for visit in unfinished:
        say(f"{visit.name}  {visit.message}")
    say(f"{len(done)} of {len(wanted)} folds done; when all {len(folds)} are, run this without --fold to gather them")
    return exit_code_of([*results, *unfinished])


class _UnfinishedError(Exception):
    """A fold that could not be finished, and why."""

    def __init__(self, results: Sequence[VisitOutcome]) -> None:
        super().__init__("; ".join(f"{result.name}: {result.message}" for result in results))
        self.results = results


def _split(labelled: Sequence[Visit], folding: CrossValidationConfig, seed: int) -> list[tuple[str, ...]]:
    """Return the subjects of each fold, assigned by the seed alone."""
    subjects = list(dict.fromkeys(visit.participant for visit in labelled))
    n_folds = folding.n_folds or len(subjects)
    if len(subjects) < max(2, n_folds):
        raise UsageError(
            f"--cross-validate {folding.n_folds or 'loo'} needs at least {max(2, n_folds)} labelled participants, "
            f"found {len(subjects)} ({', '.join(f'sub-{subject}' for subject in subjects)}); take fewer folds or train "
            "without cross-validation"
        )
    if folding.fold is not None and folding.fold > n_folds:
        raise UsageError(f"--fold {folding.fold}: there are {n_folds} folds, counted from 1")
    return split_folds(subjects, n_folds, np.random.default_rng(seed))


def _run_fold(job: _Job, number: int, subjects: Sequence[str]) -> Fold:
    """Train without some subjects and segment their visits by both methods, unless that is done."""
    training = [visit for visit in job.prepared if visit.data.subject not in subjects]
    left_out = [visit for visit in job.prepared if visit.data.subject in subjects]
    fingerprint = fingerprint_of([*training, *left_out], recipe_of(training, job.config), list(subjects))
    path = job.folder / f"fold-{number}.json"
    try:
        with locked(f"fold_{fingerprint[:12]}", job.run.work_dir, f"fold {number}"):
            fold = read_fold(path, fingerprint)
            if fold is None:
                fold = _make_fold(job, number, training, left_out)
                write_fold(fold, fingerprint, path)  # last: all files that it names exist
            else:
                _LOGGER.info("fold %d: already done", number)
            return fold
    except TemporaryError as error:
        raise _UnfinishedError([VisitOutcome(f"fold {number}", error.exit_code, f"NOT DONE: {error}")]) from error


def _make_fold(job: _Job, number: int, training: Sequence[Prepared], left_out: Sequence[Prepared]) -> Fold:
    subjects = tuple(dict.fromkeys(visit.data.subject for visit in left_out))
    without = ", ".join(f"sub-{subject}" for subject in subjects)
    if not any(visit.data.lesion.any() for visit in training):
        raise BadDataError(
            f"fold {number}: without {without} none of the {len(training)} visits to train on has a lesion; label more "
            "visits"
        )
    _LOGGER.info("fold %d: training without %s", number, without)
    config = replace(job.config, name=f"{job.config.name}_fold-{number}")
    stored = train_model(training, job.inputs, config, job.run, job.folder / "models")
    _predict(job, stored, left_out)
    return Fold(
        number=number,
        subjects=subjects,
        visits=tuple(visit.name for visit in left_out),
        threshold=stored.header.cascade.threshold,
        flair_threshold=_threshold_flair(job, training, left_out),
        model_sha256=stored.sha256,
    )


def _threshold_flair(job: _Job, training: Sequence[Prepared], left_out: Sequence[Prepared]) -> float:
    """Write the masks of bright FLAIR of the left-out visits; return the threshold, chosen on the others."""
    config = job.config.cascade
    for visit in training:
        if visit.name not in job.curves:
            job.curves[visit.name] = flair_curve(visit, config)
    flair_threshold = choose_flair_threshold(job.curves, training)
    cascade_dir, out_dir = job.folder / CASCADE, job.folder / FLAIR_THRESHOLD
    prepare_output(out_dir, job.inputs.bids_dir)
    for visit in left_out:
        write_flair_masks(visit, flair_threshold, config, job.inputs.bids_dir, cascade_dir, out_dir)
    return flair_threshold


def _predict(job: _Job, stored: StoredModel, left_out: Sequence[Prepared]) -> None:
    """Segment the left-out visits as the participant level does."""
    inputs, run = replace(job.inputs, out_dir=job.folder / CASCADE), replace(job.run, clean_work_dir=False)
    config = ParticipantConfig(
        model=stored.path,
        skull_strip=job.config.skull_strip,
        seed=job.config.training.seed,
        guess_orientation=job.config.guess_orientation,
        longitudinal=False,
        anatomy=False,
    )
    results = segment_visits([visit.visit for visit in left_out], inputs, config, run, stored, wait=True)
    failed = [result for result in results if result.exit_code != OK]
    if failed:
        raise _UnfinishedError(failed)


def _gather(job: _Job, folds: Sequence[Fold], labelled: Sequence[Visit], results: Sequence[VisitOutcome]) -> int:
    """Evaluate both methods on all left-out visits and write the tables and the pages."""
    failed = {result.name: result.message for result in results if result.exit_code != OK}
    fold_of = {name: fold.number for fold in folds for name in fold.visits}
    visits = [visit for visit in labelled if visit.name in fold_of]
    if not visits:
        return exit_code_of(results)
    inputs, seed = job.inputs, job.config.training.seed
    references = find_lesion_masks(job.config.labels, inputs.bids_dir, visits)
    visits_by_method: dict[str, list[EvaluatedVisit]] = {}
    for method in _TITLES:
        predictions = find_lesion_masks(str(job.folder / method), inputs.bids_dir, visits)
        visits_by_method[method], not_evaluated = compare_visits(
            visits, references, predictions, dataset_name(inputs.bids_dir)
        )
        failed |= {outcome.name: outcome.message for outcome in not_evaluated}
        results = [*results, *not_evaluated]
    if len(failed) == len(labelled):
        return exit_code_of(results)
    evaluations = {}
    for method, title in _TITLES.items():
        both = [visit for visit in visits_by_method[method] if visit.name not in failed]
        evaluation = Evaluation(title, f"Left-out visits beside {job.config.labels}", both, failed, seed)
        evaluations[method] = evaluation
        summaries = summarise_evaluation(evaluation)
        columns = write_tables(evaluation, summaries, job.folder / method)
        write_evaluation_page(evaluation, summaries, job.folder / method, columns)
    whole = CrossValidation(job.config.name, folds, evaluations[CASCADE], evaluations[FLAIR_THRESHOLD])
    by_method = summarise_methods(whole)
    columns = write_method_tables(whole, by_method, inputs.out_dir)
    page = write_cross_validation_page(whole, by_method, inputs.out_dir, columns)
    card = card_of(whole, by_method)
    write_json({"recipe": recipe_of(job.prepared, job.config), "card": card}, job.folder / "result.json")
    say(format_methods(by_method))
    say(f"report: {page}")
    return exit_code_of(results)
