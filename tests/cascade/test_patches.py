import numpy as np
import pytest
import torch

from bids_cascade.cascade.patches import FLIPS, gather_patches, mirror_half


def test_patches_are_what_slicing_gives() -> None:
    channels = np.random.default_rng(0).normal(size=(2, 9, 10, 11)).astype(np.float32)
    centres = np.array([[4, 5, 6], [2, 2, 2], [6, 7, 8]])
    patches = gather_patches(channels, centres, 5)
    for patch, (x, y, z) in zip(patches, centres, strict=True):
        np.testing.assert_array_equal(patch, channels[:, x - 2 : x + 3, y - 2 : y + 3, z - 2 : z + 3])


def test_beyond_the_volume_are_zeros() -> None:
    channels = np.ones((1, 4, 4, 4), np.float32)
    corner, far = gather_patches(channels, np.array([[0, 0, 0], [3, 3, 3]]), 3)
    assert corner[0, 0].sum() == 0
    assert corner.sum() == 8
    assert far[0, 2].sum() == 0
    assert far.sum() == 8


def test_memory_mapped_channels_give_the_same(tmp_path) -> None:
    channels = np.random.default_rng(0).normal(size=(2, 9, 9, 9)).astype(np.float32)
    np.save(tmp_path / "channels.npy", channels)
    mapped = np.load(tmp_path / "channels.npy", mmap_mode="r")
    centres = np.array([[4, 4, 4], [0, 8, 3]])
    np.testing.assert_array_equal(gather_patches(mapped, centres, 5), gather_patches(channels, centres, 5))


def test_no_centre_no_patch() -> None:
    assert gather_patches(np.ones((2, 4, 4, 4), np.float32), np.empty((0, 3), int), 3).shape == (0, 2, 3, 3, 3)


@pytest.mark.parametrize(
    ("centres", "size", "message"),
    [
        (np.zeros((1, 3), int), 4, "odd size"),
        (np.zeros((1, 2), int), 3, r"centres \(N, 3\)"),
        (np.array([[0, 0, 4]]), 3, r"outside the volume of shape \(4, 4, 4\)"),
        (np.array([[0, -1, 0]]), 3, "outside the volume"),
    ],
)
def test_errors(centres: np.ndarray, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gather_patches(np.ones((1, 4, 4, 4), np.float32), centres, size)


def test_half_of_the_batch_is_mirrored_and_each_mirroring_occurs() -> None:
    patches = torch.randn(400, 2, 3, 3, 3)
    mirrored = mirror_half(patches, np.random.default_rng(0))
    same = (mirrored == patches).flatten(1).all(1)
    assert int(same.sum()) == 200
    for axes in FLIPS:
        flipped = (mirrored == patches.flip(axes)).flatten(1).all(1)
        assert 10 < int(flipped.sum()) < 60, axes
    assert torch.equal(mirror_half(patches, np.random.default_rng(0)), mirrored)


def test_there_are_seven_mirrorings() -> None:
    assert len(set(FLIPS)) == 7
