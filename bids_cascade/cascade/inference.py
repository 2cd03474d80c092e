"""Two engines, one truth: the network on every voxel's patch, or on whole tiles at once.

Patch-wise inference is the definition and is slow: neighbouring patches share almost all of their arithmetic. Dense
inference computes what they share once. A max-pool of stride p, seen from every patch at once, is a max-pool of stride
1 behind which all layers are dilated by p (Giusti et al. 2013, doi 10.1109/ICIP.2013.6738831).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from bids_cascade.cascade.network import Block, PatchNetwork
from bids_cascade.cascade.patches import gather_patches

Volume = NDArray[np.float32]
BoolVolume = NDArray[np.bool_]
Box = tuple[slice, slice, slice]
Engine = Callable[[PatchNetwork, Volume, BoolVolume], Volume]

TILE_SIZE = 32
"""Edge in voxels of a tile's output on a CPU: its feature maps stay in the cache."""

_LARGEST_TILE = 160
_BYTES_PER_FEATURE = 16
"""What one feature of one voxel takes on a GPU, with what is there meanwhile: generous."""


@torch.inference_mode()
def patchwise_probability(
    network: PatchNetwork, channels: Volume, voxels: BoolVolume, *, device: str = "cpu", batch_size: int = 1024
) -> Volume:
    """Return the lesion probability of the given voxels, one patch each: the plain reference.

    Parameters
    ----------
    network : PatchNetwork
    channels : (C, X, Y, Z) float32 array
        Normalised sequences; what lies beyond counts as 0.
    voxels : (X, Y, Z) bool array
        Voxels to evaluate.
    device : str
        A torch device.
    batch_size : int
        Patches at once.

    Returns
    -------
    (X, Y, Z) float32 array
        Probability in [0, 1]; 0 where `voxels` is false.

    Raises
    ------
    ValueError
        When the shapes do not fit the network or each other.
    """
    _check_shapes(network, channels, voxels)
    network = network.to(device).eval()
    probability = np.zeros(voxels.shape, np.float32)
    centres = np.argwhere(voxels)
    for start in range(0, len(centres), batch_size):
        batch = centres[start : start + batch_size]
        patches = torch.from_numpy(gather_patches(channels, batch, network.config.patch_size)).to(device)
        probability[tuple(batch.T)] = network(patches).softmax(1)[:, 1].cpu().numpy()
    return probability


@torch.inference_mode()
def dense_probability(
    network: PatchNetwork,
    channels: Volume,
    voxels: BoolVolume,
    *,
    device: str = "cpu",
    tile_size: int | None = None,
    half: bool = False,
) -> Volume:
    """Return the lesion probability of the given voxels, a tile at a time: equal to the reference, and fast.

    Parameters and errors are those of :func:`patchwise_probability`, but for these.

    Parameters
    ----------
    tile_size : int, optional
        Edge in voxels of what is computed at once, by default what fits the CPU's cache or the GPU's free memory. The
        result does not depend on it beyond rounding. A tile that does not fit into memory is split.
    half : bool
        Compute in half precision, on a CPU in bfloat16: faster where the processor has it, and equal to about 1e-3 on a
        GPU and 1e-2 on a CPU only.
    """
    _check_shapes(network, channels, voxels)
    tile_size = _fitting_tile_size(network, device) if tile_size is None else tile_size
    if tile_size < 1:
        raise ValueError(f"the tile size is {tile_size}; expected at least 1 voxel")
    short = torch.bfloat16 if device == "cpu" else torch.float16
    dense = _DenseNetwork(network, device, short if half else torch.float32)
    probability = np.zeros(voxels.shape, np.float32)
    waiting = list(_tiles(voxels, tile_size))
    while waiting:
        box = waiting.pop()
        inside = voxels[box]
        if not inside.any():
            continue
        try:
            found = dense.probability(_read_box(channels, box, dense.before, dense.after), np.argwhere(inside))
        except torch.OutOfMemoryError:
            if max(edge.stop - edge.start for edge in box) == 1:
                raise
            waiting += _halves(box)
        else:
            probability[box][inside] = found
    return probability


def _fitting_tile_size(network: PatchNetwork, device: str) -> int:
    """Return the edge of a tile whose feature maps fit into half of what is free on the device."""
    if torch.device(device).type != "cuda":
        return TILE_SIZE
    free, _ = torch.cuda.mem_get_info(device)
    features = max(network.config.n_channels, *network.config.features, *network.config.dense)
    edge = int((free / 2 / (_BYTES_PER_FEATURE * features)) ** (1 / 3))
    return min(max(edge - network.receptive_field, 1), _LARGEST_TILE)


def _halves(box: Box) -> list[Box]:
    """Return the two halves of a box, cut across its longest edge."""
    axis = max(range(3), key=lambda axis: box[axis].stop - box[axis].start)
    middle = (box[axis].start + box[axis].stop) // 2
    first, second = list(box), list(box)
    first[axis], second[axis] = slice(box[axis].start, middle), slice(middle, box[axis].stop)
    return [(first[0], first[1], first[2]), (second[0], second[1], second[2])]


def _check_shapes(network: PatchNetwork, channels: Volume, voxels: BoolVolume) -> None:
    if channels.ndim != 4 or channels.shape[0] != network.config.n_channels or channels.shape[1:] != voxels.shape:
        raise ValueError(
            f"expected channels ({network.config.n_channels}, X, Y, Z) and voxels (X, Y, Z), "
            f"found {channels.shape} and {voxels.shape}"
        )


