"""The patch-wise 3D CNN of one stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from bids_cascade.cascade.dense import coarse_cells, gather, max_pool
from bids_cascade.config import NetworkConfig

N_CLASSES = 2


class Block(nn.Module):
    """Unpadded convolution and batch norm, residual convolutions, max-pool and ReLU (which commutes with the pool).

    A residual convolution adds to a feature map what it makes of the map's positive part (He et al. 2016,
    arXiv:1603.05027); it begins at zero, and so changes nothing before it is trained.
    """

    def __init__(self, n_in: int, n_out: int, config: NetworkConfig) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(n_in, n_out, config.kernel_size)
        self.norm = nn.BatchNorm3d(n_out)
        residuals = [nn.Conv3d(n_out, n_out, config.kernel_size) for _ in range(config.convolutions - 1)]
        for parameter in (parameter for residual in residuals for parameter in residual.parameters()):
            nn.init.zeros_(parameter)
        self.residuals = cast("Sequence[nn.Conv3d]", nn.ModuleList(residuals))
        self.pool_size = config.pool_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, P, P, P) to (N, F, Q, Q, Q): each convolution takes ``kernel_size - 1``, the pool divides."""
        x = self.norm(self.convolution(x))
        for residual in self.residuals:
            x = add_residual(x, residual(x.relu()))
        return nn.functional.max_pool3d(x, self.pool_size).relu()

    def at_every_voxel(self, x: torch.Tensor, dilation: int) -> torch.Tensor:
        """Return :meth:`forward` of the patches around all voxels, given the joint stride of the pools before it."""
        x = nn.functional.conv3d(x, self.convolution.weight, self.convolution.bias, dilation=dilation)
        x = self.norm(x)
        for residual in self.residuals:
            added = nn.functional.conv3d(x.relu(), residual.weight, residual.bias, dilation=dilation)
            x = add_residual(x, added)
        return max_pool(x, self.pool_size, dilation).relu()

    def folded(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return weight and bias of each convolution; the first also does what the norm does in evaluation."""
        residuals = ((layer.weight, cast("torch.Tensor", layer.bias)) for layer in self.residuals)
        return [fold_norm(self.convolution, self.norm), *residuals]


def add_residual(x: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """Return the central part of a map (N, F, X, Y, Z) plus a smaller map."""
    for axis in (2, 3, 4):
        margin = x.shape[axis] - added.shape[axis]
        x = x.narrow(axis, margin // 2, added.shape[axis])
    return x + added


def fold_norm(convolution: nn.Conv3d, norm: nn.BatchNorm3d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight and bias of one convolution that does what convolution and norm do in evaluation."""
    bias = convolution.bias
    if norm.running_mean is None or norm.running_var is None or bias is None:
        raise ValueError("expected a convolution with a bias and a batch norm with running statistics")
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None, None], (bias - norm.running_mean) * scale + norm.bias


