"""The padded 3D CNN of nicMSlesions, and its engine.

Its convolutions pad each patch with zeros, and its PReLUs have one slope per element of a feature map: a voxel's
features depend on its position in the patch. Neighbouring patches therefore share only the products of the first
convolution, 5 % of the work, which take longer to fetch than to compute: the engine runs one patch after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from bids_cascade.cascade.inference import for_each
from bids_cascade.cascade.network import fold_norm
from bids_cascade.cascade.padded_weights import map_sizes
from bids_cascade.config import PaddedNetworkConfig

N_CLASSES = 2
KERAS_EPSILON = 1e-3
"""Added by Keras to the variances of a batch norm."""

_CPU_BATCH = 64
"""Patches at once on a CPU; 16 and 256 take a quarter longer each."""

_GPU_BATCH = 2048
_POOL = 2


class PaddedConvolution(nn.Module):
    """Zero-padded 3x3x3 convolution, batch norm, and PReLU with one slope per element."""

    def __init__(self, n_in: int, n_out: int, size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(n_in, n_out, 3, padding=1)
        self.norm = nn.BatchNorm3d(n_out, eps=KERAS_EPSILON)
        self.slope = nn.Parameter(torch.zeros(n_out, size, size, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, P, P, P) to (N, F, P, P, P)."""
        return prelu(self.norm(self.convolution(x)), self.slope)


class PaddedDense(nn.Module):
    """Dense layer and PReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.slope = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C) to (N, F)."""
        return prelu(self.linear(x), self.slope)


