"""The network as matrix products, for training on a CPU.

Small patches of few channels suit torch's 3D convolution, batch norm and pooling badly on a CPU: most of a step goes
into moving data. Here a feature map is a matrix with a row a voxel and a column a channel. A convolution is one matrix
product with the voxels' neighbourhoods (Chellapilla et al. 2006, hal inria-00112631). Its rows come in the order in
which they are pooled: first those of the first voxel of every pooling cube, then those of the second, so that norm,
pool and ReLU, and their gradient, are a few operations on whole blocks of memory.

Values and gradients equal those of :meth:`bids_cascade.cascade.network.PatchNetwork.forward` to rounding.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch

from bids_cascade.cascade.network import Block, PatchNetwork

_MANY_CHANNELS = 8
"""From so many channels on, a voxel's channels are a run long enough to be copied fast."""

_TINY = 1e-12


def forward_rows(network: PatchNetwork, patches: torch.Tensor) -> torch.Tensor:
    """Map patches (N, C, P, P, P) to logits (N, 2) as the network itself does, in training and in evaluation."""
    used = slice(network.receptive_field)
    x = patches[:, :, used, used, used].permute(0, 2, 3, 4, 1)
    for block in network.blocks:
        if isinstance(block, Block):
            x = _block(block, x)
    return network.classify(x.permute(0, 4, 1, 2, 3).flatten(1))


def _block(block: Block, x: torch.Tensor) -> torch.Tensor:
    """Map (N, P, P, P, C) to (N, Q, Q, Q, F)."""
    convolution, norm, pool = block.convolution, block.norm, block.pool_size
    size = convolution.kernel_size[0]
    neighbourhoods: torch.Tensor = _Neighbourhoods.apply(x, size, pool)  # type: ignore[no-untyped-call]
    weight, bias = (convolution.weight, convolution.bias) if norm.training else block.folded()
    rows = neighbourhoods @ weight.permute(2, 3, 4, 1, 0).reshape(-1, convolution.out_channels)
    rows = rows if bias is None else rows.add_(bias)
    pooled: torch.Tensor
    if norm.training:
        pooled = _NormPool.apply(rows, norm.weight, norm.bias, norm, pool**3)  # type: ignore[no-untyped-call]
    else:
        pooled = _largest(rows, pool**3).relu_()
    left = (x.shape[1] - size + 1) // pool
    return pooled.view(len(x), left, left, left, -1)


class _Neighbourhoods(torch.autograd.Function):
    """Map (N, P, P, P, C) to the rows (pool^3 * N * Q^3, size^3 * C) that a convolution multiplies."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, size: int, pool: int) -> torch.Tensor:
        ctx.shape, ctx.size, ctx.pool = x.shape, size, pool
        n, edge, _, _, channels = x.shape
        pooled = (edge - size + 1) // pool
        if channels >= _MANY_CHANNELS:
            windows = x.unfold(1, size, 1).unfold(2, size, 1).unfold(3, size, 1)
            for axis in (3, 2, 1):
                windows = windows.unflatten(axis, (pooled, pool))  # type: ignore[no-untyped-call]
            return windows.permute(2, 4, 6, 0, 1, 3, 5, 8, 9, 10, 7).reshape(-1, size**3 * channels)
        # With few channels, long runs are only found along the voxels. Neighbour i of the voxel j of a cube depends on
        # i + j alone: collect these parts once, each in one run, then lay them side by side.
        parts = x.new_empty(*[size + pool - 1] * 3, channels, n, *[pooled] * 3)
        for i, j, k in product(range(size + pool - 1), repeat=3):
            a, b, c = (slice(start, start + pooled * pool, pool) for start in (i, j, k))
            parts[i, j, k] = x[:, a, b, c].permute(4, 0, 1, 2, 3)
        columns = parts.unfold(0, pool, 1).unfold(1, pool, 1).unfold(2, pool, 1)
        return columns.permute(0, 1, 2, 3, 8, 9, 10, 4, 5, 6, 7).reshape(size**3 * channels, -1).t()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        if not ctx.needs_input_grad[0]:
            return None, None, None
        n, edge, _, _, channels = ctx.shape
        size, pool = ctx.size, ctx.pool
        left = edge - size + 1
        columns = gradients[0].view(*[pool] * 3, n, *[left // pool] * 3, *[size] * 3, channels)
        x = gradients[0].new_zeros(ctx.shape)
        for i, j, k in product(range(size), repeat=3):
            part = columns[..., i, j, k, :].permute(3, 4, 0, 5, 1, 6, 2, 7)
            x[:, i : i + left, j : j + left, k : k + left] += part.reshape(n, left, left, left, channels)
        return x, None, None


class _NormPool(torch.autograd.Function):
    """Batch norm, max-pool and ReLU of rows (K * M, F), each K-th part of which holds one voxel of every cube: (M, F).

    Only the maxima have a gradient from above, so that the sums over all rows which the norm's gradient needs (Ioffe
    and Szegedy 2015, arXiv 1502.03167, section 3) are sums over the maxima.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, norm: torch.nn.BatchNorm3d, n_parts: int
    ) -> torch.Tensor:
        normed, mean, inverse_sd = torch.native_batch_norm(
            rows, scale, shift, norm.running_mean, norm.running_var, True, norm.momentum or 0.0, norm.eps
        )
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        pooled = _largest(normed, n_parts).relu_()
        ctx.save_for_backward(rows, normed, pooled, scale, shift, mean, inverse_sd)
        ctx.n_parts = n_parts
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, normed, pooled, scale, shift, mean, inverse_sd = ctx.saved_tensors
        gradient = torch.where(pooled > 0, gradients[0], 0)
        for_shift = gradient.sum(0)
        at_maximum = (pooled - shift) / torch.where(scale.abs() < _TINY, _TINY, scale)
        for_scale = (gradient * at_maximum).sum(0)
        slope = -scale * inverse_sd**2 * for_scale / len(rows)
        level = -scale * inverse_sd * for_shift / len(rows) - slope * mean
        gradient *= scale * inverse_sd
        for_rows = torch.empty_like(rows)
        parts = (tensor.chunk(ctx.n_parts) for tensor in (rows, normed, for_rows))
        for row, value, result in zip(*parts, strict=True):
            torch.addcmul(level, row, slope, out=result)
            result += torch.where(value == pooled, gradient, 0)
        return for_rows, for_scale, for_shift, None, None


def _largest(rows: torch.Tensor, n_parts: int) -> torch.Tensor:
    """Return the largest of rows (K * M, F) over their K parts: (M, F)."""
    first, *others = rows.chunk(n_parts)
    largest = first.clone()
    for part in others:
        largest = torch.maximum(largest, part)
    return largest
