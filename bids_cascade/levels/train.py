"""The train level: labelled visits in, a model out."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_cascade.cascade.cascade import STAGES, Cascade, TrainedCascade, segment, train_cascade
from bids_cascade.cascade.inference import dense_probability
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.sampling import LabelledVisit
from bids_cascade.cascade.training import StageProgress
from bids_cascade.config import Inputs, NetworkConfig, RunConfig, TrainConfig
from bids_cascade.dataset.derivatives import prepare_output, write_tsv
from bids_cascade.dataset.labels import find_labels
from bids_cascade.dataset.layout import read_description
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import BadDataError
from bids_cascade.imaging.images import mask_of
from bids_cascade.lesions.components import label_lesions, lesion_mask
from bids_cascade.lesions.metrics import dice, lesion_wise
from bids_cascade.levels.claim import claimed, find_selected
from bids_cascade.levels.record import versions, write_record
from bids_cascade.levels.results import VisitResult, exit_code_of, format_table, unfinished_result
from bids_cascade.models.store import load_checkpoint, save_checkpoint, save_model
from bids_cascade.report.card import model_card
from bids_cascade.report.curves import draw_curves
from bids_cascade.whole_file import write_whole_file
from bids_cascade.workflow.run import VisitRun, run_graphs, step_folder
from bids_cascade.workflow.visit import Preprocessing, labelled_graph

_LOGGER = logging.getLogger(__name__)

_CURVE_COLUMNS = {
    "stage": {"Description": "1 misses nothing, 2 throws false positives out"},
    "epoch": {"Description": "Passes over the drawn samples"},
    "n_samples": {"Description": "Patches trained on in this epoch"},
    "loss": {"Description": "Mean cross-entropy of the training samples"},
    "validation_loss": {"Description": "Mean cross-entropy of the validation samples"},
    "validation_dice": {"Description": "Dice of lesion against other validation samples at probability 0.5"},
}


@dataclass(frozen=True)
class _Prepared:
    """A labelled visit on the model's grid, with its name."""

    name: str
    data: LabelledVisit


def run_train(inputs: Inputs, config: TrainConfig, run: RunConfig) -> int:
    """Train a cascade on every selected visit that has a manual mask; return the exit code."""
    visits = find_selected(inputs, config.cascade.sequences)
    labels = find_labels(config.labels, inputs.bids_dir, visits)
    labelled = [visit for visit in visits if visit.name in labels]
    prepare_output(inputs.out_dir, inputs.bids_dir)
    log_dir = write_record(inputs, {"train": config, "run": run}, labelled)
    with claimed(labelled, run.work_dir) as (ready, refused):
        runs, prepared = _prepare(ready, labels, config, run, log_dir)
        done = {visit.name: _result(visit, runs[visit.slug], prepared, config) for visit in ready}
        results = [refused.get(visit.name) or done[visit.name] for visit in labelled]
        print(format_table(results))
        if prepared:
            _write_model(_train(prepared, config, run), prepared, inputs, config, run.device)
    return exit_code_of(results)


def _prepare(
    visits: Sequence[Visit], labels: Mapping[str, Path], config: TrainConfig, run: RunConfig, log_dir: Path
) -> tuple[dict[str, VisitRun], list[_Prepared]]:
    """Bring the visits and their masks onto the model's grid; leave out those that fail."""
    how = Preprocessing(
        sequences=config.cascade.sequences,
        voxel_size_mm=config.cascade.voxel_size_mm,
        skull_strip=config.skull_strip,
        seed=config.training.seed,
        omp_nthreads=run.omp_nthreads,
    )
    graphs = [labelled_graph(visit, how, labels[visit.name]) for visit in visits]
    runs = run_graphs(graphs, {visit.slug: visit.name for visit in visits}, run, log_dir)
    prepared = []
    for visit, graph in zip(visits, graphs, strict=True):
        if not runs[visit.slug].finished:
            continue
        channels, lesion = (step_folder(graph, step, run) for step in ("channels", "lesion"))
        data = LabelledVisit(
            subject=visit.participant,
            channels=np.load(channels / "channels.npy", mmap_mode="r"),
            brain=mask_of(nib.Nifti1Image.from_filename(channels / "brain.nii")),
            lesion=mask_of(nib.Nifti1Image.from_filename(lesion / "lesion.nii")),
        )
        prepared.append(_Prepared(visit.name, data))
    return runs, prepared


