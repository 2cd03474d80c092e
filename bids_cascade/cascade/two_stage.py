"""The cascade of two stages: how they are run, and how they are trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from bids_cascade.cascade.engine import Engine, Network, lesion_probability
from bids_cascade.cascade.gate import open_gate
from bids_cascade.cascade.inference import dense_probability
from bids_cascade.cascade.network import PatchNetwork
from bids_cascade.cascade.samples import (
    BoolVolume,
    LabelledVisit,
    Samples,
    candidates,
    first_stage_samples,
    second_stage_samples,
)
from bids_cascade.cascade.splits import split_subjects
from bids_cascade.cascade.training import Epoch, StageProgress, train_stage
from bids_cascade.config import CascadeConfig, NetworkConfig, TrainingConfig

Volume = NDArray[np.float32]
STAGES = (1, 2)

_NEGATIVE_WEIGHT = 4.0
"""At least this limit of the weight of false positives, relative to lesion voxels, holds in stage 2."""


@dataclass(frozen=True)
class Cascade:
    """A trained cascade.

    Attributes
    ----------
    config : CascadeConfig
    networks : pair of PatchNetwork or PaddedNetwork
        Of candidate detection and of false-positive reduction.
    """

    config: CascadeConfig
    networks: tuple[Network, Network]


@dataclass(frozen=True)
class Segmentation:
    """A cascade's probabilities for one scan, as (X, Y, Z) float32 in [0, 1].

    Attributes
    ----------
    first : array
        Of stage 1, at all candidates; 0 elsewhere.
    final : array
        Of stage 2 within the gate; 0 elsewhere.
    """

    first: Volume
    final: Volume


@dataclass(frozen=True)
class TrainedCascade:
    """A cascade and its training: subjects of the training and validation parts, and each stage's epochs."""

    cascade: Cascade
    training_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    history: Mapping[int, Sequence[Epoch]] = field(default_factory=dict)


def segment(cascade: Cascade, channels: Volume, brain: BoolVolume, engine: Engine = lesion_probability) -> Segmentation:
    """Run both stages on one scan.

    Parameters
    ----------
    cascade : Cascade
    channels : (C, X, Y, Z) float32 array
        Normalised sequences in the model's order, on its grid.
    brain : (X, Y, Z) bool array
    engine : callable
        Evaluates a network at given voxels.

    Raises
    ------
    ValueError
        When the shapes do not fit the model or each other.
    """
    first = first_probability(cascade, channels, brain, engine)
    gate = open_gate(first, cascade.config.gate)
    return Segmentation(first, final_probability(cascade, channels, gate, engine))


def first_probability(cascade: Cascade, channels: Volume, brain: BoolVolume, engine: Engine) -> Volume:
    """Return stage 1's probability at all candidates, 0 elsewhere.

    Parameters and errors are those of :func:`segment`.
    """
    if len(channels) != len(cascade.config.sequences):
        raise ValueError(
            f"the model takes {len(cascade.config.sequences)} channels ({', '.join(cascade.config.sequences)}), "
            f"found {len(channels)}"
        )
    return engine(cascade.networks[0], channels, candidates(channels, brain, cascade.config))


def final_probability(cascade: Cascade, channels: Volume, gate: BoolVolume, engine: Engine) -> Volume:
    """Return stage 2's probability within the gate, 0 elsewhere."""
    return engine(cascade.networks[1], channels, gate)


def train_cascade(
    visits: Sequence[LabelledVisit],
    config: CascadeConfig,
    network_configs: tuple[NetworkConfig, NetworkConfig],
    training_config: TrainingConfig,
    *,
    start: Cascade | None = None,
    device: str = "cpu",
    progress: Mapping[int, StageProgress] | None = None,
    on_epoch: Callable[[int, StageProgress], None] = lambda stage, progress: None,
) -> TrainedCascade:
    """Train both stages: the second starts with the weights of the first, and learns from its false positives.

    Parameters
    ----------
    visits : sequence of LabelledVisit
        Visits of one subject stay together. Those without any lesion voxel are left out unless they are synthetic: it
        is not certain that a real one has no lesion. Synthetic visits are used for validation only if there are no
        others.
    config : CascadeConfig
    network_configs : pair of NetworkConfig
        Of the two stages: the same unless there is a cascade to start from.
    training_config : TrainingConfig
    start : Cascade, optional
        Of the same sequences and networks; each stage begins with its weights, and keeps them if it is not among the
        stages to train.
    device : str
        A torch device.
    progress : mapping of int to StageProgress, optional
        By stage, the checkpoint of an interrupted call.
    on_epoch : callable
        Called with the stage and its progress after each epoch.

    Raises
    ------
    ValueError
        When no visit has a lesion, the shapes or the cascade to start from do not fit, or there is none where one is
        needed.
    """
    if start is None and (training_config.stages != STAGES or network_configs[0] != network_configs[1]):
        raise ValueError("to train one stage only, or networks of two kinds, a cascade to start from is needed")
    start_networks: tuple[PatchNetwork, ...] = (
        () if start is None else _networks_to_start_from(start, config, network_configs)
    )
    labelled = _usable_visits(visits, config, network_configs)
    train_on, validate_on = _split(labelled, training_config)
    has_real = not all(visit.synthetic for visit in labelled)
    all_to_train_on = {*train_on, *(visit.subject for visit in labelled if visit.synthetic and has_real)}
    networks: list[PatchNetwork] = []
    history = {}
    for stage, network_config in zip(STAGES, network_configs, strict=True):
        if stage not in training_config.stages:
            networks.append(start_networks[stage - 1])
            continue
        begin_with: tuple[PatchNetwork | None, ...] = start_networks or (None, *networks)
        earlier = (progress or {}).get(stage)
        needed = () if earlier is not None and earlier.finished else labelled
        samples = [_samples(visit, networks, config, device, training_config.half_precision) for visit in needed]
        training, validation = (
            [sample for sample in samples if sample.visit.subject in chosen]
            for chosen in (all_to_train_on, validate_on)
        )
        network, done = train_stage(
            network_config,
            training,
            validation,
            _training_of(stage, training_config),
            start=begin_with[stage - 1],
            optional_channels=[config.sequences.index(name) for name in config.optional_sequences],
            device=device,
            progress=earlier,
            on_epoch=lambda state, stage=stage: on_epoch(stage, state),  # type: ignore[misc]
        )
        networks.append(network)
        history[stage] = tuple(done.history)
    return TrainedCascade(Cascade(config, (networks[0], networks[1])), train_on, validate_on, history)


