"""Fits a model to prepared visits: both stages, threshold, and the model file with its card and curves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.growth import deeper_patch_size, grow_cascade
from bids_cascade.cascade.inference import dense_probability
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.cascade.training import StageProgress
from bids_cascade.cascade.two_stage import STAGES, Cascade, TrainedCascade, interpolate_weights, segment, train_cascade
from bids_cascade.config import CascadeConfig, Inputs, NetworkConfig, RunConfig, TrainConfig
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.derivatives.record import versions
from bids_cascade.errors import BadDataError
from bids_cascade.evaluation.matching import compare_masks
from bids_cascade.evaluation.threshold import best_threshold, dice_by_threshold
from bids_cascade.lesions.rule import lesion_mask
from bids_cascade.models.store import (
    StoredModel,
    load_checkpoint,
    load_ensemble,
    load_model,
    save_checkpoint,
    save_model,
)
from bids_cascade.progress_bar import progress_bar
from bids_cascade.report.card import model_card
from bids_cascade.report.curves import draw_curves
from bids_cascade.sources import hash_sources
from bids_cascade.surroundings import say
from bids_cascade.training.heads import find_images, make_heads
from bids_cascade.training.insertions import with_insertions
from bids_cascade.training.prepare import Prepared
from bids_cascade.training.provenance import provenance_of, training_sources
from bids_cascade.training.recipe import fingerprint_of
from bids_cascade.whole_file import write_whole_file

_LOGGER = logging.getLogger(__name__)

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Candidate thresholds."""
_CURVE_COLUMNS = {
    "stage": {"Description": "1: candidate detection; 2: false-positive reduction"},
    "epoch": {"Description": "Number of the epoch, from 1"},
    "n_samples": {"Description": "Voxels trained on in this epoch"},
    "loss": {"Description": "Cross-entropy of the crops trained on: lesion voxels' mean plus the negatives', weighted"},
    "validation_loss": {"Description": "The same of the validation subjects' crops"},
    "validation_dice": {
        "Description": "Dice of lesion against negative validation voxels at probability 0.5, weighted"
    },
}


_FIGURES = {
    "dice": "dice",
    "sensitivity": "sensitivity",
    "precision": "precision",
    "lesion_sensitivity": "lesion_sensitivity",
    "lesion_precision": "lesion_precision",
    "lesion_f1": "lesion_f1",
    "true_ml": "reference_volume_ml",
    "found_ml": "predicted_volume_ml",
}
"""Columns of a card's table of visits, and the measures that they show."""


def check_start(config: TrainConfig) -> None:
    """Check the model to start from, and the sources of synthetic heads, before anything else is done.

    Raises
    ------
    MissingInputError, BadDataError
        When one of them is missing, or the model can't be used or takes other sequences.
    """
    if config.heads is not None:
        find_images([*config.heads.label_maps, *config.heads.lesion_masks])
    if config.start_from is None:
        return
    header = load_model(config.start_from).header
    if header.patch_wise:
        raise BadDataError(
            f"{config.start_from}: a model converted from nicMSlesions, whose networks can be used but not trained "
            "here; start from one that `train` has written"
        )
    if len(header.networks) > 1:
        _LOGGER.warning(
            "%s: training begins with the first of its %d cascades", config.start_from, len(header.networks)
        )
    available, wanted = header.cascade.sequences, config.cascade.sequences
    if available != wanted:
        raise BadDataError(
            f"{config.start_from}: the model to start from takes {' '.join(available)}; expected {' '.join(wanted)}, "
            "or "
            f"--sequences {' '.join(available)}"
        )
    if header.cascade.optional_sequences and not config.cascade.optional_sequences:
        _LOGGER.warning(
            "%s works on scans without %s; the new model will not, unless it is trained with --sequence-dropout",
            *(config.start_from, " or ".join(header.cascade.optional_sequences)),
        )