def _tiles(voxels: BoolVolume, tile_size: int) -> Iterator[Box]:
    """Yield boxes of at most `tile_size` voxels an axis that together hold all true voxels.

    Each is shrunk to what is true in it, in steps, so that there are few different shapes: the kernels of each new
    shape are compiled before they first run. A box may reach beyond the volume.
    """
    step = max(1, tile_size // 4)
    for corner in product(*(range(0, size, tile_size) for size in voxels.shape)):
        found = np.argwhere(voxels[tuple(slice(start, start + tile_size) for start in corner)])
        if len(found):
            low = found.min(axis=0)
            sizes = np.minimum(-(-(found.max(axis=0) + 1 - low) // step) * step, tile_size)
            x, y, z = (slice(int(a), int(a + size)) for a, size in zip(low + corner, sizes, strict=True))
            yield x, y, z


def _read_box(channels: Volume, box: Box, before: int, after: int) -> Volume:
    """Return the channels in the box widened by `before` and `after` voxels; zeros beyond the volume."""
    starts = [edge.start - before for edge in box]
    stops = [edge.stop + after for edge in box]
    inside = tuple(slice(max(a, 0), max(b, 0)) for a, b in zip(starts, stops, strict=True))
    part = channels[(slice(None), *inside)]
    margins = [(max(-a, 0), max(b - size, 0)) for a, b, size in zip(starts, stops, channels.shape[1:], strict=True)]
    return np.pad(part, [(0, 0), *margins]).astype(np.float32, copy=False)


class _DenseNetwork:
    """A network's weights as they are needed to evaluate whole tiles.

    On a CPU the channels of a voxel lie side by side: so oneDNN convolves without moving data, and what a voxel's patch
    leaves behind the last block is gathered in runs.
    """

    def __init__(self, network: PatchNetwork, device: str, dtype: torch.dtype) -> None:
        config = network.config
        network = network.to(device).eval()
        self.device, self.dtype = device, dtype
        self.layout = torch.channels_last_3d if device == "cpu" else torch.contiguous_format
        self.before = config.patch_size // 2
        self.after = network.receptive_field - 1 - self.before
        self.pool_size = config.pool_size
        folded = [block.folded() for block in network.blocks if isinstance(block, Block)]
        self.convolutions = [
            (weight.to(dtype).contiguous(memory_format=self.layout), bias.to(dtype)) for weight, bias in folded
        ]
        layers = [(layer.weight, layer.bias) for layer in network.dense if isinstance(layer, nn.Linear)]
        first, first_bias = layers[0]
        # The features of a place together, place after place.
        layers[0] = (first.view(len(first), config.features[-1], -1).transpose(1, 2).flatten(1), first_bias)
        self.dense = [(weight.to(dtype), bias.to(dtype)) for weight, bias in layers]
        steps = config.pool_size ** len(config.features) * np.arange(network.remaining_size)
        self.offsets = np.array(list(product(steps, repeat=3)))

    def probability(self, tile: Volume, voxels: NDArray[np.intp]) -> Volume:
        """Return the lesion probability (N,) at voxels (N, 3) of what a tile (C, X, Y, Z) has within its margins."""
        *hidden, (last_weight, last_bias) = self.dense
        x = torch.from_numpy(tile)[None].to(self.device, self.dtype)
        rows = self._gather(self._features(x.contiguous(memory_format=self.layout)), voxels)
        for weight, bias in hidden:
            rows = torch.addmm(bias, rows, weight.t()).relu_()
        # Of two classes, the softmax is the sigmoid of the difference.
        logits = rows @ (last_weight[1] - last_weight[0]) + (last_bias[1] - last_bias[0])
        found: Volume = torch.sigmoid(logits.float()).cpu().numpy()
        return found

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last block's features (..., F) at every voxel of a tile (1, C, ...)."""
        dilation = 1
        for weight, bias in self.convolutions:
            x = _max_pool(_convolve(x, weight, bias, dilation), self.pool_size, dilation).relu_()
            dilation *= self.pool_size
        return x[0].permute(1, 2, 3, 0)

    def _gather(self, features: torch.Tensor, voxels: NDArray[np.intp]) -> torch.Tensor:
        """Return what a patch around each voxel would leave behind the last block: (N, size^3 * F)."""
        x, y, z = (voxels[:, None] + self.offsets).transpose(2, 0, 1)
        flat = torch.from_numpy(np.ravel_multi_index((x, y, z), tuple(features.shape[:3])).ravel())
        return features.flatten(0, 2).index_select(0, flat.to(self.device)).view(len(voxels), -1)


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dilation: int) -> torch.Tensor:
    """Convolve without padding; on a CPU by oneDNN, to which torch would not turn for one tile of few channels."""
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return torch.mkldnn_convolution(x, weight, bias, (0, 0, 0), (1, 1, 1), (dilation,) * 3, 1)
    return functional.conv3d(x, weight, bias, dilation=dilation)


def _max_pool(x: torch.Tensor, size: int, dilation: int) -> torch.Tensor:
    """Max-pool with stride 1, one axis after the other: 5 times faster than torch's own, which is not separable."""
    for axis in (2, 3, 4):
        length = x.shape[axis] - (size - 1) * dilation
        pooled = x.narrow(axis, 0, length)
        for step in range(1, size):
            pooled = torch.maximum(pooled, x.narrow(axis, step * dilation, length))
        x = pooled
    return x
