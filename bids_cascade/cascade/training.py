"""Training of one stage."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_cascade.cascade.crops import Batch, CropGeometry, CropPool
from bids_cascade.cascade.network import PatchNetwork, build_network
from bids_cascade.cascade.samples import Samples
from bids_cascade.config import NetworkConfig, TrainingConfig

Tensors = dict[str, torch.Tensor]

_STEP = 8
_WEIGHT_DECAY = 1e-3
_LARGEST_GRADIENT = 5.0
_VALIDATION_STEPS = 24


@dataclass(frozen=True)
class Epoch:
    """Losses and Dice of one epoch.

    A loss is the lesion voxels' mean cross-entropy plus the negatives' times their weight; Dice is by these weights.
    """

    epoch: int
    n_samples: int
    loss: float
    validation_loss: float | None
    validation_dice: float | None


@dataclass
class StageProgress:
    """A checkpoint: everything needed to resume an interrupted training.

    Attributes
    ----------
    history : list of Epoch
    weights : dict of str to tensor
        After the last epoch.
    optimiser : dict of str to tensor
        State of the optimiser, flattened to ``{parameter}.{name}``.
    finished : bool
        Whether training has stopped for good.
    """

    history: list[Epoch] = field(default_factory=list)
    weights: Tensors = field(default_factory=dict)
    optimiser: Tensors = field(default_factory=dict)
    finished: bool = False

    def to_tensors(self) -> Tensors:
        """Return all tensors by names that say what they belong to."""
        parts = {"weights": self.weights, "optimiser": self.optimiser}
        return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def to_json(self) -> dict[str, object]:
        """Return everything but the tensors."""
        return {"history": [asdict(epoch) for epoch in self.history], "finished": self.finished}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, torch.Tensor], json: Mapping[str, object]) -> StageProgress:
        """Restore a checkpoint from :meth:`to_tensors` and :meth:`to_json`."""
        history, finished = json["history"], json["finished"]
        if not isinstance(history, list) or not isinstance(finished, bool):
            raise ValueError("a checkpoint needs a list `history` and a boolean `finished`")
        progress = cls(history=[Epoch(**epoch) for epoch in history], finished=finished)
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            getattr(progress, part)[key] = tensor
        return progress


def train_stage(
    network_config: NetworkConfig,
    training: Sequence[Samples],
    validation: Sequence[Samples],
    config: TrainingConfig,
    *,
    start: PatchNetwork | None = None,
    optional_channels: Sequence[int] = (),
    device: str = "cpu",
    progress: StageProgress | None = None,
    on_epoch: Callable[[StageProgress], None] = lambda progress: None,
) -> tuple[PatchNetwork, StageProgress]:
    """Train one network on crops in which negatives weigh as much as lesion voxels, or a given number of times as much.

    AdamW on the cross-entropy, with a learning rate that rises over the first tenth of all steps and falls to zero at
    the last; half of the crops are mirrored, all are scaled and shifted in intensity. The crops of an epoch depend on
    the seed and the epoch alone, so a resumed training equals an uninterrupted one.

    Parameters
    ----------
    network_config : NetworkConfig
    training : sequence of Samples
        Of the visits to learn from. A visit is drawn by the square root of its number of lesion voxels.
    validation : sequence of Samples
        Of other subjects, for the validation after each epoch; may be empty.
    config : TrainingConfig
    start : PatchNetwork, optional
        Of the same configuration; training starts with its weights, otherwise with random ones.
    optional_channels : sequence of int
        Channels that a scan may lack: some crops lack them (`sequence_dropout`).
    device : str
        A torch device.
    progress : StageProgress, optional
        Checkpoint of an interrupted call; if it is finished, no samples are needed.
    on_epoch : callable
        Called with the progress after each epoch: to report it and to save it.

    Returns
    -------
    network : PatchNetwork
        With the weights of the last epoch, on the CPU, in evaluation mode.
    progress : StageProgress

    Raises
    ------
    ValueError
        When there is nothing to learn from.
    """
    progress = progress or StageProgress()
    if not progress.finished:
        _check_samples(training, "train")
        if validation:
            _check_samples(validation, "validate")
    network = build_network(network_config, config.seed)
    if start is not None:
        network.load_state_dict(start.state_dict())
    network = place(network, device)
    geometry = crop_geometry(network, config)
    pool, held_out = (CropPool(samples, geometry, config, optional_channels) for samples in (training, validation))
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=_WEIGHT_DECAY)
    if progress.history:
        network.load_state_dict(progress.weights)
        _restore_optimiser(optimiser, progress.optimiser)
    while not progress.finished and len(progress.history) < config.max_epochs:
        epoch = len(progress.history) + 1
        loss, n_samples = _train_epoch(network, optimiser, pool, config, epoch, device)
        validated = evaluate_samples(network, held_out, config, device) if validation else (None, None)
        progress.history.append(Epoch(epoch, n_samples, loss, *validated))
        progress.weights = _to_cpu(network.state_dict())
        progress.optimiser = _flatten_optimiser(optimiser)
        progress.finished = epoch >= config.max_epochs
        on_epoch(progress)
    network.load_state_dict(progress.weights)
    return network.cpu().to(memory_format=torch.contiguous_format).eval(), progress  # type: ignore[call-overload]


def place(network: PatchNetwork, device: str) -> PatchNetwork:
    """Move a network to the device on which it is trained, and return it.

    On a CPU, a voxel's channels are made contiguous in memory, which is fastest for oneDNN.
    """
    network = network.to(device)
    if device == "cpu":
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def crop_geometry(network: PatchNetwork, config: TrainingConfig) -> CropGeometry:
    """Return the surroundings that a network needs of its training crops.

    Raises
    ------
    ValueError
        When the crops' size is no multiple of all scales.
    """
    scales = network.config.scales
    step = math.lcm(*scales)
    if config.crop_size < 1 or config.crop_size % step:
        raise ValueError(f"the crop size is {config.crop_size}; expected a multiple of {step}, for scales {scales}")
    # A larger step than the smallest one only saves time in listing the places.
    step *= max(n for n in range(1, max(_STEP // step, 1) + 1) if config.crop_size % (step * n) == 0)
    return CropGeometry(config.crop_size, step, scales, network.before, network.after)


def _check_samples(samples: Sequence[Samples], purpose: str) -> None:
    n_lesion = sum(int(sample.lesion.sum()) for sample in samples)
    n_negative = sum(int(sample.negative.sum()) for sample in samples)
    if not (n_lesion and n_negative):
        raise ValueError(
            f"the samples to {purpose} on need lesion voxels and negatives, found {n_lesion} and {n_negative}"
        )


def _train_epoch(
    network: PatchNetwork,
    optimiser: torch.optim.Optimizer,
    pool: CropPool,
    config: TrainingConfig,
    epoch: int,
    device: str,
) -> tuple[float, int]:
    """Train on an epoch's crops; return the mean loss and their number of voxels."""
    rng = np.random.default_rng([config.seed, epoch])
    network.train()
    total, n_samples = 0.0, 0
    with torch.random.fork_rng(devices=[] if device == "cpu" else None):
        torch.manual_seed(int(rng.integers(2**62)))
        n_steps = config.n_steps
        for step, batch in enumerate(pool.batches(n_steps, rng)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate((epoch - 1) * n_steps + step, config.max_epochs * n_steps, config)
            optimiser.zero_grad(set_to_none=True)
            loss = batch_loss(network, batch, config, device)[0]
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), _LARGEST_GRADIENT)
            optimiser.step()
            total += loss.item()
            n_samples += len(batch.labels)
    return total / n_steps, n_samples


