"""Dense inference must equal patch-wise inference at every voxel."""

import numpy as np
import pytest
import torch

from bids_cascade.cascade import inference, layers
from bids_cascade.cascade.inference import dense_probability, patchwise_probability
from bids_cascade.cascade.network import PatchNetwork, build_network, receptive_field
from bids_cascade.config import NetworkConfig

NETWORKS = {
    "three scales": NetworkConfig(2, scales=(1, 2, 4)),
    "the app's": NetworkConfig(2),
    "published": NetworkConfig(2, scales=(1,)),
    "scales 1 and 3": NetworkConfig(2, features=(4, 5), scales=(1, 3), dense=(6,)),
    "coarse alone": NetworkConfig(2, features=(4, 5), scales=(2,), dense=(6,)),
    "scales without a common one": NetworkConfig(1, patch_size=7, features=(3,), scales=(2, 3), dense=(4,)),
    "coarse first, wide rest": NetworkConfig(2, patch_size=17, features=(3, 4), scales=(4, 1), dense=(5, 3)),
    "scales, no hidden layer": NetworkConfig(2, patch_size=9, features=(3,), scales=(1, 2), dense=()),
    "one channel, narrow": NetworkConfig(1, features=(4, 6), scales=(1,), dense=(8,)),
    "one block": NetworkConfig(3, patch_size=7, features=(5,), scales=(1,), dense=(4, 3)),
    "no hidden layer": NetworkConfig(2, patch_size=9, features=(3,), scales=(1,), dense=()),
    "wide rest": NetworkConfig(2, patch_size=17, features=(3, 4), scales=(1,), dense=(5,)),
    "pool of three": NetworkConfig(2, patch_size=11, features=(4,), pool_size=3, scales=(1,), dense=(4,)),
    "no pool": NetworkConfig(2, patch_size=5, features=(4, 4), pool_size=1, scales=(1,), dense=(4,)),
    "three blocks": NetworkConfig(2, patch_size=23, features=(3, 3, 3), scales=(1,), dense=(4,)),
    "residual convolutions": NetworkConfig(2, 17, features=(3, 4), scales=(1, 2), dense=(5,), convolutions=2),
    "two residual ones, one block": NetworkConfig(1, 9, features=(4,), scales=(1,), dense=(), convolutions=3),
    "residual ones, wide rest": NetworkConfig(2, 21, features=(3, 4), scales=(1,), dense=(5,), convolutions=2),
    "pointwise": NetworkConfig(1, patch_size=3, features=(3,), kernel_size=1, pool_size=1, scales=(1,), dense=(4,)),
}
SMALL = NetworkConfig(2, features=(5, 6), dense=(8,), scales=(1, 2, 4))
"""All scales, but few features."""


def random_network(config: NetworkConfig, seed: int = 0) -> PatchNetwork:
    """Return a network whose norms have seen data, as a trained one's have."""
    network = build_network(config, seed)
    rng = np.random.default_rng(seed)
    for block in (block for branch in network.branches for block in branch):
        n = block.norm.num_features
        block.norm.running_mean = torch.from_numpy(rng.normal(size=n).astype(np.float32)) * 0.3
        block.norm.running_var = torch.from_numpy(rng.uniform(0.3, 2, n).astype(np.float32))
        block.norm.weight.data = torch.from_numpy(rng.normal(1, 0.3, n).astype(np.float32))
        block.norm.bias.data = torch.from_numpy(rng.normal(size=n).astype(np.float32)) * 0.3
        for residual in block.residuals:
            for weights in residual.parameters():
                weights.data = torch.from_numpy(rng.normal(0, 0.2, weights.shape).astype(np.float32))
    return network.eval()


