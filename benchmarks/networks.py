"""Speed of the networks: dense against patch-wise inference, training, and how both scale."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.machine import best_seconds, matmul_flops
from bids_cascade.cascade.crops import CropPool
from bids_cascade.cascade.dense import coarse_cells
from bids_cascade.cascade.inference import dense_probability, patchwise_probability
from bids_cascade.cascade.network import PatchNetwork, build_network, remaining_size
from bids_cascade.cascade.padded import PaddedNetwork, padded_probability
from bids_cascade.cascade.samples import LabelledVisit, Samples
from bids_cascade.cascade.training import batch_loss, crop_geometry, place, train_stage
from bids_cascade.config import NetworkConfig, PaddedNetworkConfig, TrainingConfig

SHAPE = (182, 218, 182)
NETWORK = NetworkConfig(n_channels=2)


def dense_macs(config: NetworkConfig) -> float:
    """Return the multiply-adds that one voxel costs when neighbours share what they can.

    A branch of scale s convolves one voxel in s^3, and so does its part of the first dense layer.
    """
    return sum(
        convolution_macs(config, scale) + first_dense_macs(config, scale) for scale in config.scales
    ) + rest_macs(config)


def training_macs(config: NetworkConfig, n_positions: int, n_samples: int, n_cells: Sequence[int]) -> float:
    """Return the multiply-adds of one batch forward and backward; the first layers' input needs no gradient.

    Parameters
    ----------
    config : NetworkConfig
    n_positions : int
        Voxels of the crops.
    n_samples : int
        Voxels to learn from.
    n_cells : sequence of int
        Voxels of each scale in which these lie.
    """
    channels = (config.n_channels, *config.features)
    first_layer = channels[0] * channels[1] * config.kernel_size**3
    total = 3 * n_samples * rest_macs(config)
    for scale, cells in zip(config.scales, n_cells, strict=True):
        total += n_positions * (3 * convolution_macs(config, scale) - first_layer / scale**3)
        total += 3 * cells * scale**3 * first_dense_macs(config, scale)
    return total


def convolution_macs(config: NetworkConfig, scale: int) -> float:
    """Return the multiply-adds of a branch's convolutions for one voxel of the grid."""
    channels, kernel = (config.n_channels, *config.features), config.kernel_size**3
    first = sum(a * b * kernel for a, b in pairwise(channels))
    residual = sum((config.convolutions - 1) * width**2 * kernel for width in config.features)
    return (first + residual) / scale**3


def first_dense_macs(config: NetworkConfig, scale: int) -> float:
    """Return the multiply-adds of a branch's part of the first dense layer for one voxel of the grid."""
    return config.features[-1] * remaining_size(config) ** 3 * (*config.dense, 2)[0] / scale**3


def rest_macs(config: NetworkConfig) -> float:
    """Return the multiply-adds of the other dense layers for one voxel."""
    return sum(a * b for a, b in pairwise((*config.dense, 2)))


def ball(shape: tuple[int, ...]) -> np.ndarray:
    """Return an ellipsoid of a brain's size in a volume, as (X, Y, Z) bool."""
    centre = (np.array(shape) - 1) / 2
    scaled = (np.indices(shape) - centre[:, None, None, None]) / (np.array(shape)[:, None, None, None] * 0.38)
    return np.asarray((scaled**2).sum(axis=0) < 1, bool)


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """Return two channels of noise, (2, X, Y, Z) float32."""
    return np.random.default_rng(0).standard_normal((2, *shape), dtype=np.float32)


def trained_like(seed: int = 0) -> PatchNetwork:
    """Return a network whose norms have seen data, so that its map is not constant."""
    network = build_network(NETWORK, seed).train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(256, len(NETWORK.scales), 2, 11, 11, 11, generator=torch.Generator().manual_seed(seed)))
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


