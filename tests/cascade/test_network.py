import pytest
import torch

from bids_cascade.cascade.network import build_network, receptive_field, remaining_size
from bids_cascade.config import NetworkConfig


def test_the_published_network_worked_by_hand() -> None:
    # 11 -conv-> 9 -pool-> 4 -conv-> 2 -pool-> 1; back: 1 -> 2 -> 4 -> 8 -> 10
    config = NetworkConfig(2)
    assert remaining_size(config) == 1
    assert receptive_field(config) == 10
    network = build_network(config, seed=0)
    weights = (2 * 27 * 32 + 32) + 2 * 32 + (32 * 27 * 64 + 64) + 2 * 64 + (64 * 256 + 256) + (256 * 2 + 2)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert network(torch.zeros(3, 2, 11, 11, 11)).shape == (3, 2)


def test_the_seed_decides_the_weights_and_the_global_state_stays() -> None:
    state = torch.get_rng_state()
    first, again, other = (build_network(NetworkConfig(1), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weight = first.blocks[0].convolution.weight
    assert torch.equal(weight, again.blocks[0].convolution.weight)
    assert not torch.equal(weight, other.blocks[0].convolution.weight)


def test_block_is_convolution_norm_relu_pool() -> None:
    network = build_network(NetworkConfig(1, patch_size=5, features=(4,), dense=()), seed=0).eval()
    block, x = network.blocks[0], torch.randn(2, 1, 5, 5, 5)
    slow = torch.nn.functional.max_pool3d(block.norm(block.convolution(x)).relu(), 2)
    torch.testing.assert_close(block(x), slow)


@pytest.mark.parametrize(
    ("config", "message"),
    [(NetworkConfig(1, patch_size=10), "odd size"), (NetworkConfig(1, patch_size=7), "7 voxels is too small for 2")],
)
def test_errors(config: NetworkConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(config, seed=0)
