from dataclasses import replace

import pytest
import torch

from bids_cascade.cascade.network import build_network, receptive_field, remaining_size
from bids_cascade.config import NetworkConfig

from .test_inference import NETWORKS, random_network


def test_the_published_network_worked_by_hand() -> None:
    # 11 -conv-> 9 -pool-> 4 -conv-> 2 -pool-> 1; back: 1 -> 2 -> 4 -> 8 -> 10
    config = NetworkConfig(2, scales=(1,))
    assert remaining_size(config) == 1
    assert receptive_field(config) == 10
    network = build_network(config, seed=0)
    assert (network.before, network.after) == (5, 4)
    weights = (2 * 27 * 32 + 32) + 2 * 32 + (32 * 27 * 64 + 64) + 2 * 64 + (64 * 256 + 256) + (256 * 2 + 2)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert network(torch.zeros(3, 1, 2, 11, 11, 11)).shape == (3, 2)


def test_each_scale_has_weights_of_its_own() -> None:
    network = build_network(NetworkConfig(2, scales=(1, 2, 4)), seed=0)
    branch = (2 * 27 * 32 + 32) + 2 * 32 + (32 * 27 * 64 + 64) + 2 * 64
    weights = 3 * branch + (3 * 64 * 256 + 256) + (256 * 2 + 2)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert network(torch.zeros(3, 3, 2, 11, 11, 11)).shape == (3, 2)


def test_a_wide_rest_worked_by_hand() -> None:
    # 17 -conv-> 15 -pool-> 7 -conv-> 5 -pool-> 2; back: 2 -> 4 -> 6 -> 12 -> 14
    network = build_network(NETWORKS["wide rest"], seed=0)
    assert (network.remaining_size, network.receptive_field) == (2, 14)
    assert (network.before, network.after) == (8, 5)
    assert network.dense[0].in_features == 2**3 * 4


def test_residual_convolutions_worked_by_hand() -> None:
    # 17 -conv-> 15 -conv-> 13 -pool-> 6 -conv-> 4 -conv-> 2 -pool-> 1; back: 1 -> 2 -> 6 -> 12 -> 16
    config = NetworkConfig(2, patch_size=17, scales=(1,), convolutions=2)
    assert remaining_size(config) == 1
    assert receptive_field(config) == 16
    network = build_network(config, seed=0)
    assert (network.before, network.after) == (8, 7)
    added = (32 * 27 * 32 + 32) + (64 * 27 * 64 + 64)
    assert sum(parameter.numel() for parameter in network.parameters()) - added == sum(
        parameter.numel()
        for parameter in build_network(replace(config, patch_size=11, convolutions=1), seed=0).parameters()
    )


def test_a_residual_convolution_adds_to_the_centre_of_its_input() -> None:
    network = random_network(NetworkConfig(1, patch_size=7, features=(4,), scales=(1,), dense=(), convolutions=2))
    block, x = network.branches[0][0], torch.randn(2, 1, 7, 7, 7)
    before = block.norm(block.convolution(x))  # 5 voxels wide
    residual = block.residuals[0]
    slow = before[..., 1:-1, 1:-1, 1:-1] + torch.nn.functional.conv3d(before.relu(), residual.weight, residual.bias)
    torch.testing.assert_close(block(x), torch.nn.functional.max_pool3d(slow, 2).relu())


def test_an_untrained_residual_convolution_changes_nothing() -> None:
    config = NetworkConfig(1, patch_size=5, features=(4,), scales=(1,), dense=())
    plain, deep = (build_network(c, seed=0) for c in (config, replace(config, patch_size=7, convolutions=2)))
    deep.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 1, 7, 7, 7)
    central = torch.nn.functional.max_pool3d(
        plain.branches[0][0].norm(plain.branches[0][0].convolution(x))[..., 1:-1, 1:-1, 1:-1], 2
    )
    torch.testing.assert_close(deep.branches[0][0](x), central.relu())