def padded(n_patches: int = 2048) -> dict[str, Any]:
    """Compare the engine of nicMSlesions' networks with torch's own layers on the same patches, side by side."""
    config = PaddedNetworkConfig(2)
    torch.manual_seed(0)
    network, channels = PaddedNetwork(config).eval(), noise((40, 40, 40))
    some = np.zeros((40, 40, 40), bool)
    some.flat[np.random.default_rng(0).permutation(some.size)[:n_patches]] = True
    windows = torch.from_numpy(np.pad(channels, [(0, 0), *[(config.patch_size // 2,) * 2] * 3], mode="edge"))
    for axis in (1, 2, 3):
        windows = windows.unfold(axis, config.patch_size, 1)
    patches = windows[:, torch.from_numpy(some)].transpose(0, 1).contiguous()

    @torch.inference_mode()
    def plain() -> np.ndarray:
        logits = [network(patches[start : start + 128]) for start in range(0, n_patches, 128)]
        return np.asarray(torch.cat(logits).softmax(1)[:, 1])

    engine_seconds, plain_seconds, found = np.inf, np.inf, np.zeros(0)
    for _ in range(3):  # in turn, so that a busy machine slows both
        start = time.perf_counter()
        found = padded_probability(network, channels, some)[some]
        middle = time.perf_counter()
        expected = plain()
        engine_seconds = min(engine_seconds, middle - start)
        plain_seconds = min(plain_seconds, time.perf_counter() - middle)
    return {
        "padded_patches_per_s": n_patches / engine_seconds,
        "padded_over_plain_torch": plain_seconds / engine_seconds,
        "padded_max_abs_difference": float(np.abs(found - expected).max()),
    }


def training(n_crops: int = 48) -> dict[str, Any]:
    """Measure training steps against the speed of a matrix product, and what fetching crops takes of them."""
    pool_of, config = make_pool(), TrainingConfig(max_epochs=1, crops_per_epoch=n_crops)
    network = place(build_network(NETWORK, 0).train(), "cpu")
    pool = CropPool(pool_of, crop_geometry(network, config), config)
    (batch,) = pool.batches(1, np.random.default_rng(0))

    def pass_forward_and_back() -> None:
        network.zero_grad(set_to_none=True)
        batch_loss(network, batch, config, "cpu")[0].backward()  # type: ignore[no-untyped-call]

    def fetch() -> None:
        for _ in pool.batches(config.n_steps, np.random.default_rng(0)):
            pass

    flops = matmul_flops()
    batch_seconds = best_seconds(pass_forward_and_back, repeats=8)
    flops = (flops + matmul_flops()) / 2
    n_positions, n_samples = config.batch_size * config.crop_size**3, len(batch.voxels)
    n_cells = [len(coarse_cells(torch.from_numpy(batch.voxels), scale)[0]) for scale in NETWORK.scales]
    seconds = best_seconds(lambda: train_stage(NETWORK, pool_of, [], config), repeats=1)
    return {
        "training_voxels_per_s": n_samples / config.batch_size * n_crops / seconds,
        "training_crops_per_s": n_crops / seconds,
        "training_fraction_of_matmul": 2
        * training_macs(NETWORK, n_positions, n_samples, n_cells)
        / batch_seconds
        / flops,
        "passes_fraction_of_training": batch_seconds * config.n_steps / seconds,
        "fetching_fraction_of_training": best_seconds(fetch, repeats=1) / seconds,
    }


def make_pool() -> list[Samples]:
    """Return samples of a visit of a brain's size: lesions in balls, and, of the brain's other voxels, a third."""
    brain = ball(SHAPE)
    rng = np.random.default_rng(0)
    lesion = np.zeros(SHAPE, bool)
    for centre in rng.permutation(np.argwhere(brain))[:60]:
        x, y, z = centre - 3
        lesion[x : x + 7, y : y + 7, z : z + 7] |= ball((7, 7, 7))
    visit = LabelledVisit("a", noise(SHAPE).astype(np.float16), brain, lesion & brain)
    # In runs, as grey matter is.
    coarse = rng.random([-(-size // 4) for size in SHAPE]) < 1 / 3
    other = np.kron(coarse, np.ones((4, 4, 4), bool))[tuple(map(slice, SHAPE))]
    return [Samples.of(visit, other & brain)]


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