def random_channels(n_channels: int, shape: tuple[int, int, int], seed: int = 1) -> np.ndarray:
    """Return noise of several wavelengths, so that there is something to see at each scale."""
    rng, channels = np.random.default_rng(seed), np.zeros((n_channels, *shape), np.float32)
    for scale in (1, 2, 4):
        field = rng.normal(size=(n_channels, *(-(-size // scale) for size in shape)))
        channels += np.kron(field, np.ones((1, scale, scale, scale)))[(..., *map(slice, shape))]
    return channels


@pytest.mark.parametrize("name", NETWORKS)
def test_dense_equals_patchwise_at_every_voxel(name: str) -> None:
    config = NETWORKS[name]
    network, channels = random_network(config), random_channels(config.n_channels, (13, 9, 11))
    everywhere = np.ones(channels.shape[1:], bool)
    expected = patchwise_probability(network, channels, everywhere)
    assert expected.std() > 1e-3, "a constant map would prove nothing"
    for tile_size in (6, 32):
        found = dense_probability(network, channels, everywhere, tile_size=tile_size)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("most_needed", [0, 1])
def test_voxels_here_and_there_are_the_same_convolved_one_by_one(monkeypatch, name: str, most_needed: float) -> None:
    """Every block of neighbours, of any width, by a convolution or gathered into a matrix."""
    config = NETWORKS[name]
    network, channels = random_network(config), random_channels(config.n_channels, (13, 9, 11))
    voxels = np.zeros(channels.shape[1:], bool)
    voxels[0, 0, 0] = voxels[12, 8, 10] = voxels[3:5, 2:6, 5] = voxels[9, 1, 2:7:2] = True
    monkeypatch.setattr(inference, "_MOST_NEEDED", most_needed)
    monkeypatch.setattr(layers, "_ROWS_TO_CONVOLVE", 7)
    kinds = set()
    features_of = inference._DenseNetwork._features
    monkeypatch.setattr(
        inference._DenseNetwork,
        "_features",
        lambda *args: (found := features_of(*args), kinds.add(type(found).__name__))[0],
    )
    found = dense_probability(network, channels, voxels, tile_size=8)
    np.testing.assert_allclose(found, patchwise_probability(network, channels, voxels), atol=1e-5)
    only_one = len(config.features) * config.convolutions == 1  # which is for all voxels
    assert kinds == {("DenseFeatures", "SparseFeatures")[most_needed and not only_one]}


def test_patches_are_what_slicing_block_means_gives() -> None:
    """The reference itself, slow and obvious: the patch around one voxel, at each scale, by hand."""
    network, channels = random_network(SMALL), random_channels(2, (13, 9, 11))
    voxels = np.zeros(channels.shape[1:], bool)
    voxels[7, 0, 10] = True
    patches = []
    for scale in SMALL.scales:
        padded = np.pad(channels, [(0, 0), *[(6 * scale, 20 * scale)] * 3])
        patch = np.empty((2, 11, 11, 11), np.float32)
        for i, j, k in np.ndindex(11, 11, 11):
            # The coarse voxel, counted from the volume's corner; the padding is six of them.
            x, y, z = (
                scale * (place // scale + step - 5 + 6) for place, step in zip((7, 0, 10), (i, j, k), strict=True)
            )
            patch[:, i, j, k] = padded[:, x : x + scale, y : y + scale, z : z + scale].mean(axis=(1, 2, 3))
        patches.append(patch)
    with torch.inference_mode():
        expected = network(torch.from_numpy(np.stack(patches))[None]).softmax(1)[0, 1].item()
    for engine in (patchwise_probability, dense_probability):
        assert engine(network, channels, voxels)[7, 0, 10] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("tile_size", [*range(1, 13), 16, 20, 31, 32])
def test_dense_does_not_depend_on_the_tile_size(tile_size: int) -> None:
    network, channels = random_network(SMALL), random_channels(2, (14, 15, 18))
    voxels = np.random.default_rng(2).random(channels.shape[1:]) > 0.7
    expected = patchwise_probability(network, channels, voxels)
    found = dense_probability(network, channels, voxels, tile_size=tile_size)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_tiles_hold_all_voxels_once_and_begin_at_coarse_voxels() -> None:
    voxels = np.random.default_rng(0).random((23, 14, 9)) > 0.95
    for tile_size, alignment in ((1, 4), (8, 4), (10, 4), (32, 4), (7, 1), (12, 6)):
        seen = np.zeros(voxels.shape, int)
        for box in inference._tiles(voxels, tile_size, alignment):
            assert all(edge.start % alignment == 0 for edge in box)
            assert all(0 < edge.stop - edge.start <= max(tile_size, alignment) for edge in box)
            seen[box] += 1
        assert (seen[voxels] == 1).all()
        assert seen.max() == 1


@pytest.mark.parametrize("name", ["three scales", "published"])
@pytest.mark.parametrize("fits", [4, 6, 11])
def test_a_tile_that_does_not_fit_into_memory_is_split(monkeypatch, fits: int, name: str) -> None:
    network, channels = random_network(NETWORKS[name]), random_channels(2, (14, 15, 16))
    everywhere = np.ones(channels.shape[1:], bool)
    expected = dense_probability(network, channels, everywhere)
    whole = inference._DenseNetwork.probability
    sizes = []

    def on_a_small_gpu(self, tiles, voxels):
        size = max(tiles[0].shape[1:]) - 9
        sizes.append(size)
        if size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, tiles, voxels)

    monkeypatch.setattr(inference._DenseNetwork, "probability", on_a_small_gpu)
    np.testing.assert_allclose(dense_probability(network, channels, everywhere), expected, atol=1e-6)
    assert max(sizes) > fits
    monkeypatch.setattr(
        inference._DenseNetwork, "probability", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError)
    )
    with pytest.raises(torch.OutOfMemoryError):
        dense_probability(network, channels, everywhere)


def test_halves_are_cut_at_coarse_voxels() -> None:
    box = (slice(0, 4), slice(8, 28), slice(4, 12))
    assert inference._halves(box, 4) == [(box[0], slice(8, 20), box[2]), (box[0], slice(20, 28), box[2])]
    assert inference._halves((slice(0, 2), slice(0, 1), slice(0, 1)), 1)[1][0] == slice(1, 2)


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
    network, channels = random_network(NETWORKS["three scales"]), random_channels(2, (12, 12, 12))
    voxels = np.zeros((12, 12, 12), bool)
    voxels[0, 0, 0] = voxels[11, 5, 7] = True
    for engine in (patchwise_probability, dense_probability):
        found = engine(network, channels, voxels)
        assert (found[voxels] > 0).all()
        assert not found[~voxels].any()
        assert not engine(network, channels, np.zeros_like(voxels)).any()


@pytest.mark.parametrize("name", ["published", "three scales", "scales 1 and 3", "coarse alone"])
def test_a_voxel_depends_on_the_receptive_field_of_its_coarsest_branch_alone(name: str) -> None:
    config = NETWORKS[name]
    network, scale, size = random_network(config), max(config.scales), 24 * max(config.scales)
    channels = random_channels(config.n_channels, (size, 16, 16))
    voxel = np.zeros(channels.shape[1:], bool)
    voxel[size // 2 + 1, 8, 8] = True
    first = ((size // 2 + 1) // scale - config.patch_size // 2) * scale
    last = first + receptive_field(config) * scale - 1
    outside = channels.copy()
    outside[:, :first], outside[:, last + 1 :] = 99, 99
    for engine in (patchwise_probability, dense_probability):
        before = engine(network, channels, voxel)
        np.testing.assert_array_equal(engine(network, outside, voxel), before)
        for edge in (first, last):
            inside = channels.copy()
            inside[:, edge] = 99
            assert abs(engine(network, inside, voxel) - before).max() > 1e-4


@pytest.mark.parametrize(("name", "step"), [("published", 3), ("three scales", 4), ("scales 1 and 3", 3)])
def test_translation_by_coarse_voxels_moves_the_map_along(name: str, step: int) -> None:
    config = NETWORKS[name]
    network = random_network(config)
    middle = random_channels(2, (12, 10, 9))
    there, here = (np.zeros((2, 12 + step, 10, 9), np.float32) for _ in range(2))
    there[:, step:], here[:, :12] = middle, middle
    everywhere = np.ones(there.shape[1:], bool)
    before, after = (dense_probability(network, x, everywhere, tile_size=8) for x in (here, there))
    np.testing.assert_allclose(after[step:], before[:12], atol=1e-6)
    if max(config.scales) > 1:
        moved_less = np.roll(here, 1, axis=1)
        assert np.abs(dense_probability(network, moved_less, everywhere)[1:12] - before[:11]).max() > 1e-4


def test_what_surrounds_the_volume_is_zero() -> None:
    network, channels = random_network(SMALL), random_channels(2, (9, 10, 11))
    padded = np.pad(channels, [(0, 0), *[(4, 7)] * 3])
    inside = np.zeros(padded.shape[1:], bool)
    inside[4:-7, 4:-7, 4:-7] = True
    expected = dense_probability(network, channels, np.ones(channels.shape[1:], bool))
    found = dense_probability(network, padded, inside)
    np.testing.assert_allclose(found[4:-7, 4:-7, 4:-7], expected, atol=1e-6)


def test_the_number_of_threads_does_not_matter() -> None:
    network, channels = random_network(NETWORKS["three scales"]), random_channels(2, (20, 21, 22))
    voxels, n_threads = np.random.default_rng(0).random(channels.shape[1:]) > 0.6, torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(dense_probability(network, channels, voxels, tile_size=8))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(n_threads)
    np.testing.assert_array_equal(*found)


def test_an_error_in_one_of_many_tiles_is_raised_and_the_threads_are_as_before(monkeypatch) -> None:
    network, channels = random_network(SMALL), random_channels(2, (20, 21, 22))
    n_threads = torch.get_num_threads()
    monkeypatch.setattr(inference._DenseNetwork, "_features", lambda *_: 1 / 0)
    try:
        torch.set_num_threads(2)
        with pytest.raises(ZeroDivisionError):
            dense_probability(network, channels, np.ones(channels.shape[1:], bool), tile_size=8)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(n_threads)


def test_half_precision_is_near() -> None:
    network, channels = random_network(NETWORKS["three scales"]), random_channels(2, (12, 13, 14))
    everywhere = np.ones(channels.shape[1:], bool)
    whole, half = (dense_probability(network, channels, everywhere, half=half) for half in (False, True))
    assert half.dtype == np.float32
    assert 0 < np.abs(whole - half).max() < 2e-2


def test_inputs_stay_as_they_are_and_runs_agree_bit_for_bit() -> None:
    network, channels = random_network(NETWORKS["three scales"]), random_channels(2, (12, 12, 12))
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
