import numpy as np
import pytest

from bids_cascade.cascade.patches import FLIPS, coarsen, gather_patches, read_box, read_crop


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_patches_are_what_slicing_gives() -> None:
    channels = noise(2, 9, 10, 11)
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
    channels = noise(2, 9, 9, 9)
    np.save(tmp_path / "channels.npy", channels)
    mapped = np.load(tmp_path / "channels.npy", mmap_mode="r")
    centres = np.array([[4, 4, 4], [0, 8, 3]])
    np.testing.assert_array_equal(gather_patches(mapped, centres, 5), gather_patches(channels, centres, 5))


def test_no_centre_no_patch() -> None:
    assert gather_patches(np.ones((2, 4, 4, 4), np.float32), np.empty((0, 3), int), 3).shape == (0, 2, 3, 3, 3)


@pytest.mark.parametrize(
    ("centres", "size", "message"),
    [
        (np.zeros((1, 3), int), 4, "the patch size is 4; a patch with a centre voxel has an odd size"),
        (np.zeros((1, 3), int), -1, "the patch size is -1"),
        (np.zeros((1, 2), int), 3, r"expected channels \(C, X, Y, Z\) and centres \(N, 3\)"),
        (np.array([[0, 0, 4]]), 3, r"outside the volume of shape \(4, 4, 4\)"),
        (np.array([[0, -1, 0]]), 3, "outside the volume"),
    ],
)
def test_errors(centres: np.ndarray, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gather_patches(np.ones((1, 4, 4, 4), np.float32), centres, size)


def test_there_are_seven_mirrorings() -> None:
    assert len(set(FLIPS)) == 7
    assert all(axes and set(axes) <= {-3, -2, -1} for axes in FLIPS)


def test_block_means_by_hand() -> None:
    channels = np.zeros((1, 3, 2, 2), np.float32)
    channels[0, :2] = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]
    channels[0, 2] = 16
    np.testing.assert_array_equal(coarsen(channels, 2), [[[[4.5]], [[8]]]])  # of the last block, half is there


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 20])
def test_block_means_are_those_of_each_block(scale: int) -> None:
    channels = noise(2, 7, 8, 9)
    found = coarsen(channels, scale)
    assert found.shape == (2, *(-(-size // scale) for size in (7, 8, 9)))
    assert found.dtype == np.float32
    for x, y, z in np.ndindex(found.shape[1:]):
        block = channels[(slice(None), *(slice(i * scale, (i + 1) * scale) for i in (x, y, z)))]
        np.testing.assert_allclose(found[:, x, y, z], block.sum(axis=(1, 2, 3)) / scale**3, atol=1e-6)


def test_block_means_of_half_precision_are_computed_in_single() -> None:
    channels = np.full((1, 16, 16, 16), 30_000, np.float16)
    np.testing.assert_array_equal(coarsen(channels, 16), np.full((1, 1, 1, 1), 30_000, np.float32))


@pytest.mark.parametrize("start", range(-9, 12, 2))
@pytest.mark.parametrize("size", [1, 4, 9])
def test_a_box_may_lie_anywhere(start: int, size: int) -> None:
    channels, around = noise(2, 5, 6, 7), 20
    padded = np.pad(channels, [(0, 0), *[(around, around)] * 3])
    for axis in range(3):
        box = [slice(1, 4), slice(-1, 3), slice(5, 9)]
        box[axis] = slice(start, start + size)
        expected = padded[(slice(None), *(slice(edge.start + around, edge.stop + around) for edge in box))]
        np.testing.assert_array_equal(read_box(channels, box), expected)


def test_a_box_of_a_mask_is_a_mask() -> None:
    assert read_box(np.ones((1, 2, 2, 2), bool), [slice(-1, 1)] * 3).dtype == bool


@pytest.mark.parametrize("scales", [(1,), (1, 2, 4), (3, 1), (2, 3)])
@pytest.mark.parametrize("start", [(0, 0, 0), (12, 0, 24), (-12, 24, -24), (36, 12, 0)])
@pytest.mark.parametrize(("before", "after"), [(5, 4), (0, 0), (1, 3)])
@pytest.mark.parametrize("kept", [(), (1, 2, 3, 4), (4,)])
def test_crops_are_read_from_block_means_of_the_whole(scales, start, before, after, kept, tmp_path) -> None:
    channels, around = noise(2, 14, 15, 16), 72  # a multiple of all scales
    np.save(tmp_path / "channels.npy", channels.astype(np.float16))
    mapped = np.load(tmp_path / "channels.npy", mmap_mode="r")
    padded = np.pad(mapped.astype(np.float32), [(0, 0), *[(around, around)] * 3])
    box = [slice(first, first + size) for first, size in zip(start, (12, 6, 7), strict=True)]
    crops = read_crop(mapped, box, scales, (before, after), {scale: coarsen(mapped, scale) for scale in kept})
    for crop, scale in zip(crops, scales, strict=True):
        cells = [
            slice((edge.start + around) // scale - before, -(-(edge.stop + around) // scale) + after) for edge in box
        ]
        np.testing.assert_allclose(crop, coarsen(padded, scale)[(slice(None), *cells)], atol=1e-6)
        assert crop.dtype == np.float32


def test_a_crop_that_starts_between_coarse_voxels_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the box starts at \[4, 2, 0\], expected multiples of \(1, 4\)"):
        read_crop(noise(1, 8, 8, 8), [slice(4, 8), slice(2, 6), slice(0, 4)], (1, 4), (1, 1), {})
