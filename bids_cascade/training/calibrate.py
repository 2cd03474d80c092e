"""Fits a model's calibration to labelled scans that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.calibration import UNCHANGED, calibrate, scan_offset
from bids_cascade.cascade.engine import Engine, lesion_probability
from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.config import CascadeConfig, Inputs, RunConfig, Selection, TrainConfig
from bids_cascade.errors import BadDataError
from bids_cascade.lesions.calibration import Reliability, equal_scan_weights, fit_calibration, reliability
from bids_cascade.training.prepare import find_labelled, prepare_visits
from bids_cascade.workflow.workers import prepare_workers


@dataclass(frozen=True, eq=False)
class FittedCalibration:
    """A calibration, and how well it fits.

    Attributes
    ----------
    slope, intercept : float
        A probability p becomes ``sigmoid(slope * logit(p) + intercept + weight * logit(prevalence of the scan))``.
    curve : Reliability
        Of the calibrated probabilities; each scan weighs the same.
    """

    slope: float
    intercept: float
    curve: Reliability


def labelled_visits(
    bids_dirs: Sequence[Path],
    participants: tuple[str, ...],
    cascade: CascadeConfig,
    labels: str,
    work_dir: Path,
    n_procs: int,
) -> list[LabelledVisit]:
    """Bring the labelled visits of datasets onto a model's grid.

    Raises
    ------
    MissingInputError
        When a dataset has no labelled visit.
    BadDataError
        When a visit can't be used.
    """
    prepare_workers()
    config = TrainConfig(labels, cascade=cascade)
    visits = []
    for number, bids_dir in enumerate(bids_dirs, start=1):
        # Participants of two datasets may have the same label, and preprocessed visits stay on the disk.
        run = RunConfig(work_dir / f"dataset{number}", n_procs=n_procs)
        run.work_dir.mkdir(parents=True, exist_ok=True)
        inputs = Inputs(bids_dir, work_dir, Selection(participants))
        labelled, masks = find_labelled(inputs, config)
        prepared, outcomes = prepare_visits(labelled, masks, config, run, work_dir)
        failed = [outcome for outcome in outcomes if outcome.name not in {visit.name for visit in prepared}]
        if failed:
            raise BadDataError(f"{bids_dir}: {failed[0].name} can't be used: {failed[0].message}")
        visits += [visit.data for visit in prepared]
    return visits


def fit_to_visits(
    ensemble: Ensemble,
    visits: Sequence[LabelledVisit],
    prevalence_weight: float,
    first_stage_weight: float = 0.0,
    engine: Engine = lesion_probability,
) -> FittedCalibration:
    """Fit slope and intercept to the labels of the voxels that stage 2 evaluates.

    Parameters
    ----------
    ensemble : Ensemble
        Its own calibration is not used.
    visits : sequence of LabelledVisit
        On which the model was not trained; all have the same weight. Voxels with doubtful labels do not count.
    prevalence_weight, first_stage_weight : float
        Fractions of the logits of a scan's estimated prevalence and of stage 1 that are added to those of its voxels.
    engine : callable
        Evaluates a network at given voxels.

    Raises
    ------
    ValueError
        When there is no best calibration, see :func:`bids_cascade.lesions.calibration.fit_calibration`.
    """
    config = replace(ensemble.config, calibration=UNCHANGED, prevalence_weight=0.0, first_stage_weight=0.0)
    plain = Ensemble(tuple(replace(member, config=config) for member in ensemble.members))
    probabilities: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.bool_]] = []
    offsets: list[NDArray[np.float32]] = []
    for visit in visits:
        found = segment_by_ensemble(plain, np.asarray(visit.channels, np.float32), visit.brain, engine)
        offset = scan_offset(found.first, found.final, prevalence_weight, first_stage_weight)
        judged = visit.learnt(found.final > 0)
        offsets.append(np.broadcast_to(np.float32(offset), judged.shape)[judged])
        probabilities.append(found.final[judged])
        labels.append(visit.lesion[judged])
    scan = np.repeat(np.arange(len(visits)), [len(probability) for probability in probabilities])
    probability, lesion = np.concatenate(probabilities), np.concatenate(labels)
    weights = equal_scan_weights(scan)
    slope, intercept = fit_calibration(probability, lesion, weights, np.concatenate(offsets))
    calibrated = [
        calibrate(probability, (slope, intercept), offset)
        for probability, offset in zip(probabilities, offsets, strict=True)
    ]
    return FittedCalibration(slope, intercept, reliability(np.concatenate(calibrated), lesion, weights))
