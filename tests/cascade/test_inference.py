"""Dense inference must equal patch-wise inference at every voxel."""

import numpy as np
import pytest
import torch

from bids_cascade.cascade import inference
from bids_cascade.cascade.inference import dense_probability, patchwise_probability
from bids_cascade.cascade.network import PatchNetwork, build_network, receptive_field
from bids_cascade.config import NetworkConfig

NETWORKS = {
    "published": NetworkConfig(2),
    "one channel, narrow": NetworkConfig(1, features=(4, 6), dense=(8,)),
    "one block": NetworkConfig(3, patch_size=7, features=(5,), dense=(4, 3)),
    "no hidden layer": NetworkConfig(2, patch_size=9, features=(3,), dense=()),
    "wide rest": NetworkConfig(2, patch_size=17, features=(3, 4), dense=(5,)),
    "pool of three": NetworkConfig(2, patch_size=11, features=(4,), pool_size=3, dense=(4,)),
    "no pool": NetworkConfig(2, patch_size=5, features=(4, 4), pool_size=1, dense=(4,)),
    "three blocks": NetworkConfig(2, patch_size=23, features=(3, 3, 3), dense=(4,)),
    "pointwise": NetworkConfig(1, patch_size=3, features=(3,), kernel_size=1, pool_size=1, dense=(4,)),
}


def random_network(config: NetworkConfig, seed: int = 0) -> PatchNetwork:
    """Return a network whose norms have seen data, as a trained one's have."""
    network = build_network(config, seed)
    rng = np.random.default_rng(seed)
    for block in network.blocks:
        n = block.norm.num_features
        block.norm.running_mean = torch.from_numpy(rng.normal(size=n).astype(np.float32)) * 0.3
        block.norm.running_var = torch.from_numpy(rng.uniform(0.3, 2, n).astype(np.float32))
        block.norm.weight.data = torch.from_numpy(rng.normal(1, 0.3, n).astype(np.float32))
        block.norm.bias.data = torch.from_numpy(rng.normal(size=n).astype(np.float32)) * 0.3
    return network.eval()


def random_channels(n_channels: int, shape: tuple[int, int, int], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_channels, *shape)).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_dense_equals_patchwise_at_every_voxel(name: str) -> None:
    config = NETWORKS[name]
    network, channels = random_network(config), random_channels(config.n_channels, (13, 9, 11))
    everywhere = np.ones(channels.shape[1:], bool)
    expected = patchwise_probability(network, channels, everywhere)
    found = dense_probability(network, channels, everywhere, tile_size=6)
    assert expected.std() > 1e-3, "a constant map would prove nothing"
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("tile_size", [1, 5, 8, 32])
def test_dense_does_not_depend_on_the_tile_size(tile_size: int) -> None:
    network, channels = random_network(NETWORKS["published"]), random_channels(2, (14, 15, 16))
    voxels = np.random.default_rng(2).random(channels.shape[1:]) > 0.7
    found = dense_probability(network, channels, voxels, tile_size=tile_size)
    np.testing.assert_allclose(found, dense_probability(network, channels, voxels, tile_size=10), atol=1e-6)


@pytest.mark.parametrize("fits", [1, 6, 11])
def test_a_tile_that_does_not_fit_into_memory_is_split(monkeypatch, fits: int) -> None:
    network, channels = random_network(NETWORKS["published"]), random_channels(2, (14, 15, 16))
    everywhere = np.ones(channels.shape[1:], bool)
    expected = dense_probability(network, channels, everywhere)
    whole = inference._DenseNetwork.probability
    sizes = []

    def on_a_small_gpu(self, tile, voxels):
        sizes.append(max(tile.shape[1:]) - 9)
        if sizes[-1] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, tile, voxels)

    monkeypatch.setattr(inference._DenseNetwork, "probability", on_a_small_gpu)
    np.testing.assert_allclose(dense_probability(network, channels, everywhere), expected, atol=1e-6)
    assert max(sizes) > fits
    monkeypatch.setattr(
        inference._DenseNetwork, "probability", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError)
    )
    with pytest.raises(torch.OutOfMemoryError):
        dense_probability(network, channels, everywhere)


