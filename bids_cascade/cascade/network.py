"""The patch-wise 3D CNN of one stage."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from bids_cascade.config import NetworkConfig

N_CLASSES = 2


class Block(nn.Module):
    """Unpadded convolution, batch norm, max-pool and ReLU (which commutes with the pool)."""

    def __init__(self, n_in: int, n_out: int, kernel_size: int, pool_size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(n_in, n_out, kernel_size)
        self.norm = nn.BatchNorm3d(n_out)
        self.pool_size = pool_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, P, P, P) to (N, F, Q, Q, Q) with ``Q = (P - kernel_size + 1) // pool_size``."""
        x = self.norm(self.convolution(x))
        return nn.functional.max_pool3d(x, self.pool_size).relu()

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weight and bias of one convolution that does what convolution and norm do in evaluation."""
        norm, bias = self.norm, self.convolution.bias
        if norm.running_mean is None or norm.running_var is None or bias is None:
            raise ValueError("expected a convolution with a bias and a batch norm with running statistics")
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return self.convolution.weight * scale[:, None, None, None, None], (
            bias - norm.running_mean
        ) * scale + norm.bias


class PatchNetwork(nn.Module):
    """Says how likely the centre voxel of a patch is a lesion (Valverde et al. 2017, fig. 2).

    Without padding inside the patch, unlike the published network: so a voxel's features do not depend on where in
    the patch it lies, and a whole volume can be evaluated at once
    (:func:`bids_cascade.cascade.inference.dense_probability`).

    Parameters
    ----------
    config : NetworkConfig

    Raises
    ------
    ValueError
        When the patch size is even, or too small for the blocks.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.patch_size % 2 == 0:
            raise ValueError(f"the patch size is {config.patch_size}; a patch with a centre voxel has an odd size")
        self.config = config
        self.receptive_field = receptive_field(config)
        self.remaining_size = remaining_size(config)
        widths = (config.n_channels, *config.features)
        self.blocks = nn.ModuleList(Block(a, b, config.kernel_size, config.pool_size) for a, b in pairwise(widths))
        n_features = widths[-1] * self.remaining_size**3
        dense_widths = (n_features, *config.dense, N_CLASSES)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(dense_widths))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Map patches (N, C, P, P, P) to logits (N, 2) of no lesion and lesion."""
        used = slice(self.receptive_field)
        x = patches[:, :, used, used, used]
        for block in self.blocks:
            x = block(x)
        return self.classify(x.flatten(1))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Map the flattened features (N, F) of the last block to logits (N, 2)."""
        *hidden, last = self.dense
        for layer in hidden:
            features = layer(self.dropout(features)).relu()
        logits: torch.Tensor = last(features)
        return logits


def remaining_size(config: NetworkConfig) -> int:
    """Return the edge of the feature map that a patch leaves behind the last block.

    Raises
    ------
    ValueError
        When nothing is left.
    """
    size = config.patch_size
    for _ in config.features:
        size = (size - config.kernel_size + 1) // config.pool_size
    if size < 1:
        raise ValueError(f"a patch of {config.patch_size} voxels is too small for {len(config.features)} blocks")
    return size


def receptive_field(config: NetworkConfig) -> int:
    """Return the edge in voxels of what a patch's logits depend on, counted from the patch's first voxel."""
    field = remaining_size(config)
    for _ in config.features:
        field = field * config.pool_size + config.kernel_size - 1
    return field


def build_network(config: NetworkConfig, seed: int) -> PatchNetwork:
    """Return a network with freshly drawn weights, leaving torch's global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PatchNetwork(config)
