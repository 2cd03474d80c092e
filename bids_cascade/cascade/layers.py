"""One layer of a branch, evaluated at every voxel of a crop or at those that are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from bids_cascade.cascade.dense import max_pool
from bids_cascade.cascade.network import Block, add_residual
from bids_cascade.cascade.sparse import SparseMap

_ROWS_TO_CONVOLVE = 512
"""Voxels that are convolved at once where few are needed."""


@dataclass(frozen=True)
class Layer:
    """A convolution with its norm, a residual convolution, or a max-pool with its ReLU.

    Attributes
    ----------
    size, dilation : int
        Edge of its kernel or window, and the distance of neighbours in it.
    weight, bias : tensors or None
        Of a convolution; None for a pool.
    residual : bool
        Whether the convolution is added to its input.
    """

    size: int
    dilation: int
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    residual: bool = False

    @property
    def steps(self) -> range:
        """How far from a voxel of the result the voxels lie on which it depends, along each axis."""
        return range(0, self.size * self.dilation, self.dilation)

    def everywhere(self, x: torch.Tensor) -> torch.Tensor:
        """Map a crop (1, F, X, Y, Z) to (1, G, X', Y', Z'), shorter by the last of the steps."""
        if self.weight is None or self.bias is None:
            return max_pool(x, self.size, self.dilation).relu_()
        if self.residual:
            return add_residual(x, _convolve(x.relu(), self.weight, self.bias, self.dilation))
        return _convolve(x, self.weight, self.bias, self.dilation)

    def at(self, x: SparseMap, needed: torch.Tensor) -> SparseMap:
        """Map what is known of a crop to the result at the voxels where `needed`, (X', Y', Z') bool, is true."""
        if self.weight is None or self.bias is None:
            return x.pooled(needed, self.size, self.dilation)
        convolve = x.with_residual if self.residual else x.convolved
        return convolve(needed, self.weight, self.bias, self.dilation, _ROWS_TO_CONVOLVE)


def layers_of(
    blocks: Sequence[Block], kernel_size: int, dtype: torch.dtype, layout: torch.memory_format
) -> list[Layer]:
    """Return the layers of a branch, from its input on; the last is the pool of the last block."""
    layers, dilation = [], 1
    for block in blocks:
        for number, (weight, bias) in enumerate(block.folded()):
            weight, bias = weight.to(dtype).contiguous(memory_format=layout), bias.to(dtype)
            layers.append(Layer(kernel_size, dilation, weight, bias, residual=number > 0))
        layers.append(Layer(block.pool_size, dilation))
        dilation *= block.pool_size
    return layers


def _convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dilation: int) -> torch.Tensor:
    """Convolve without padding; on a CPU by oneDNN, which torch would not use for one tile of few channels."""
    if x.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return torch.mkldnn_convolution(x, weight, bias, (0, 0, 0), (1, 1, 1), (dilation,) * 3, 1)
    return functional.conv3d(x, weight, bias, dilation=dilation)