def _usable_visits(
    visits: Sequence[LabelledVisit], config: CascadeConfig, network_configs: Sequence[NetworkConfig]
) -> list[LabelledVisit]:
    """Return the visits to train on or to validate on; raise ValueError if none has a lesion or channels don't fit."""
    labelled = [visit for visit in visits if visit.synthetic or visit.lesion.any()]
    if not any(visit.lesion.any() for visit in labelled):
        raise ValueError(f"none of the {len(visits)} labelled visits has a lesion voxel")
    n_channels = len(config.sequences)
    found = {*(network.n_channels for network in network_configs), *(len(visit.channels) for visit in labelled)}
    if found != {n_channels}:
        raise ValueError(f"expected {n_channels} channels ({', '.join(config.sequences)}) in every visit")
    return labelled


def _split(labelled: Sequence[LabelledVisit], config: TrainingConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the subjects to train on and those to validate on: real ones, or synthetic ones if there are no others."""
    real = [visit.subject for visit in labelled if not visit.synthetic]
    synthetic = [visit.subject for visit in labelled if visit.synthetic]
    if real and synthetic and config.validation_fraction == 1:
        return (), tuple(dict.fromkeys(real))
    return split_subjects(real or synthetic, config.validation_fraction, np.random.default_rng(config.seed))


def interpolate_weights(start: Cascade, trained: Cascade, fraction: float) -> Cascade:
    """Return the weighted average of a trained cascade and its starting cascade, weight by weight.

    It is nearly as accurate on the new scans as the trained one, and more accurate on other scanners [1]_.

    Parameters
    ----------
    start, trained : Cascade
    fraction : float
        Weight of the starting cascade in the average.

    References
    ----------
    .. [1] Wortsman M. et al., Robust fine-tuning of zero-shot models, CVPR 2022 (arXiv:2109.01903).
    """
    networks = []
    for before, after in zip(start.networks, trained.networks, strict=True):
        network, weights = copy.deepcopy(after), before.state_dict()
        network.load_state_dict(
            {
                name: torch.lerp(tensor, weights[name], fraction) if tensor.is_floating_point() else tensor
                for name, tensor in after.state_dict().items()
            }
        )
        networks.append(network)
    return replace(trained, networks=(networks[0], networks[1]))


def _networks_to_start_from(
    start: Cascade, config: CascadeConfig, network_configs: tuple[NetworkConfig, NetworkConfig]
) -> tuple[PatchNetwork, ...]:
    if start.config.sequences != config.sequences:
        raise ValueError(
            f"the model to start from takes {', '.join(start.config.sequences)}; expected {', '.join(config.sequences)}"
        )
    trainable = tuple(network for network in start.networks if isinstance(network, PatchNetwork))
    if len(trainable) < len(STAGES) or any(
        replace(network.config, dropout=expected.dropout) != expected
        for network, expected in zip(trainable, network_configs, strict=True)
    ):
        raise ValueError("the model to start from has other networks; expected {} and {}".format(*network_configs))
    return trainable


def _training_of(stage: int, config: TrainingConfig) -> TrainingConfig:
    """Return how a stage is trained.

    Lesion is about as frequent in stage 2's samples as within the gate of a scan, so that one threshold suits many
    scans.
    """
    weight = config.largest_negative_weight if stage == 1 else max(config.largest_negative_weight, _NEGATIVE_WEIGHT)
    epochs = config.max_epochs if stage == 1 or config.second_stage_epochs is None else config.second_stage_epochs
    seed = config.seed * len(STAGES) + stage
    return replace(config, max_epochs=epochs, seed=seed, largest_negative_weight=weight)


def _samples(
    visit: LabelledVisit, trained: Sequence[PatchNetwork], config: CascadeConfig, device: str, half: bool
) -> Samples:
    """Choose a visit's samples for the stage after those already trained."""
    if not trained:
        return first_stage_samples(visit, config)
    looked_at = candidates(visit.channels, visit.brain, config)
    probability = np.zeros(visit.brain.shape, np.float32)
    own = tuple(config.sequences[channel] for channel in visit.absent)
    # Other voxels are false positives without the optional sequences than with them.
    for absent in dict.fromkeys((own, config.optional_sequences)):
        channels = without_sequences(visit.channels, absent, config)
        np.maximum(
            probability, dense_probability(trained[0], channels, looked_at, device=device, half=half), out=probability
        )
    return second_stage_samples(visit, probability, config)


def without_sequences(
    channels: NDArray[np.floating], absent: Sequence[str], config: CascadeConfig
) -> NDArray[np.floating]:
    """Return a scan's channels (C, X, Y, Z) as if it lacked these of the optional sequences."""
    if not absent:
        return channels
    channels = np.array(channels)
    channels[[config.sequences.index(name) for name in absent]] = 0
    return channels