def test_the_seed_decides_the_weights_and_the_global_state_stays() -> None:
    state = torch.get_rng_state()
    first, again, other = (build_network(NetworkConfig(1), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weight = first.branches[0][0].convolution.weight
    assert torch.equal(weight, again.branches[0][0].convolution.weight)
    assert not torch.equal(weight, other.branches[0][0].convolution.weight)
    assert not torch.equal(weight, first.branches[1][0].convolution.weight)


def test_block_is_convolution_norm_relu_pool() -> None:
    network = random_network(NetworkConfig(1, patch_size=5, features=(4,), scales=(1,), dense=()))
    block, x = network.branches[0][0], torch.randn(2, 1, 5, 5, 5)
    slow = torch.nn.functional.max_pool3d(block.norm(block.convolution(x)).relu(), 2)
    torch.testing.assert_close(block(x), slow)
    ((weight, bias),) = block.folded()
    torch.testing.assert_close(torch.nn.functional.conv3d(x, weight, bias), block.norm(block.convolution(x)))


def test_only_a_norm_with_statistics_can_be_folded() -> None:
    block = build_network(NetworkConfig(1), seed=0).branches[0][0]
    block.norm.running_mean = None
    with pytest.raises(ValueError, match="a convolution with a bias and a batch norm with running statistics"):
        block.folded()


@pytest.mark.parametrize("name", NETWORKS)
def test_crops_give_what_patches_give(name: str) -> None:
    config = NETWORKS[name]
    network = random_network(config)
    step = max(config.scales) * (3 if config.scales == (2, 3) else 1)
    size, n_crops = 2 * step, 2
    half = config.patch_size // 2
    # Of each scale, so much that the patches of all voxels of the crops lie in it.
    whole = [torch.randn(n_crops, config.n_channels, *[size // scale + 2 * half] * 3) for scale in config.scales]
    voxels = torch.cartesian_prod(torch.arange(n_crops), *[torch.arange(size)] * 3)
    voxels = voxels[torch.randperm(len(voxels), generator=torch.Generator().manual_seed(0))[:50]]
    patches = []
    for crop, *voxel in voxels.tolist():
        cells = [[place // scale for place in voxel] for scale in config.scales]
        patches.append(
            torch.stack(
                [
                    view[crop][(slice(None), *(slice(cell, cell + config.patch_size) for cell in place))]
                    for view, place in zip(whole, cells, strict=True)
                ]
            )
        )
    used = [
        view[(..., *[slice(size // scale + network.before + network.after)] * 3)]
        for view, scale in zip(whole, config.scales, strict=True)
    ]
    with torch.inference_mode():
        expected, found = network(torch.stack(patches)), network.forward_crops(used, voxels)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_no_voxel_no_logits() -> None:
    network = random_network(NETWORKS["three scales"])
    crops = [torch.zeros(1, 2, *[8 // scale + 9] * 3) for scale in (1, 2, 4)]
    assert network.forward_crops(crops, torch.zeros(0, 4, dtype=torch.int64)).shape == (0, 2)


def test_dropout_is_for_training_alone() -> None:
    config = replace(NETWORKS["three scales"], dropout=0.5)
    network = random_network(config)
    crops, voxels = [torch.randn(1, 2, *[4 // scale + 9] * 3) for scale in (1, 2, 4)], torch.tensor([[0, 1, 2, 3]])
    assert torch.equal(*(network.forward_crops(crops, voxels) for _ in range(2)))
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train()
    assert not torch.equal(*(network.forward_crops(crops, voxels) for _ in range(2)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (NetworkConfig(1, patch_size=10), "the patch size is 10; a patch with a centre voxel has an odd size"),
        (NetworkConfig(1, patch_size=7), "a patch of 7 voxels is too small for 2 blocks"),
        (NetworkConfig(1, patch_size=13, convolutions=2), "a patch of 13 voxels is too small for 2 blocks"),
        (NetworkConfig(1, kernel_size=4, patch_size=17, convolutions=2), "the kernel size is 4; .* an odd one"),
        (NetworkConfig(1, scales=()), r"the scales are \(\); expected different whole numbers above 0"),
        (NetworkConfig(1, scales=(1, 0)), r"the scales are \(1, 0\)"),
        (NetworkConfig(1, scales=(2, 2)), r"the scales are \(2, 2\)"),
    ],
)
def test_errors(config: NetworkConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(config, seed=0)