def train_model(
    prepared: Sequence[Prepared],
    inputs: Inputs,
    config: TrainConfig,
    run: RunConfig,
    folder: Path,
    cross_validation: Mapping[str, Any] | None = None,
) -> StoredModel:
    """Train on prepared visits and write the model, its card and its curves into a folder.

    Training resumes from the checkpoints of an interrupted run of the same training. The threshold is chosen on the
    subjects that training holds out, unless the configuration fixes it.

    Parameters
    ----------
    prepared : sequence of Prepared
        All that the model is trained on.
    inputs : Inputs
    config : TrainConfig
        Its name is that of the files.
    run : RunConfig
    folder : Path
        Created if needed.
    cross_validation : mapping, optional
        Result of the same recipe's cross-validation, for the card.

    Raises
    ------
    BadDataError
        When there is no training data.
    """
    trained = _train(prepared, config, run)
    held_out = [visit for visit in prepared if visit.data.subject in trained.validation_subjects]
    probabilities = _segment(held_out, trained.cascade, run.device)
    cascade, why = trained.cascade, "given"
    if config.choose_threshold:
        why = "chosen on the validation subjects" if held_out else "the default, as no subject was held out"
        threshold = _choose_threshold(held_out, probabilities, cascade)
        cascade = replace(cascade, config=cascade.config.with_choices(threshold, None))
    provenance = {
        **provenance_of(trained, inputs, config),
        "learnt_from": training_sources(prepared, inputs, config),
        "threads": run.omp_nthreads,
        "threshold": why,
        "validation": [_figures(cascade, *pair) for pair in zip(held_out, probabilities, strict=True)],
    }
    if cross_validation is not None:
        provenance["cross_validation"] = dict(cross_validation)
    licence = provenance["dataset_licence"]
    if "start" in provenance:
        licence += "; started from {name}: {licence}".format(**provenance["start"])
    model = Model(Ensemble((cascade,)), config.name, licence, provenance)
    return _write_model(model, trained, folder)


def _segment(held_out: Sequence[Prepared], cascade: Cascade, device: str) -> list[NDArray[np.float32]]:
    """Return the probabilities of the held-out visits."""
    engine, probabilities = partial(dense_probability, device=device), []
    if held_out:
        _LOGGER.info("segmenting held-out visits (%d)", len(held_out))
    with progress_bar(len(held_out), "visits segmented") as bar:
        for visit in held_out:
            probabilities.append(segment(cascade, np.asarray(visit.data.channels), visit.data.brain, engine).final)
            bar.update()
    return probabilities


def _write_model(model: Model, trained: TrainedCascade, folder: Path) -> StoredModel:
    """Write the model, its card and its curves."""
    stored = save_model(model, folder / f"{model.name}.safetensors")
    write_whole_file(model_card(stored).encode(), folder / f"{model.name}.md")
    rows = [{"stage": stage, **asdict(epoch)} for stage, epochs in trained.history.items() for epoch in epochs]
    write_tsv(rows, list(_CURVE_COLUMNS), folder / f"{model.name}_curves.tsv", _CURVE_COLUMNS)
    draw_curves(trained.history, folder / f"{model.name}_curves.png")
    say(f"model: {stored.path} (SHA-256 {stored.sha256}); its card and curves are beside it")
    return stored


def _train(prepared: Sequence[Prepared], config: TrainConfig, run: RunConfig) -> TrainedCascade:
    """Train both stages, resuming from the checkpoints of an interrupted run of the same training."""
    import torch

    start, networks = _start_and_networks(config)
    torch.set_num_threads(run.omp_nthreads)
    heads: list[LabelledVisit] = []
    made_from = None
    if config.heads is not None:
        heads, made_from = make_heads(config.heads, config.cascade.sequences, run.work_dir / "heads", run.n_procs)
        heads += with_insertions(prepared, config.heads, config.training.seed)
    # Threshold, peak and volume of lesions are chosen afterwards.
    learnt = asdict(config.cascade.with_choices(CascadeConfig.threshold, CascadeConfig.min_lesion_volume_mm3))
    for chosen in ("peak_probability", "calibration", "prevalence_weight", "first_stage_weight", "mirrored"):
        del learnt[chosen]
    start_sha256 = load_model(config.start_from).sha256 if config.start_from else None
    code = hash_sources("cascade"), versions()
    choices = (
        code,
        learnt,
        asdict(config.training),
        [asdict(network) for network in networks],
        made_from,
        len(heads),
        start_sha256,
    )
    fingerprint = fingerprint_of(prepared, *choices)
    folder = run.work_dir / "training"
    paths = {stage: folder / f"{fingerprint[:12]}_stage{stage}.safetensors" for stage in STAGES}
    earlier = {stage: load_checkpoint(path, fingerprint) for stage, path in paths.items()}

    def report(stage: int, progress: StageProgress) -> None:
        save_checkpoint(progress, fingerprint, paths[stage])
        _LOGGER.info("stage %d %s", stage, _describe(progress))

    try:
        trained = train_cascade(
            [*(visit.data for visit in prepared), *heads],
            config.cascade,
            networks,
            config.training,
            start=start,
            device=run.device,
            progress={stage: progress for stage, progress in earlier.items() if progress},
            on_epoch=report,
        )
    except ValueError as error:
        raise BadDataError(f"can't train on {', '.join(visit.name for visit in prepared)}: {error}") from error
    if start is None or not config.kept_fraction:
        return trained
    return replace(trained, cascade=interpolate_weights(start, trained.cascade, config.kept_fraction))


