"""Speed of the networks: dense against patch-wise inference, training, and how both scale."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.machine import best_seconds, matmul_flops
from bids_cascade.cascade.inference import dense_probability, patchwise_probability
from bids_cascade.cascade.network import PatchNetwork, build_network, remaining_size
from bids_cascade.cascade.patches import mirror_half
from bids_cascade.cascade.sampling import LabelledVisit, SamplePool, Samples
from bids_cascade.cascade.training import place, train_stage
from bids_cascade.config import NetworkConfig, TrainingConfig

SHAPE = (182, 218, 182)
NETWORK = NetworkConfig(n_channels=2)


def dense_macs(config: NetworkConfig) -> int:
    """Return the multiply-adds that one voxel costs when neighbours share what they can."""
    channels = (config.n_channels, *config.features)
    convolutions = sum(a * b * config.kernel_size**3 for a, b in pairwise(channels))
    widths = (channels[-1] * remaining_size(config) ** 3, *config.dense, 2)
    return convolutions + sum(a * b for a, b in pairwise(widths))


def training_macs(config: NetworkConfig) -> int:
    """Return the multiply-adds of one patch forward and backward; the first layer's input needs no gradient."""
    channels = (config.n_channels, *config.features)
    sizes = [remaining_size(config)]
    for _ in config.features:
        sizes.append(sizes[-1] * config.pool_size + config.kernel_size - 1)
    outputs = [(size - config.kernel_size + 1) ** 3 for size in reversed(sizes[1:])]
    layers = [n * a * b * config.kernel_size**3 for n, (a, b) in zip(outputs, pairwise(channels), strict=True)]
    widths = (channels[-1] * remaining_size(config) ** 3, *config.dense, 2)
    layers += [a * b for a, b in pairwise(widths)]
    return 3 * sum(layers) - layers[0]


def ball(shape: tuple[int, ...]) -> np.ndarray:
    """Return an ellipsoid of a brain's size in a volume, as (X, Y, Z) bool."""
    centre = (np.array(shape) - 1) / 2
    scaled = (np.indices(shape) - centre[:, None, None, None]) / (np.array(shape)[:, None, None, None] * 0.38)
    return (scaled**2).sum(axis=0) < 1


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """Return two channels of noise, (2, X, Y, Z) float32."""
    return np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)


def trained_like(seed: int = 0) -> PatchNetwork:
    """Return a network whose norms have seen data, so that its map is not constant."""
    network = build_network(NETWORK, seed).train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(256, 2, 11, 11, 11, generator=torch.Generator().manual_seed(seed)))
    return network.eval()


def inference(n_patchwise: int = 8192) -> dict[str, Any]:
    """Compare dense with patch-wise inference on a brain of 1 mm, and with the speed of a matrix product."""
    network, channels, brain = trained_like(), noise(SHAPE), ball(SHAPE)
    some = np.zeros_like(brain)
    some[tuple(np.argwhere(brain)[:: brain.sum() // n_patchwise].T)] = True
    flops = matmul_flops()
    start = time.perf_counter()
    slow = patchwise_probability(network, channels, some)
    middle = time.perf_counter()
    fast = dense_probability(network, channels, brain)
    end = time.perf_counter()
    flops = (flops + matmul_flops()) / 2
    patchwise, dense = some.sum() / (middle - start), brain.sum() / (end - middle)
    return {
        "brain_voxels": int(brain.sum()),
        "patchwise_voxels_per_s": float(patchwise),
        "dense_voxels_per_s": float(dense),
        "dense_over_patchwise": float(dense / patchwise),
        "max_abs_difference": float(np.abs(fast[some] - slow[some]).max()),
        "matmul_gflops": flops / 1e9,
        "fraction_of_matmul": float(2 * dense_macs(NETWORK) * dense / flops),
    }


def training(n_samples: int = 12800) -> dict[str, Any]:
    """Measure training steps against the speed of a matrix product, and what fetching samples takes of them."""
    visit = LabelledVisit("a", noise(SHAPE), ball(SHAPE), np.zeros(SHAPE, bool))
    voxels = np.argwhere(visit.brain).astype(np.int32)
    rng = np.random.default_rng(0)
    chosen = voxels[rng.permutation(len(voxels))[:n_samples]]
    pool = SamplePool([Samples(visit, chosen[::2], chosen[1::2])])
    config = TrainingConfig(max_epochs=1)
    network = place(build_network(NETWORK, 0).train(), "cpu")
    patches, labels = map(torch.from_numpy, pool.read(np.arange(config.batch_size), NETWORK.patch_size))

    def pass_forward_and_back() -> None:
        network.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(patches), labels).backward()

    flops = matmul_flops(1024)
    batch_seconds = best_seconds(pass_forward_and_back, repeats=20)
    flops = (flops + matmul_flops(1024)) / 2
    seconds = best_seconds(lambda: train_stage(NETWORK, pool, None, config), repeats=2)

    def fetch() -> None:
        for patches, _ in pool.batches(pool.draw(None, rng), NETWORK.patch_size, config.batch_size):
            mirror_half(torch.from_numpy(patches), rng)

    return {
        "training_samples_per_s": n_samples / seconds,
        "training_fraction_of_matmul": 2 * training_macs(NETWORK) * config.batch_size / batch_seconds / flops,
        "passes_fraction_of_training": batch_seconds / config.batch_size * n_samples / seconds,
        "fetching_fraction_of_training": best_seconds(fetch, repeats=2) / seconds,
    }


def scaling() -> list[dict[str, Any]]:
    """Measure dense inference as the volume and the number of threads grow, relative to the smallest."""
    network, n_threads = trained_like(), torch.get_num_threads()
    rows = []
    for threads in sorted({1, n_threads}):
        torch.set_num_threads(threads)
        for times, shape in ((1, (96, 96, 96)), (2, (96, 96, 192)), (4, (96, 192, 192))):
            channels, voxels = noise(shape), np.ones(shape, bool)
            seconds = best_seconds(partial(dense_probability, network, channels, voxels), repeats=1)
            rows.append({"threads": threads, "volume": times, "seconds": seconds})
    torch.set_num_threads(n_threads)
    return [{**row, "relative": row["seconds"] / rows[0]["seconds"]} for row in rows]