def _train(prepared: Sequence[_Prepared], config: TrainConfig, run: RunConfig) -> TrainedCascade:
    """Train both stages, going on from the checkpoints of an interrupted run of the same training."""
    import torch

    torch.set_num_threads(run.omp_nthreads)
    fingerprint = _fingerprint(prepared, config)
    folder = run.work_dir / "training"
    folder.mkdir(exist_ok=True)
    paths = {stage: folder / f"{fingerprint[:12]}_stage{stage}.safetensors" for stage in STAGES}
    earlier = {stage: load_checkpoint(path, fingerprint) for stage, path in paths.items()}

    def report(stage: int, progress: StageProgress) -> None:
        save_checkpoint(progress, fingerprint, paths[stage])
        _LOGGER.info("stage %d %s (best: epoch %d)", stage, _describe(progress), progress.best_epoch)

    try:
        return train_cascade(
            [one.data for one in prepared],
            config.cascade,
            NetworkConfig(n_channels=len(config.cascade.sequences)),
            config.training,
            device=run.device,
            progress={stage: progress for stage, progress in earlier.items() if progress},
            on_epoch=report,
        )
    except ValueError as error:
        raise BadDataError(f"can't train on {', '.join(one.name for one in prepared)}: {error}") from error


def _describe(progress: StageProgress) -> str:
    last = progress.history[-1]
    text = f"epoch {last.epoch}: {last.n_samples} samples, loss {last.loss:.4f}"
    if last.validation_loss is None or last.validation_dice is None:
        return text
    return f"{text}, validation loss {last.validation_loss:.4f}, Dice {last.validation_dice:.3f}"


def _fingerprint(prepared: Sequence[_Prepared], config: TrainConfig) -> str:
    """Return a hash of all that a training depends on."""
    digest = hashlib.sha256(json.dumps([asdict(config.cascade), asdict(config.training)]).encode())
    for one in prepared:
        digest.update(one.name.encode())
        for array in (one.data.channels, one.data.brain, one.data.lesion):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write_model(
    trained: TrainedCascade, prepared: Sequence[_Prepared], inputs: Inputs, config: TrainConfig, device: str
) -> None:
    """Write the model, its card and its curves into ``models/`` of the output folder."""
    folder = inputs.out_dir / "models"
    folder.mkdir(exist_ok=True)
    held_out = [one for one in prepared if one.data.subject in trained.validation_subjects]
    provenance = {
        "dataset": read_description(inputs.bids_dir).get("Name", inputs.bids_dir.name),
        "dataset_licence": read_description(inputs.bids_dir).get("License", "not stated"),
        "labels": config.labels if "/" not in config.labels else Path(config.labels).name,
        "training_subjects": list(trained.training_subjects),
        "validation_subjects": list(trained.validation_subjects),
        "training": asdict(config.training),
        "epochs": {f"stage {stage}": len(epochs) for stage, epochs in trained.history.items()},
        "versions": versions(),
        "validation": [_figures(trained.cascade, one, device) for one in held_out],
    }
    model = Model(trained.cascade, config.name, provenance["dataset_licence"], provenance)
    stored = save_model(model, folder / f"{config.name}.safetensors")
    write_whole_file(model_card(stored).encode(), folder / f"{config.name}.md")
    rows = [{"stage": stage, **asdict(epoch)} for stage, epochs in trained.history.items() for epoch in epochs]
    write_tsv(rows, list(_CURVE_COLUMNS), folder / f"{config.name}_curves.tsv", _CURVE_COLUMNS)
    draw_curves(trained.history, folder / f"{config.name}_curves.png")
    print(f"model: {stored.path} (SHA-256 {stored.sha256}); its card and curves are beside it")


def _figures(cascade: Cascade, one: _Prepared, device: str) -> dict[str, Any]:
    """Return how well the cascade finds a held-out visit's lesions, on the model's grid."""
    config = cascade.config
    found = segment(cascade, np.asarray(one.data.channels), one.data.brain, partial(dense_probability, device=device))
    volume_mm3 = config.voxel_size_mm**3
    mask = lesion_mask(found.final, config.threshold, volume_mm3, config.min_lesion_volume_mm3)
    scores = lesion_wise(one.data.lesion, mask)
    return {
        "visit": one.name,
        "dice": round(float(dice(one.data.lesion, mask)), 3),
        "lesion_sensitivity": round(float(scores.sensitivity), 3),
        "lesion_precision": round(float(scores.precision), 3),
        "lesion_f1": round(float(scores.f1), 3),
        "true_ml": round(float(one.data.lesion.sum() * volume_mm3 / 1000), 2),
        "found_ml": round(float(mask.sum() * volume_mm3 / 1000), 2),
    }


def _result(visit: Visit, done: VisitRun, prepared: Sequence[_Prepared], config: TrainConfig) -> VisitResult:
    lesion = next((one.data.lesion for one in prepared if one.name == visit.name), None)
    if lesion is None:
        return unfinished_result(visit.name, done)
    volume_ml = float(lesion.sum()) * config.cascade.voxel_size_mm**3 / 1000
    return VisitResult(visit.name, n_lesions=label_lesions(lesion)[1], volume_ml=volume_ml, seconds=done.seconds)