def learning_rate(step: int, n_steps: int, config: TrainingConfig) -> float:
    """Return the learning rate of one of `n_steps` steps: a linear rise over a tenth of them, then half a cosine."""
    rise = max(n_steps // 10, 1)
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(n_steps - rise, 1)))


def batch_loss(
    network: PatchNetwork, batch: Batch, config: TrainingConfig, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted cross-entropy of a batch, and its logits."""
    kind = torch.device(device).type
    crops = [torch.from_numpy(view).to(device) for view in batch.views]
    if kind == "cpu":
        crops = [crop.contiguous(memory_format=torch.channels_last_3d) for crop in crops]
    # Unlike float16, bfloat16 can represent the smallest gradients.
    with torch.autocast(kind, dtype=torch.bfloat16, enabled=config.half_precision):
        logits = network.forward_crops(crops, torch.from_numpy(batch.voxels).to(device)).float()
    each = nn.functional.cross_entropy(logits, torch.from_numpy(batch.labels).to(device), reduction="none")
    return (each * torch.from_numpy(batch.weights).to(device)).sum(), logits


@torch.inference_mode()
def evaluate_samples(
    network: PatchNetwork, pool: CropPool, config: TrainingConfig, device: str = "cpu"
) -> tuple[float, float]:
    """Return the loss, and the Dice of lesion against negative samples at probability 0.5, by their weights.

    The crops are the same at every call: those that the seed draws, not augmented; a quarter as many as in an epoch, or
    a few batches where that is less.
    """
    network.eval()
    total, both, either = 0.0, 0.0, 0.0
    n_steps = min(-(-config.n_steps // 4), _VALIDATION_STEPS)
    for batch in pool.batches(n_steps, np.random.default_rng(config.seed), augment=False):
        loss, logits = batch_loss(network, batch, config, device)
        total += loss.item()
        predicted: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
        both += float((batch.weights * predicted * batch.labels).sum())
        either += float((batch.weights * (predicted + batch.labels)).sum())
    return total / n_steps, 2 * both / either if either else 1.0


def _to_cpu(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _flatten_optimiser(optimiser: torch.optim.Optimizer) -> Tensors:
    state = optimiser.state_dict()["state"]
    return _to_cpu({f"{index}.{name}": tensor for index, tensors in state.items() for name, tensor in tensors.items()})


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    state = copy.copy(optimiser.state_dict())
    state["state"] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state["state"].setdefault(int(index), {})[name] = tensor.clone()
    optimiser.load_state_dict(state)