def test_the_tile_follows_the_free_memory_of_a_gpu(monkeypatch) -> None:
    network = random_network(NETWORKS["published"])
    assert inference._fitting_tile_size(network, "cpu") == inference.TILE_SIZE
    sizes = []
    for gigabytes in (0.001, 0.5, 4, 80):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=gigabytes: (int(free * 1e9), 0))
        sizes.append(inference._fitting_tile_size(network, "cuda"))
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
    assert sizes[-1] == inference._LARGEST_TILE


def test_only_the_asked_voxels_are_evaluated() -> None:
    network, channels = random_network(NETWORKS["published"]), random_channels(2, (12, 12, 12))
    voxels = np.zeros((12, 12, 12), bool)
    voxels[0, 0, 0] = voxels[11, 5, 7] = True
    for engine in (patchwise_probability, dense_probability):
        found = engine(network, channels, voxels)
        assert (found[voxels] > 0).all()
        assert not found[~voxels].any()
        assert not engine(network, channels, np.zeros_like(voxels)).any()


def test_a_voxel_depends_on_its_receptive_field_alone() -> None:
    config = NETWORKS["published"]
    network, channels = random_network(config), random_channels(2, (24, 24, 24))
    voxel = np.zeros((24, 24, 24), bool)
    voxel[12, 12, 12] = True
    first = 12 - config.patch_size // 2
    last = first + receptive_field(config) - 1
    outside = channels.copy()
    outside[:, :first], outside[:, last + 1 :] = 99, 99
    inside = channels.copy()
    inside[:, first], inside[:, last] = 99, 99
    before = dense_probability(network, channels, voxel)
    np.testing.assert_array_equal(dense_probability(network, outside, voxel), before)
    assert abs(dense_probability(network, inside, voxel) - before).max() > 1e-4


def test_translation_moves_the_map_along() -> None:
    network, channels = random_network(NETWORKS["published"]), random_channels(2, (16, 16, 16))
    everywhere = np.ones((16, 16, 16), bool)
    moved = np.roll(channels, 3, axis=1)
    before, after = (dense_probability(network, x, everywhere) for x in (channels, moved))
    np.testing.assert_allclose(after[3 + 5 : -4], before[5 : -3 - 4], atol=1e-6)


def test_the_number_of_threads_does_not_matter() -> None:
    network, channels = random_network(NETWORKS["published"]), random_channels(2, (20, 21, 22))
    everywhere, n_threads = np.ones(channels.shape[1:], bool), torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(dense_probability(network, channels, everywhere))
    torch.set_num_threads(n_threads)
    np.testing.assert_allclose(*found, atol=1e-6)


def test_half_precision_is_near() -> None:
    network, channels = random_network(NETWORKS["published"]), random_channels(2, (12, 13, 14))
    everywhere = np.ones(channels.shape[1:], bool)
    whole, half = (dense_probability(network, channels, everywhere, half=half) for half in (False, True))
    assert half.dtype == np.float32
    assert 0 < np.abs(whole - half).max() < 2e-2


def test_inputs_stay_as_they_are_and_runs_agree_bit_for_bit() -> None:
    network, channels = random_network(NETWORKS["published"]), random_channels(2, (12, 12, 12))
    copy, voxels = channels.copy(), np.ones((12, 12, 12), bool)
    first, second = (dense_probability(network, channels, voxels) for _ in range(2))
    np.testing.assert_array_equal(channels, copy)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("engine", [patchwise_probability, dense_probability])
def test_shapes_that_do_not_fit_are_named(engine) -> None:
    network = random_network(NETWORKS["published"])
    with pytest.raises(ValueError, match=r"expected channels \(2, X, Y, Z\).*\(3, 8, 8, 8\)"):
        engine(network, random_channels(3, (8, 8, 8)), np.ones((8, 8, 8), bool))
    with pytest.raises(ValueError, match=r"\(8, 8, 9\)"):
        engine(network, random_channels(2, (8, 8, 8)), np.ones((8, 8, 9), bool))


def test_a_tile_needs_a_voxel() -> None:
    with pytest.raises(ValueError, match="tile size is 0"):
        dense_probability(
            random_network(NETWORKS["published"]), random_channels(2, (8, 8, 8)), np.ones((8, 8, 8), bool), tile_size=0
        )
