"""The engine must equal the network's own forward pass; that this is Keras' is tested in tests/models."""

import numpy as np
import pytest
import torch

from bids_cascade.cascade.padded import PaddedNetwork, padded_probability
from bids_cascade.cascade.padded_weights import map_sizes, padded_shapes
from bids_cascade.config import PaddedNetworkConfig

NETWORKS = {
    "small": PaddedNetworkConfig(2, features=(3, 4), dense=(6, 5)),
    "one channel, one block": PaddedNetworkConfig(1, patch_size=5, features=(4,), dense=(3,)),
    "odd and even maps": PaddedNetworkConfig(3, patch_size=13, features=(2, 3), dense=()),
    "three blocks": PaddedNetworkConfig(2, patch_size=9, features=(2, 3, 4), dense=(4,)),
}


def random_padded_network(config: PaddedNetworkConfig, seed: int = 0) -> PaddedNetwork:
    """Return a network with random weights, statistics and slopes, also above 1 and below 0."""
    network, rng = PaddedNetwork(config), np.random.default_rng(seed)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            low = 0.5 if name.endswith("running_var") else -0.6
            value.copy_(torch.from_numpy(rng.uniform(low, 1.5, value.shape)))
    # So that neither class is sure of itself, and one patch is not like the other.
    size = config.patch_size
    patches = torch.from_numpy(rng.normal(size=(6, config.n_channels, size, size, size)).astype(np.float32))
    with torch.no_grad():
        sure = network.eval()(patches).diff(dim=1)
        network.out.weight *= 1.5 / sure.std()
        network.out.bias.zero_()
        network.out.bias[1] = -network(patches).diff(dim=1).mean()
    return network


def by_forward(network: PaddedNetwork, channels: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    """Return the probability of each voxel by the forward pass on its own patch."""
    half = network.config.patch_size // 2
    padded = np.pad(channels, [(0, 0), *[(half, half)] * 3], mode="edge")
    found = np.zeros(voxels.shape, np.float32)
    for x, y, z in np.argwhere(voxels):
        patch = padded[:, x : x + 2 * half + 1, y : y + 2 * half + 1, z : z + 2 * half + 1]
        found[x, y, z] = network(torch.from_numpy(patch[None].copy())).softmax(1)[0, 1].item()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_engine_equals_the_network(name: str) -> None:
    config = NETWORKS[name]
    network, rng = random_padded_network(config), np.random.default_rng(1)
    channels = rng.normal(size=(config.n_channels, 5, 6, 7)).astype(np.float32)
    voxels = rng.random((5, 6, 7)) < 0.5
    expected = by_forward(network, channels, voxels)
    assert expected[voxels].std() > 1e-3, "a constant map would prove nothing"
    for batch_size in (7, None):
        np.testing.assert_allclose(
            padded_probability(network, channels, voxels, batch_size=batch_size), expected, atol=1e-5
        )
    half = padded_probability(network, channels, voxels, half=True)
    assert np.abs(half - expected)[voxels].mean() < 0.02


def test_threads_do_not_matter() -> None:
    network = random_padded_network(NETWORKS["small"])
    channels = np.random.default_rng(1).normal(size=(2, 5, 6, 7)).astype(np.float32)
    everywhere, before = np.ones((5, 6, 7), bool), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = padded_probability(network, channels, everywhere, batch_size=10)
        torch.set_num_threads(2)
        np.testing.assert_array_equal(padded_probability(network, channels, everywhere, batch_size=10), one)
    finally:
        torch.set_num_threads(before)


def test_nothing_asked_for_is_nothing() -> None:
    network = random_padded_network(NETWORKS["small"])
    found = padded_probability(network, np.zeros((2, 4, 4, 4), np.float32), np.zeros((4, 4, 4), bool))
    assert found.shape == (4, 4, 4)
    assert not found.any()


def test_a_patch_is_halved_when_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    from bids_cascade.cascade import padded

    network, whole = random_padded_network(NETWORKS["small"]), padded._FastNetwork.probability
    channels, voxels = np.random.default_rng(1).normal(size=(2, 4, 4, 4)).astype(np.float32), np.ones((4, 4, 4), bool)
    expected = padded_probability(network, channels, voxels)

    def short_of_memory(self, patches: torch.Tensor) -> torch.Tensor:
        if len(patches) > 5:
            raise torch.OutOfMemoryError
        return whole(self, patches)

    monkeypatch.setattr(padded._FastNetwork, "probability", short_of_memory)
    np.testing.assert_allclose(padded_probability(network, channels, voxels), expected, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_have_the_shapes_that_are_known_without_building_it(name: str) -> None:
    state = PaddedNetwork(NETWORKS[name]).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == padded_shapes(NETWORKS[name])


def test_maps_halve_rounding_down() -> None:
    assert map_sizes(PaddedNetworkConfig(2)) == [11, 5, 2]
    with pytest.raises(ValueError, match="a patch of 3 voxels is too small for 2 blocks"):
        map_sizes(PaddedNetworkConfig(2, patch_size=3))


def test_shapes_that_do_not_fit_are_refused() -> None:
    network = random_padded_network(NETWORKS["small"])
    with pytest.raises(ValueError, match=r"expected channels \(2, X, Y, Z\)"):
        padded_probability(network, np.zeros((1, 4, 4, 4), np.float32), np.zeros((4, 4, 4), bool))
