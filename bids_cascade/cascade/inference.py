"""Two inference engines with one result: patch by patch, or whole tiles at once.

Patch-wise inference is the definition, and slow: neighbouring patches share almost all of their arithmetic, which dense
inference computes once (:mod:`bids_cascade.cascade.dense`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from bids_cascade.cascade.dense import DenseFeatures, coarse_cells
from bids_cascade.cascade.layers import Layer, layers_of
from bids_cascade.cascade.network import PatchNetwork
from bids_cascade.cascade.patches import Box, coarsen, gather_patches, read_crop
from bids_cascade.cascade.sparse import SparseFeatures, SparseMap, reached

Volume = NDArray[np.float32]
BoolVolume = NDArray[np.bool_]
_Part = TypeVar("_Part")

TILE_SIZE = 40
"""Edge in voxels of a tile's output on a CPU: larger ones exceed the cache, smaller ones have larger margins."""

_ROWS = 2048
"""Voxels of a tile that pass the dense layers at once on a CPU, so that they stay in the cache."""

_MOST_NEEDED = 0.75
"""Fraction of a tile's voxels up to which, on a CPU, they are convolved one by one: each costs a quarter more."""

_LARGEST_TILE = 160
_BYTES_PER_FEATURE = 16
"""Memory of one feature of one voxel on a GPU, temporary tensors included: a generous estimate."""


@torch.inference_mode()
def patchwise_probability(
    network: PatchNetwork, channels: Volume, voxels: BoolVolume, *, device: str = "cpu", batch_size: int = 1024
) -> Volume:
    """Return the lesion probability of the given voxels, one patch each: the reference implementation.

    Parameters
    ----------
    network : PatchNetwork
    channels : (C, X, Y, Z) float32 array
        Normalised sequences; 0 beyond the volume.
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
    centres, config = np.argwhere(voxels), network.config
    coarse = [coarsen(channels, scale) for scale in config.scales]
    for start in range(0, len(centres), batch_size):
        batch = centres[start : start + batch_size]
        patches = [
            gather_patches(volume, batch // scale, config.patch_size)
            for volume, scale in zip(coarse, config.scales, strict=True)
        ]
        logits = network(torch.from_numpy(np.stack(patches, axis=1)).to(device))
        probability[tuple(batch.T)] = logits.softmax(1)[:, 1].cpu().numpy()
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

    Errors are those of :func:`patchwise_probability`, as are the parameters whose description is not repeated here.

    Parameters
    ----------
    network : PatchNetwork
    channels : (C, X, Y, Z) float32 array
    voxels : (X, Y, Z) bool array
    device : str
    tile_size : int, optional
        Edge in voxels of a tile, by default what fits the CPU's cache or the GPU's free memory. The result depends on
        it by rounding only. A tile that does not fit into memory is split.
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
    coarse = {scale: coarsen(channels, scale) for scale in network.config.scales}

    @torch.inference_mode()
    def evaluate(box: Box) -> None:
        inside = voxels[box]
        if not inside.any():
            return
        try:
            values = dense.probability(dense.read(channels, coarse, box), np.argwhere(inside))
        except torch.OutOfMemoryError:
            if max(edge.stop - edge.start for edge in box) <= dense.alignment:
                raise
        else:
            probability[box][inside] = values
            return
        for half_box in _halves(box, dense.alignment):
            evaluate(half_box)

    for_each(evaluate, list(_tiles(voxels, tile_size, dense.alignment)), device)
    return probability


def for_each(evaluate: Callable[[_Part], None], parts: Sequence[_Part], device: str) -> None:
    """Evaluate parts; on a CPU in parallel, one thread each, so that no thread waits for another."""
    n_threads = torch.get_num_threads()
    if device != "cpu" or n_threads == 1:
        for part in parts:
            evaluate(part)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(evaluate, parts):
                pass
    finally:
        torch.set_num_threads(n_threads)


def _fitting_tile_size(network: PatchNetwork, device: str) -> int:
    """Return the edge of a tile whose feature maps fit into half of the device's free memory."""
    if torch.device(device).type != "cuda":
        return TILE_SIZE
    free, _ = torch.cuda.mem_get_info(device)
    features = max(network.config.n_channels, *network.config.features, *network.config.dense)
    edge = int((free / 2 / (_BYTES_PER_FEATURE * features)) ** (1 / 3))
    return min(max(edge - network.receptive_field, 1), _LARGEST_TILE)


