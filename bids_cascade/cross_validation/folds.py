"""The folds: their participants, and each fold's training and segmentation."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.splits import split_folds
from bids_cascade.config import CrossValidationConfig, Inputs, ParticipantConfig, RunConfig, TrainConfig
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.errors import OK, BadDataError, TemporaryError, UsageError
from bids_cascade.evaluation.folds import CASCADE, FLAIR_THRESHOLD, Fold, read_fold, write_fold
from bids_cascade.models.store import StoredModel
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.segmentation.visits import segment_visits
from bids_cascade.selection.claim import locked
from bids_cascade.training.fit import train_model
from bids_cascade.training.flair_threshold import choose_flair_threshold, flair_curve, write_flair_masks
from bids_cascade.training.prepare import Prepared
from bids_cascade.training.recipe import fingerprint_of, recipe_of

_LOGGER = logging.getLogger(__name__)

FOLDER = "cross-validation"
"""In the output folder."""


@dataclass(frozen=True)
class Job:
    """What all folds share.

    Attributes
    ----------
    inputs : Inputs
    config : TrainConfig
    run : RunConfig
    prepared : sequence of Prepared
        All labelled visits that can be used.
    curves : dict of str to array
        Dice by FLAIR threshold, computed once a visit; by name.
    """

    inputs: Inputs
    config: TrainConfig
    run: RunConfig
    prepared: Sequence[Prepared]
    curves: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Of the folds' models, masks and records."""
        return self.inputs.out_dir / FOLDER


class UnfinishedError(Exception):
    """A fold that could not be finished, and why."""

    def __init__(self, outcomes: Sequence[VisitOutcome]) -> None:
        super().__init__("; ".join(f"{outcome.name}: {outcome.message}" for outcome in outcomes))
        self.outcomes = outcomes


def assign_folds(labelled: Sequence[Visit], folding: CrossValidationConfig, seed: int) -> list[tuple[str, ...]]:
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


def run_fold(job: Job, number: int, subjects: Sequence[str]) -> Fold:
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
        raise UnfinishedError([VisitOutcome(f"fold {number}", error.exit_code, f"NOT DONE: {error}")]) from error


def _make_fold(job: Job, number: int, training: Sequence[Prepared], left_out: Sequence[Prepared]) -> Fold:
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


def _threshold_flair(job: Job, training: Sequence[Prepared], left_out: Sequence[Prepared]) -> float:
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


def _predict(job: Job, stored: StoredModel, left_out: Sequence[Prepared]) -> None:
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
    outcomes = segment_visits([visit.visit for visit in left_out], inputs, config, run, stored, wait=True)
    failed = [outcome for outcome in outcomes if outcome.exit_code != OK]
    if failed:
        raise UnfinishedError(failed)
