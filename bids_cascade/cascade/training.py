"""Training of one stage."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bids_cascade.cascade.network import PatchNetwork, build_network
from bids_cascade.cascade.patches import mirror_half
from bids_cascade.cascade.sampling import SamplePool
from bids_cascade.config import NetworkConfig, TrainingConfig

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; losses are mean cross-entropies, Dice is over the balanced validation samples."""

    epoch: int
    n_samples: int
    loss: float
    validation_loss: float | None
    validation_dice: float | None


@dataclass
class StageProgress:
    """All that is needed to go on with an interrupted training.

    Attributes
    ----------
    history : list of Epoch
    latest, best : dict of str to tensor
        Weights after the last epoch and after the best one.
    optimiser : dict of str to tensor
        State of the optimiser, flattened to ``{parameter}.{name}``.
    finished : bool
        Whether training has stopped for good.
    """

    history: list[Epoch] = field(default_factory=list)
    latest: Tensors = field(default_factory=dict)
    best: Tensors = field(default_factory=dict)
    optimiser: Tensors = field(default_factory=dict)
    finished: bool = False

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss, or the last one where nothing was held out; 0 before the first."""
        if not self.history:
            return 0
        losses = [one.loss if one.validation_loss is None else one.validation_loss for one in self.history]
        return self.history[int(np.argmin(losses))].epoch

    def to_tensors(self) -> Tensors:
        """Return all tensors under names that tell what they belong to."""
        parts = {"latest": self.latest, "best": self.best, "optimiser": self.optimiser}
        return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def to_json(self) -> dict[str, object]:
        """Return what is not a tensor."""
        return {"history": [asdict(one) for one in self.history], "finished": self.finished}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, torch.Tensor], json: Mapping[str, object]) -> StageProgress:
        """Put together again what :meth:`to_tensors` and :meth:`to_json` took apart."""
        history, finished = json["history"], json["finished"]
        if not isinstance(history, list) or not isinstance(finished, bool):
            raise ValueError("a checkpoint needs a list `history` and a boolean `finished`")
        progress = cls(history=[Epoch(**one) for one in history], finished=finished)
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            getattr(progress, part)[key] = tensor
        return progress


def train_stage(
    network_config: NetworkConfig,
    training: SamplePool,
    validation: SamplePool | None,
    config: TrainingConfig,
    *,
    device: str = "cpu",
    progress: StageProgress | None = None,
    on_epoch: Callable[[StageProgress], None] = lambda progress: None,
) -> tuple[PatchNetwork, StageProgress]:
    """Train one network on balanced samples until its validation loss stops falling.

    Adadelta on the cross-entropy; half of each batch mirrored. What is drawn in an epoch depends on the seed and the
    epoch alone, so an interrupted training goes on as if it had not been interrupted.

    Parameters
    ----------
    network_config : NetworkConfig
    training : SamplePool
        Samples to learn from.
    validation : SamplePool or None
        Samples of other subjects, which decide when to stop and which epoch is kept; without them training runs
        `max_epochs` and keeps the last.
    config : TrainingConfig
    device : str
        A torch device.
    progress : StageProgress, optional
        Where an earlier, interrupted call stopped.
    on_epoch : callable
        Called with the progress after each epoch: to report it and to save it.

    Returns
    -------
    network : PatchNetwork
        With the weights of the best epoch, on the CPU, in evaluation mode.
    progress : StageProgress

    Raises
    ------
    ValueError
        When there is nothing to learn from.
    """
    _check_pools(training, validation)
    progress = progress or StageProgress()
    network = place(build_network(network_config, config.seed), device)
    optimiser = torch.optim.Adadelta(network.parameters(), lr=1.0)
    if progress.history:
        network.load_state_dict(progress.latest)
        _restore_optimiser(optimiser, progress.optimiser)
    while not _is_finished(progress, validation is not None, config):
        epoch = len(progress.history) + 1
        loss, n_samples = _train_epoch(network, optimiser, training, config, epoch, device)
        validated = None if validation is None else evaluate_samples(network, validation, config, device)
        progress.history.append(Epoch(epoch, n_samples, loss, *(validated or (None, None))))
        progress.latest = _to_cpu(network.state_dict())
        progress.optimiser = _flatten_optimiser(optimiser)
        if validation is None or progress.best_epoch == epoch:
            progress.best = progress.latest
        progress.finished = _is_finished(progress, validation is not None, config)
        on_epoch(progress)
    network.load_state_dict(progress.best)
    return network.cpu().to(memory_format=torch.contiguous_format).eval(), progress  # type: ignore[call-overload]


def place(network: PatchNetwork, device: str) -> PatchNetwork:
    """Move a network to where it is trained, and return it.

    On a CPU, a voxel's channels are put side by side in memory: small patches then take about half the time.
    """
    network = network.to(device)
    if device == "cpu":
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def _check_pools(training: SamplePool, validation: SamplePool | None) -> None:
    for pool, purpose in ((training, "train"), (validation, "validate")):
        if pool is not None and not (pool.is_lesion.any() and (~pool.is_lesion).any()):
            raise ValueError(
                f"the samples to {purpose} on need lesion voxels and others, found {len(pool)} of one kind"
            )


def _is_finished(progress: StageProgress, has_validation: bool, config: TrainingConfig) -> bool:
    epochs = len(progress.history)
    waited = epochs - progress.best_epoch if has_validation else 0
    return progress.finished or epochs >= config.max_epochs or waited >= config.patience


def _train_epoch(
    network: PatchNetwork,
    optimiser: torch.optim.Optimizer,
    pool: SamplePool,
    config: TrainingConfig,
    epoch: int,
    device: str,
) -> tuple[float, int]:
    """Pass once over the drawn samples; return the mean loss and how many they were."""
    rng = np.random.default_rng([config.seed, epoch])
    indices = pool.draw(config.max_samples_per_epoch, rng)
    network.train()
    total = 0.0
    with torch.random.fork_rng(devices=[] if device == "cpu" else None):
        torch.manual_seed(int(rng.integers(2**62)))
        for patches, labels in pool.batches(indices, network.config.patch_size, config.batch_size):
            x = mirror_half(torch.from_numpy(patches), rng).to(device)
            y = torch.from_numpy(labels).to(device)
            optimiser.zero_grad(set_to_none=True)
            loss = nn.functional.cross_entropy(network(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.item() * len(y)
    return total / len(indices), len(indices)


@torch.inference_mode()
def evaluate_samples(
    network: PatchNetwork, pool: SamplePool, config: TrainingConfig, device: str = "cpu"
) -> tuple[float, float]:
    """Return the mean cross-entropy and the Dice of lesion against other samples at probability 0.5.

    The samples are the same at every call: all, or the `max_samples_per_epoch` that the seed draws.
    """
    network.eval()
    indices = np.sort(pool.draw(config.max_samples_per_epoch, np.random.default_rng(config.seed)))
    total, n_both, n_either = 0.0, 0, 0
    for patches, labels in pool.batches(indices, network.config.patch_size, 1024):
        logits = network(torch.from_numpy(patches).to(device)).cpu()
        total += nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="sum").item()
        predicted: NDArray[np.int64] = logits.argmax(1).numpy()
        n_both += int((predicted & labels).sum())
        n_either += int(predicted.sum() + labels.sum())
    return total / len(indices), 2 * n_both / n_either


def _to_cpu(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _flatten_optimiser(optimiser: torch.optim.Optimizer) -> Tensors:
    state = optimiser.state_dict()["state"]
    return _to_cpu({f"{index}.{name}": tensor for index, one in state.items() for name, tensor in one.items()})


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Tensors) -> None:
    state = copy.copy(optimiser.state_dict())
    state["state"] = {}
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        state["state"].setdefault(int(index), {})[name] = tensor.clone()
    optimiser.load_state_dict(state)