def _halves(box: Box, alignment: int) -> list[Box]:
    """Return the halves of a box, cut across its longest edge at a multiple of `alignment` voxels from its start."""
    axis = max(range(3), key=lambda axis: box[axis].stop - box[axis].start)
    start, stop = box[axis].start, box[axis].stop
    middle = start + -(-(stop - start) // (2 * alignment)) * alignment
    first, second = list(box), list(box)
    first[axis], second[axis] = slice(start, middle), slice(middle, stop)
    return [(first[0], first[1], first[2]), (second[0], second[1], second[2])]


def _check_shapes(network: PatchNetwork, channels: Volume, voxels: BoolVolume) -> None:
    if channels.ndim != 4 or channels.shape[0] != network.config.n_channels or channels.shape[1:] != voxels.shape:
        raise ValueError(
            f"expected channels ({network.config.n_channels}, X, Y, Z) and voxels (X, Y, Z), "
            f"found {channels.shape} and {voxels.shape}"
        )


def _tiles(voxels: BoolVolume, tile_size: int, alignment: int) -> Iterator[Box]:
    """Yield boxes of at most `tile_size` voxels an axis (or `alignment`) that together hold all true voxels.

    Each is shrunk to its true voxels, in steps, so that there are few shapes: kernels are compiled for each new shape.
    All start at multiples of `alignment`; a box may reach beyond the volume.
    """
    tile_size = max(tile_size // alignment, 1) * alignment
    step = max(1, tile_size // 4 // alignment) * alignment
    for corner in product(*(range(0, size, tile_size) for size in voxels.shape)):
        positions = np.argwhere(voxels[tuple(slice(start, start + tile_size) for start in corner)])
        if len(positions):
            low = positions.min(axis=0) // alignment * alignment
            sizes = np.minimum(-(-(positions.max(axis=0) + 1 - low) // step) * step, tile_size)
            x, y, z = (slice(int(a), int(a + size)) for a, size in zip(low + corner, sizes, strict=True))
            yield x, y, z


class _DenseNetwork:
    """A network's weights, arranged to evaluate whole tiles.

    On a CPU the channels of a voxel are contiguous, so that oneDNN convolves without moving data, and the features of a
    voxel's patch are gathered in runs.
    """

    def __init__(self, network: PatchNetwork, device: str, dtype: torch.dtype) -> None:
        self.config = config = network.config
        network = network.to(device).eval()
        self.device, self.dtype = device, dtype
        self.layout = torch.channels_last_3d if device == "cpu" else torch.contiguous_format
        self.n_rows = _ROWS if device == "cpu" else _LARGEST_TILE**3
        self.alignment = math.lcm(*config.scales)
        self.before, self.after, self.remaining_size = network.before, network.after, network.remaining_size
        self.branches = [layers_of(branch, config.kernel_size, dtype, self.layout) for branch in network.branches]
        layers = [(layer.weight.to(dtype), layer.bias.to(dtype)) for layer in network.dense]
        *self.hidden, (last, last_bias) = layers
        # Of two classes, the softmax is the sigmoid of the difference.
        self.hidden.append(((last[1] - last[0])[None], (last_bias[1] - last_bias[0])[None]))

    def read(self, channels: Volume, coarse: Mapping[int, Volume], box: Box) -> list[Volume]:
        """Return the input of the branches for a box, given the channels at all scales."""
        return read_crop(channels, box, self.config.scales, (self.before, self.after), coarse)

    def probability(self, tiles: Sequence[Volume], voxels: NDArray[np.intp]) -> Volume:
        """Return the lesion probability (N,) at voxels (N, 3) of a box; `tiles` is the input of the branches."""
        (first, bias), *others = self.hidden
        places = torch.from_numpy(np.pad(voxels, ((0, 0), (1, 0)))).to(self.device)
        of_voxels, of_cells = [], []
        for scale, layers, tile, weight in zip(
            self.config.scales, self.branches, tiles, first.chunk(len(self.branches), 1), strict=True
        ):
            cells, cell_of = coarse_cells(places, scale)
            features = self._features(layers, tile, cells)
            if scale == 1:
                of_voxels.append((features, weight.t()))
            else:
                of_cells.append((features.at(cells) @ weight.t(), cell_of))
        logits = []
        for start in range(0, len(places), self.n_rows):
            rows_now = slice(start, start + self.n_rows)
            rows = bias.expand(len(places[rows_now]), -1)
            for features, weights in of_voxels:
                rows = torch.addmm(rows, features.at(places[rows_now]), weights)
            for part, cell_of in of_cells:
                rows = rows + part.index_select(0, cell_of[rows_now])
            for weight, shift in others:
                rows = torch.addmm(shift, rows.relu_(), weight.t())
            logits.append(rows[:, 0])
        probability: Volume = torch.sigmoid(torch.cat(logits).float()).cpu().numpy()
        return probability

    def _features(self, layers: Sequence[Layer], tile: Volume, cells: torch.Tensor) -> DenseFeatures | SparseFeatures:
        """Return the features of a branch's tile, at these cells (K, 4) at least."""
        pool, left = layers[-1], self.remaining_size
        stride = pool.size * pool.dilation
        x = torch.from_numpy(tile)[None].to(self.device, self.dtype).contiguous(memory_format=self.layout)
        needed = _needed(layers, x.shape[2:], cells, range(0, left * stride, stride)) if self.device == "cpu" else []
        n_dense = len(layers) - len(needed)
        for layer in layers[:n_dense]:
            x = layer.everywhere(x)
        if not needed:
            return DenseFeatures(x, left, stride)
        known = SparseMap.of(x)
        for layer, here in zip(layers[n_dense:-1], needed[:-1], strict=True):
            known = layer.at(known, here)
        return SparseFeatures(known, pool_size=pool.size, dilation=pool.dilation, size=left, stride=stride)


def _needed(
    layers: Sequence[Layer], shape: Sequence[int], cells: torch.Tensor, left: Sequence[int]
) -> list[torch.Tensor]:
    """Return where the results of the last layers are needed, from a convolution on that few voxels need; else none.

    Parameters
    ----------
    layers : sequence of Layer
        Of a branch; its first convolution is for all voxels.
    shape : sequence of int
        Of its input.
    cells : (K, 4) int64 tensor
        Index of the crop, 0, and where in it a patch begins.
    left : sequence of int
        How far from there the patch's features lie, along each axis.
    """
    reach = sum(layer.steps[-1] for layer in layers) + left[-1]
    begins = torch.zeros([size - reach for size in shape], dtype=torch.bool, device=cells.device)
    begins[cells[:, 1], cells[:, 2], cells[:, 3]] = True
    needed, n_sparse = [reached(begins, left)], 0
    for layer in reversed(layers[1:]):
        here = needed[0]
        if layer.weight is not None:
            if here.count_nonzero() > _MOST_NEEDED * here.numel():
                break
            n_sparse = len(needed)
        needed.insert(0, reached(here, layer.steps))
    return needed[len(needed) - n_sparse :]
