"""Layers of a branch, beside the branch itself."""

import pytest
import torch

from bids_cascade.cascade.layers import layers_of
from bids_cascade.cascade.sparse import SparseMap, reached
from bids_cascade.config import NetworkConfig

from .test_inference import random_network

DEEP = NetworkConfig(2, patch_size=17, features=(3, 4), scales=(1,), dense=(), convolutions=2)


@pytest.fixture(scope="module")
def branch():
    return random_network(DEEP).branches[0]


def test_their_reach_is_the_receptive_field_and_the_last_is_a_pool(branch) -> None:
    layers = layers_of(branch, DEEP.kernel_size, torch.float32, torch.channels_last_3d)
    assert [(layer.size, layer.dilation, layer.residual) for layer in layers] == [
        (3, 1, False),
        (3, 1, True),
        (2, 1, False),
        (3, 2, False),
        (3, 2, True),
        (2, 2, False),
    ]
    assert sum(layer.steps[-1] for layer in layers) == 15  # a patch uses 16 voxels
    assert layers[-1].weight is None


@torch.inference_mode()
def test_everywhere_and_where_needed_they_are_the_blocks(branch) -> None:
    layers = layers_of(branch, DEEP.kernel_size, torch.float32, torch.channels_last_3d)
    x = torch.randn(1, 2, 20, 19, 18)
    expected, dilation = x, 1
    for block in branch:
        expected = block.at_every_voxel(expected, dilation)
        dilation *= block.pool_size
    needed = torch.zeros(expected.shape[2:], dtype=torch.bool)
    needed[0, 0, 0] = needed[2, 1, 2] = needed[-1, -1, -1] = True
    found, known, masks = x, SparseMap.of(x), [needed]
    for layer in reversed(layers[1:]):
        masks.insert(0, reached(masks[0], layer.steps))
    for layer, mask in zip(layers, masks, strict=True):
        found, known = layer.everywhere(found), layer.at(known, mask)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(known.rows, expected[0].permute(1, 2, 3, 0)[needed], rtol=1e-5, atol=1e-5)
