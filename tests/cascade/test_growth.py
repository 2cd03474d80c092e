"""Tests of growing networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_cascade.cascade.growth import can_grow, deeper_patch_size, grow_cascade, grow_network
from bids_cascade.cascade.inference import dense_probability, patchwise_probability
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import CascadeConfig, NetworkConfig

SMALL = NetworkConfig(2, patch_size=11, features=(3, 4), dense=(5,), scales=(1, 2))


def _trained(config: NetworkConfig):
    """Return a network whose batch norms have statistics of their own."""
    network = build_network(config, 0)
    with torch.no_grad():
        for branch in network.branches:
            for block in branch:
                block.norm.running_mean += 0.1 * torch.randn_like(block.norm.running_mean)
                block.norm.running_var *= 1.5
    return network.eval()


@pytest.mark.parametrize(
    ("features", "dense"),
    [((3, 4), (5,)), ((4, 6), (5,)), ((3, 4), (8,)), ((3, 4), (8, 6)), ((5, 4), (5, 5, 9))],
    ids=["same", "features", "width", "layer", "all"],
)
def test_a_grown_network_computes_the_same(features, dense) -> None:
    small = _trained(SMALL)
    large = grow_network(small, NetworkConfig(2, features=features, dense=dense, scales=(1, 2)), seed=1)
    patches = torch.randn(7, 2, 2, 11, 11, 11)
    with torch.inference_mode():
        torch.testing.assert_close(large(patches), small(patches), rtol=1e-4, atol=1e-5)
    assert large.config.features == features
    assert large.config.dense == dense


@pytest.mark.parametrize("patch_size", [11, 13, 17])
@pytest.mark.parametrize("convolutions", [2, 3])
def test_a_deeper_network_computes_the_same_of_larger_patches(patch_size: int, convolutions: int) -> None:
    small = _trained(replace(SMALL, patch_size=patch_size))
    larger_patch = deeper_patch_size(small.config, convolutions)
    assert larger_patch == patch_size + (convolutions - 1) * (2 + 4)  # of voxels 1 and 2 apart
    config = replace(small.config, patch_size=larger_patch, convolutions=convolutions, features=(4, 5))
    deep = grow_network(small, config, seed=1)
    channels = np.random.default_rng(0).normal(size=(2, 14, 13, 12)).astype(np.float32)
    everywhere = np.ones(channels.shape[1:], bool)
    expected = patchwise_probability(small, channels, everywhere)
    for engine in (patchwise_probability, dense_probability):
        np.testing.assert_allclose(engine(deep, channels, everywhere), expected, atol=1e-5)
    deepest = grow_network(deep, replace(config, patch_size=larger_patch + 6, convolutions=convolutions + 1), seed=2)
    np.testing.assert_allclose(dense_probability(deepest, channels, everywhere), expected, atol=1e-5)


def test_new_weights_can_be_learnt() -> None:
    large = grow_network(_trained(SMALL), NetworkConfig(2, features=(4, 6), dense=(8, 6), scales=(1, 2)), seed=1)
    large(torch.randn(16, 2, 2, 11, 11, 11))[:, 1].sum().backward()
    assert large.dense[-1].weight.grad[:, 5:].abs().sum() > 0


def test_new_residual_convolutions_can_be_learnt() -> None:
    deep = grow_network(_trained(SMALL), replace(SMALL, patch_size=17, convolutions=2), seed=1)
    deep(torch.randn(16, 2, 2, 17, 17, 17))[:, 1].sum().backward()
    for residual in (block.residuals[0] for branch in deep.branches for block in branch):
        assert residual.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "large",
    [
        NetworkConfig(2, features=(2, 4), dense=(5,), scales=(1, 2)),
        NetworkConfig(2, features=(3, 4), dense=(4,), scales=(1, 2)),
        NetworkConfig(2, features=(3, 4), dense=(8, 4), scales=(1, 2)),
        NetworkConfig(2, features=(3, 4), dense=(), scales=(1, 2)),
        NetworkConfig(2, features=(3, 4, 5), dense=(5,), scales=(1, 2)),
        NetworkConfig(2, features=(3, 4), dense=(5,), scales=(1, 4)),
        NetworkConfig(3, features=(3, 4), dense=(5,), scales=(1, 2)),
        NetworkConfig(2, patch_size=15, features=(3, 4), dense=(5,), scales=(1, 2), convolutions=2),
    ],
    ids=[
        "narrower block",
        "narrower layer",
        "narrow new layer",
        "fewer layers",
        "more blocks",
        "scales",
        "channels",
        "patch",
    ],
)
def test_nothing_else_can_be_changed(large) -> None:
    assert not can_grow(SMALL, large)
    with pytest.raises(ValueError, match="can't be grown"):
        grow_network(_trained(SMALL), large, seed=0)


def test_both_networks_of_a_cascade_are_grown() -> None:
    first, second = _trained(SMALL), _trained(SMALL)
    with torch.no_grad():
        second.dense[0].bias += 1
    larger = NetworkConfig(2, features=(4, 6), dense=(8,), scales=(1, 2))
    largest = replace(larger, features=(5, 6))
    grown = grow_cascade(Cascade(CascadeConfig(), (first, second)), (larger, largest), seed=1)
    assert [network.config for network in grown.networks] == [larger, largest]
    patches = torch.randn(3, 2, 2, 11, 11, 11)
    with torch.inference_mode():
        for small, large in zip((first, second), grown.networks, strict=True):
            torch.testing.assert_close(large(patches), small(patches), rtol=1e-4, atol=1e-5)


def test_a_network_without_hidden_layers_can_have_wider_blocks() -> None:
    small = _trained(NetworkConfig(2, patch_size=11, features=(3, 4), dense=(), scales=(1, 2)))
    large = grow_network(small, NetworkConfig(2, features=(5, 6), dense=(), scales=(1, 2)), seed=1)
    patches = torch.randn(3, 2, 2, 11, 11, 11)
    with torch.inference_mode():
        torch.testing.assert_close(large(patches), small(patches), rtol=1e-4, atol=1e-5)
