"""Files as nicMSlesions leaves them, of random weights, and what Keras makes of a patch with them, in plain numpy."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import h5py
import numpy as np

Layers = dict[str, dict[str, np.ndarray]]
BLOCKS = (("conv1_1", "conv1_2"), ("conv2_1", "conv2_2"))
DENSE = ("d1", "d2", "d3")
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


@cache
def random_layers(seed: int, n_channels: int = 2) -> Layers:
    """Return the arrays of all layers by Keras' names, of such sizes that logits vary from voxel to voxel."""
    rng, layers, width = np.random.default_rng(seed), Layers(), n_channels
    for names, n_out, size in zip(BLOCKS, (32, 64), (11, 5), strict=True):
        for name in names:
            number = name.removeprefix("conv")
            kernel = rng.normal(0, (2 / (27 * width)) ** 0.5, (3, 3, 3, width, n_out))
            layers[name] = {"kernel": kernel, "bias": rng.normal(0, 0.1, n_out)}
            values = rng.normal(1, 0.2, n_out), rng.normal(0, 0.2, n_out), rng.normal(0, 0.2, n_out)
            layers[f"bn_{number}"] = dict(zip(NORM, (*values, rng.uniform(0.5, 1.5, n_out)), strict=True))
            layers[f"prelu_{name}"] = {"alpha": rng.uniform(-0.5, 1.5, (n_out, size, size, size))}
            width = n_out
    width *= 8
    for name, n_out in zip(DENSE, (256, 128, 64), strict=True):
        layers[name] = {"kernel": rng.normal(0, (2 / width) ** 0.5, (width, n_out)), "bias": rng.normal(0, 0.1, n_out)}
        layers[f"prelu_{name}"] = {"alpha": rng.uniform(-0.5, 1.5, n_out)}
        width = n_out
    layers["out"] = {"kernel": rng.normal(0, 0.5, (width, 2)), "bias": np.zeros(2)}
    # So that neither class is sure of itself, and one patch is not like the other.
    noise = rng.normal(size=(5, n_channels, 11, 11, 11))
    sure = np.diff(_scores(layers, noise), axis=1)
    layers["out"]["kernel"] *= 1.5 / sure.std()
    layers["out"]["bias"] = np.array([0, 1 - sure.mean() * 1.5 / sure.std()])
    return {layer: {name: one.astype(np.float32) for name, one in arrays.items()} for layer, arrays in layers.items()}


def write_keras_file(
    layers: Layers, path: Path, inner: str = "", backend: str = "tensorflow", version: str = "2.1.5"
) -> Path:
    """Write arrays as ``save_weights`` of Keras 2 does; the inner groups of a second network end in ``_1``."""
    with h5py.File(path, "w") as file:
        file.attrs["backend"], file.attrs["keras_version"] = backend.encode(), version.encode()
        file.attrs["layer_names"] = np.array([b"in1", *(name.encode() for name in layers)])
        for without_weights in ("in1", "max_pooling3d_1", "dr_d1"):
            file.create_group(without_weights).attrs["weight_names"] = np.array([], "S1")
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            names = [f"{layer}{inner}/{name}:0" for name in arrays]
            group.attrs["weight_names"] = np.array([name.encode() for name in names])
            for name, array in zip(names, arrays.values(), strict=True):
                group[name] = array
    return path


def keras_probability(layers: Layers, patches: np.ndarray) -> np.ndarray:
    """Return the second class's probability (N,) of patches (N, C, 11, 11, 11), layer by layer, in float64."""
    scores = np.exp(_scores(layers, patches))
    return scores[:, 1] / scores.sum(1)


def _scores(layers: Layers, patches: np.ndarray) -> np.ndarray:
    """Return what the softmax is of, (N, 2)."""
    x = patches.astype(np.float64)
    for block in BLOCKS:
        for name in block:
            number = name.removeprefix("conv")
            x = _same_convolution(x, layers[name]["kernel"]) + _per_channel(layers[name]["bias"])
            gamma, beta, mean, variance = (_per_channel(layers[f"bn_{number}"][one]) for one in NORM)
            x = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
            x = np.where(x > 0, x, layers[f"prelu_{name}"]["alpha"] * x)
        half = x.shape[-1] // 2
        x = x[..., : 2 * half, : 2 * half, : 2 * half].reshape(*x.shape[:2], half, 2, half, 2, half, 2).max((3, 5, 7))
    x = x.reshape(len(x), -1)
    for name in DENSE:
        x = x @ layers[name]["kernel"] + layers[name]["bias"]
        x = np.where(x > 0, x, layers[f"prelu_{name}"]["alpha"] * x)
    return x @ layers["out"]["kernel"] + layers["out"]["bias"]


def _per_channel(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)[:, None, None, None]


def _same_convolution(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate (N, C, P, P, P) with (3, 3, 3, C, F), zeros around."""
    size, padded = x.shape[-1], np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1), (1, 1)])
    result = np.zeros((len(x), kernel.shape[-1], size, size, size))
    for i, j, k in np.ndindex(3, 3, 3):
        result += np.einsum(
            "ncxyz,cf->nfxyz", padded[:, :, i : i + size, j : j + size, k : k + size], kernel[i, j, k], optimize=True
        )
    return result