class PaddedNetwork(nn.Module):
    """The network of nicMSlesions: the probability that a patch's centre voxel is a lesion (Valverde et al. 2019).

    Two blocks of two padded convolutions and a max-pool of 2, then dense layers. This app evaluates it, but never
    trains it.

    Parameters
    ----------
    config : PaddedNetworkConfig

    Raises
    ------
    ValueError
        When nothing of a patch is left behind the blocks.
    """

    def __init__(self, config: PaddedNetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths, convolutions = (config.n_channels, *config.features), []
        *sizes, remaining = map_sizes(config)
        for (before, after), size in zip(pairwise(widths), sizes, strict=True):
            convolutions += [PaddedConvolution(before, after, size), PaddedConvolution(after, after, size)]
        self.convolutions = cast("Sequence[PaddedConvolution]", nn.ModuleList(convolutions))
        dense_widths = (widths[-1] * remaining**3, *config.dense)
        self.dense = cast("Sequence[PaddedDense]", nn.ModuleList(PaddedDense(a, b) for a, b in pairwise(dense_widths)))
        self.out = nn.Linear(dense_widths[-1], N_CLASSES)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map patches (N, C, P, P, P) to logits (N, 2) of no lesion and lesion."""
        x = patches
        for first, second in zip(self.convolutions[::2], self.convolutions[1::2], strict=True):
            x = functional.max_pool3d(second(first(x)), _POOL)
        x = x.flatten(1)
        for layer in self.dense:
            x = layer(x)
        return cast("torch.Tensor", self.out(x))


def prelu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Return x where it is positive and `slope` times x elsewhere."""
    return x.clamp_min(0) + x.clamp_max(0) * slope


@torch.inference_mode()
def padded_probability(
    network: PaddedNetwork,
    channels: NDArray[np.float32],
    voxels: NDArray[np.bool_],
    *,
    device: str = "cpu",
    half: bool = False,
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Return the lesion probability of the given voxels by a :class:`PaddedNetwork`, one patch each.

    Parameters
    ----------
    network : PaddedNetwork
    channels : (C, X, Y, Z) float32 array
        Normalised sequences; beyond the volume they continue with the values at its rim, where there is no brain.
    voxels : (X, Y, Z) bool array
        Voxels to evaluate.
    device : str
        A torch device.
    half : bool
        Compute in half precision, on a CPU in bfloat16.
    batch_size : int, optional
        Patches at once. Where they do not fit into a GPU's memory, there are half as many.

    Returns
    -------
    (X, Y, Z) float32 array
        Probability in [0, 1]; 0 where `voxels` is false.

    Raises
    ------
    ValueError
        When the shapes do not fit the network or each other.
    """
    n_channels, size = network.config.n_channels, network.config.patch_size
    if channels.ndim != 4 or channels.shape[0] != n_channels or channels.shape[1:] != voxels.shape:
        raise ValueError(
            f"expected channels ({n_channels}, X, Y, Z) and voxels (X, Y, Z), found {channels.shape} and {voxels.shape}"
        )
    on_cpu = torch.device(device).type == "cpu"
    short = torch.bfloat16 if on_cpu else torch.float16
    fast = _FastNetwork(network, device, short if half else torch.float32)
    padded = np.pad(channels, [(0, 0), *[(size // 2, size // 2)] * 3], mode="edge")
    windows = torch.from_numpy(padded).to(device, fast.dtype)
    for axis in (1, 2, 3):
        windows = windows.unfold(axis, size, 1)
    centres = np.argwhere(voxels)
    values = np.empty(len(centres), np.float32)

    @torch.inference_mode()
    def evaluate(batch: slice) -> None:
        x, y, z = torch.from_numpy(centres[batch].T.copy()).to(device)
        try:
            values[batch] = fast.probability(windows[:, x, y, z].transpose(0, 1)).float().cpu().numpy()
        except torch.OutOfMemoryError:
            if len(x) == 1:
                raise
        else:
            return
        middle = batch.start + len(x) // 2
        evaluate(slice(batch.start, middle))
        evaluate(slice(middle, batch.start + len(x)))

    step = batch_size or (_CPU_BATCH if on_cpu else _GPU_BATCH)
    for_each(evaluate, [slice(start, start + step) for start in range(0, len(centres), step)], device)
    probability = np.zeros(voxels.shape, np.float32)
    probability[voxels] = values
    return probability


class _FastNetwork:
    """A network's weights, arranged to evaluate many patches.

    Norms are folded into the convolutions, the channels of a voxel are contiguous on a CPU, and the second convolution
    of a block leaves out the last plane of each axis if the pool of an odd map does so.
    """

    def __init__(self, network: PaddedNetwork, device: str, dtype: torch.dtype) -> None:
        network = network.to(device).eval()
        self.device, self.dtype = device, dtype
        self.layout = torch.channels_last_3d if torch.device(device).type == "cpu" else torch.contiguous_format
        self.pooled = [size // _POOL for size in map_sizes(network.config)[:-1]]
        self.convolutions = []
        for number, layer in enumerate(network.convolutions):
            used = slice(self.pooled[number // 2] * _POOL if number % 2 else None)
            weight, bias = fold_norm(layer.convolution, layer.norm)
            parts = weight, layer.slope[None, :, used, used, used]
            kernel, slope = (part.to(dtype).contiguous(memory_format=self.layout) for part in parts)
            self.convolutions.append((kernel, bias.to(dtype), slope))
        self.dense = [
            (layer.linear.weight.t().to(dtype), layer.linear.bias.to(dtype), layer.slope.to(dtype))
            for layer in network.dense
        ]
        # Of two classes, the softmax is the sigmoid of the difference.
        self.weight = (network.out.weight[1] - network.out.weight[0]).to(dtype)
        self.bias = (network.out.bias[1] - network.out.bias[0]).to(dtype)

    def probability(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the lesion probability (N,) of patches (N, C, P, P, P)."""
        x = patches.contiguous(memory_format=self.layout)
        for number, pooled in enumerate(self.pooled):
            x = self._convolve(x, 2 * number, after=1)
            x = self._convolve(x, 2 * number + 1, after=pooled * _POOL + 1 - x.shape[2])
            x = _max_pool(x)
        x = x.flatten(1)
        for weight, bias, slope in self.dense:
            x = _prelu(torch.addmm(bias, x, weight), slope)
        return torch.sigmoid(x @ self.weight + self.bias)

    def _convolve(self, x: torch.Tensor, number: int, after: int) -> torch.Tensor:
        """Convolve with one plane of zeros before each axis, and `after` planes, 1 or 0, behind it."""
        kernel, bias, slope = self.convolutions[number]
        if after == 0:
            x = functional.pad(x, (1, 0) * 3).contiguous(memory_format=self.layout)
        return _prelu(functional.conv3d(x, kernel, bias, padding=after), slope)


def _prelu(x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """As :func:`prelu`, in one pass: each element is a channel of its own, in the order in which it is stored."""
    if x.ndim == 2 or x.is_contiguous():
        return functional.prelu(x.flatten(1), slope.flatten()).view(x.shape)
    rows, slopes = x.permute(0, 2, 3, 4, 1), slope.permute(0, 2, 3, 4, 1)
    return functional.prelu(rows.flatten(1), slopes.flatten()).view(rows.shape).permute(0, 4, 1, 2, 3)


def _max_pool(x: torch.Tensor) -> torch.Tensor:
    """Return the maxima of blocks of 2x2x2, of maps with even edges; 10 times faster than torch's own on a CPU."""
    for axis in (2, 3, 4):
        x = torch.maximum(*(x[(*[slice(None)] * axis, slice(first, None, 2))] for first in (0, 1)))
    return x
