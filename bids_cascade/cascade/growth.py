"""Grows a trained network to a wider or deeper one that computes the same function, to continue training.

As in Chen et al., Net2Net (ICLR 2016, arXiv:1511.05641): nothing that the smaller network has learnt is lost, and the
new weights have no effect until training changes them.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from bids_cascade.cascade.network import PatchNetwork, build_network
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import NetworkConfig


def can_grow(small: NetworkConfig, large: NetworkConfig) -> bool:
    """Return whether a network can be grown: the same but for deeper or wider blocks and layers."""
    may_differ = ("features", "dense", "dropout", "convolutions", "patch_size")
    same_otherwise = replace(small, **{name: getattr(large, name) for name in may_differ}) == large
    return (
        same_otherwise
        and small.convolutions <= large.convolutions
        and large.patch_size == deeper_patch_size(small, large.convolutions)
        and len(small.features) == len(large.features)
        and len(small.dense) <= len(large.dense)
        and all(before <= after for before, after in zip(small.features, large.features, strict=True))
        and all(before <= after for before, after in zip(small.dense, large.dense, strict=False))
        and (not small.dense or all(width >= small.dense[-1] for width in large.dense[len(small.dense) :]))
        and (bool(small.dense) or not large.dense)
    )


def deeper_patch_size(network: NetworkConfig, convolutions: int) -> int:
    """Return the size of the patches with which deeper blocks leave as many features, around the same voxel.

    A residual convolution of block b takes ``kernel_size - 1`` voxels that lie ``pool_size**b`` apart.
    """
    added = (convolutions - network.convolutions) * (network.kernel_size - 1)
    strides: list[int] = [network.pool_size**block for block in range(len(network.features))]
    return network.patch_size + added * sum(strides)


@torch.no_grad()
def grow_network(network: PatchNetwork, config: NetworkConfig, seed: int) -> PatchNetwork:
    """Return a larger network that computes the same function.

    New features have the random weights of a fresh network, but no old feature depends on them; a new residual
    convolution is zero; a new dense layer is the identity, which ReLU preserves, since its input is not negative.

    Parameters
    ----------
    network : PatchNetwork
    config : NetworkConfig
        Of the larger network.
    seed : int
        Of the new weights.

    Raises
    ------
    ValueError
        When the larger network is not larger, or differs in more than its widths and its numbers of layers.
    """
    if not can_grow(network.config, config):
        raise ValueError(f"a network of {network.config} can't be grown to one of {config}")
    larger = build_network(config, seed)
    for branch, wider in zip(network.branches, larger.branches, strict=True):
        for block, wider_block in zip(branch, wider, strict=True):
            _embed(block.convolution, wider_block.convolution, block.convolution.in_channels)
            for name, values in block.norm.state_dict().items():
                if values.ndim:
                    wider_block.norm.state_dict()[name][: len(values)] = values
            for residual, wider_residual in zip(block.residuals, wider_block.residuals, strict=False):
                _embed(residual, wider_residual, residual.in_channels)
    n_hidden = len(network.config.dense)
    _embed_first(network, larger)
    for layer, wider_layer in zip(network.dense[1:n_hidden], larger.dense[1:n_hidden], strict=True):
        _embed(layer, wider_layer, layer.in_features)
    for added in larger.dense[n_hidden:-1]:
        _make_identity(added, network.config.dense[-1])
    if n_hidden:
        _embed(network.dense[-1], larger.dense[-1], network.dense[-1].in_features)
    return larger.eval()


def _embed(small: nn.Conv3d | nn.Linear, large: nn.Conv3d | nn.Linear, n_in: int) -> None:
    """Write a layer's weights into a larger one's first rows and columns; those rows ignore all other columns."""
    n_out = len(small.weight)
    large.weight[:n_out] = 0
    large.weight[:n_out, :n_in] = small.weight
    if small.bias is not None and large.bias is not None:
        large.bias[:n_out] = small.bias


def _embed_first(network: PatchNetwork, larger: PatchNetwork) -> None:
    """Do the same to the first dense layer, whose columns are the features of each scale in turn."""
    first, wider = network.dense[0], larger.dense[0]
    n_out = len(first.weight)
    wider.weight[:n_out] = 0
    n_scales = len(network.branches)
    for part, wider_part in zip(first.weight.chunk(n_scales, 1), wider.weight.chunk(n_scales, 1), strict=True):
        wider_part[:n_out, : part.shape[1]] = part
    wider.bias[:n_out] = first.bias


def _make_identity(layer: nn.Linear, n: int) -> None:
    """Make a dense layer's first rows pass on as many of its inputs."""
    layer.weight[:n] = 0
    layer.weight[:n, :n] = torch.eye(n)
    layer.bias[:n] = 0


def grow_cascade(cascade: Cascade, configs: tuple[NetworkConfig, NetworkConfig], seed: int) -> Cascade:
    """Return a cascade with its networks grown to those of two configurations, see :func:`grow_network`."""
    first, second = (
        network
        if network.config == config or not isinstance(network, PatchNetwork)
        else grow_network(network, config, seed)
        for network, config in zip(cascade.networks, configs, strict=True)
    )
    return replace(cascade, networks=(first, second))