def _start_and_networks(config: TrainConfig) -> tuple[Cascade | None, tuple[NetworkConfig, NetworkConfig]]:
    """Return the starting cascade, grown to the requested networks, and the networks of both stages."""
    standard = NetworkConfig(n_channels=len(config.cascade.sequences))
    if config.start_from is None:
        network = _resized(standard, config)
        return None, (network, network)
    start = load_ensemble(config.start_from).members[0]
    networks = []
    for stage, trained in zip(STAGES, start.networks, strict=True):
        begun = trained.config
        if not isinstance(begun, NetworkConfig):
            raise BadDataError(f"{config.start_from}: its networks can be used but not trained here")
        wanted = _resized(begun, config) if stage in config.training.stages else begun
        networks.append(replace(wanted, dropout=standard.dropout))
    first, second = networks
    try:
        return grow_cascade(start, (first, second), config.training.seed), (first, second)
    except ValueError as error:
        raise BadDataError(f"{config.start_from}: {error}; see --features, --dense and --convolutions") from error


def _resized(network: NetworkConfig, config: TrainConfig) -> NetworkConfig:
    convolutions = config.convolutions or network.convolutions
    return replace(
        network,
        features=config.features or network.features,
        dense=config.dense or network.dense,
        convolutions=convolutions,
        patch_size=deeper_patch_size(network, convolutions),
    )


def _describe(progress: StageProgress) -> str:
    last = progress.history[-1]
    text = f"epoch {last.epoch}: {last.n_samples} samples, loss {last.loss:.4f}"
    if last.validation_loss is None or last.validation_dice is None:
        return text
    return f"{text}, validation loss {last.validation_loss:.4f}, Dice {last.validation_dice:.3f}"


def _choose_threshold(
    held_out: Sequence[Prepared], probabilities: Sequence[NDArray[np.float32]], cascade: Cascade
) -> float:
    """Return the threshold with the highest mean Dice over the held-out visits; the configured one without any."""
    config = cascade.config
    dice_of_visits = [
        dice_by_threshold(probability, visit.data.lesion, THRESHOLDS, config.rule, config.voxel_volume_mm3)
        for visit, probability in zip(held_out, probabilities, strict=True)
    ]
    threshold = best_threshold(THRESHOLDS, dice_of_visits, config.threshold)
    _LOGGER.info("threshold %g, chosen on %s", threshold, ", ".join(visit.name for visit in held_out) or "nothing")
    return threshold


def _figures(cascade: Cascade, visit: Prepared, probability: NDArray[np.float32]) -> dict[str, Any]:
    """Return the cascade's accuracy on a held-out visit, on the model's grid."""
    config = cascade.config
    mask = lesion_mask(probability, config.rule, config.voxel_volume_mm3)
    measures = compare_masks(visit.data.lesion, mask, visit.affine).measures
    figures = {name: round(measures[measure], 3) for name, measure in _FIGURES.items()}
    return {"visit": visit.name, **{name: value if np.isfinite(value) else None for name, value in figures.items()}}