class PatchNetwork(nn.Module):
    """Probability that the centre voxel of a patch is a lesion, given its surroundings (Valverde et al. 2017, fig. 2).

    Beside the published branch of blocks, which sees the patch in the grid's own voxels, other branches see its
    surroundings in coarser voxels (as in Kamnitsas et al. 2017, doi 10.1016/j.media.2016.10.004): as many voxels, each
    the mean of ``scale**3`` of the grid's, around the coarse voxel that contains the centre. Unlike the published
    network, patches are not padded: a voxel's features do not depend on its position in the patch, and a whole volume
    can be evaluated at once (:func:`bids_cascade.cascade.inference.dense_probability`).

    Parameters
    ----------
    config : NetworkConfig

    Attributes
    ----------
    receptive_field : int
        Edge of a branch's input, in voxels of its scale.
    before, after : int
        How far it reaches from the centre voxel.

    Raises
    ------
    ValueError
        When the patch size is even, or too small for the blocks, or the scales are not distinct whole numbers.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.patch_size % 2 == 0:
            raise ValueError(f"the patch size is {config.patch_size}; a patch with a centre voxel has an odd size")
        if config.convolutions > 1 and config.kernel_size % 2 == 0:
            raise ValueError(f"the kernel size is {config.kernel_size}; a residual convolution has an odd one")
        if not config.scales or min(config.scales) < 1 or len(set(config.scales)) < len(config.scales):
            raise ValueError(f"the scales are {config.scales}; expected different whole numbers above 0")
        self.config = config
        self.receptive_field = receptive_field(config)
        self.remaining_size = remaining_size(config)
        self.before = config.patch_size // 2
        self.after = self.receptive_field - 1 - self.before
        widths = (config.n_channels, *config.features)
        branches = (nn.ModuleList(Block(a, b, config) for a, b in pairwise(widths)) for _ in config.scales)
        self.branches = cast("Sequence[Sequence[Block]]", nn.ModuleList(branches))
        n_features = len(config.scales) * widths[-1] * self.remaining_size**3
        dense_widths = (n_features, *config.dense, N_CLASSES)
        self.dense = cast("Sequence[nn.Linear]", nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dense_widths)))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map patches (N, S, C, P, P, P), one of each scale, to logits (N, 2) of no lesion and lesion."""
        used = slice(self.receptive_field)
        features = []
        for branch, x in zip(self.branches, patches[..., used, used, used].unbind(1), strict=True):  # (N, C, R, R, R)
            for block in branch:
                x = block(x)  # (N, F, Q, Q, Q)
            features.append(x.flatten(1))  # (N, F * Q^3)
        x = torch.cat(features, 1)  # (N, S * F * Q^3)
        for layer in self.dense[:-1]:
            x = layer(self.dropout(x)).relu()  # (N, D)
        return cast("torch.Tensor", self.dense[-1](x))  # (N, 2)

    def forward_crops(self, crops: Sequence[torch.Tensor], voxels: torch.Tensor) -> torch.Tensor:
        """Return the logits (M, 2) of voxels of crops: :meth:`forward` of the patches around them.

        Parameters
        ----------
        crops : sequence of (N, C, X, Y, Z) tensors
            Of each scale, the crops and :attr:`before` and :attr:`after` voxels of that scale around them. Crops begin
            at multiples of all scales.
        voxels : (M, 4) int64 tensor
            Which crop, and where in it.
        """
        first, *others = self.dense
        parts = []
        weights = first.weight.chunk(len(self.branches), 1)  # S of (D, F * Q^3)
        for scale, branch, weight, x in zip(self.config.scales, self.branches, weights, crops, strict=True):
            dilation = 1
            for block in branch:
                x = block.at_every_voxel(x, dilation)  # (N, F, X', Y', Z')
                dilation *= self.config.pool_size
            cells, cell_of = coarse_cells(voxels, scale)  # (K, 4), (M,): K cells of this scale hold the M voxels
            features = gather(x, cells, self.remaining_size, dilation)  # (K, F * Q^3)
            products = (self.dropout(features) if others else features) @ weight.t()  # (K, D)
            parts.append(products.index_select(0, cell_of))  # (M, D)
        x = torch.stack(parts).sum(0) + first.bias  # (M, D)
        for layer in others:
            x = layer(x.relu() if layer is others[-1] else self.dropout(x.relu()))
        return x  # (M, 2)


def remaining_size(config: NetworkConfig) -> int:
    """Return the edge of a patch's feature map after the last block.

    Raises
    ------
    ValueError
        When the patch is too small for the blocks.
    """
    size = config.patch_size
    for _ in config.features:
        size = (size - config.convolutions * (config.kernel_size - 1)) // config.pool_size
    if size < 1:
        raise ValueError(f"a patch of {config.patch_size} voxels is too small for {len(config.features)} blocks")
    return size


def receptive_field(config: NetworkConfig) -> int:
    """Return the edge in voxels of the receptive field, counted from the patch's first voxel."""
    field = remaining_size(config)
    for _ in config.features:
        field = field * config.pool_size + config.convolutions * (config.kernel_size - 1)
    return field


def build_network(config: NetworkConfig, seed: int) -> PatchNetwork:
    """Return a network with random weights; torch's global random state is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PatchNetwork(config)
