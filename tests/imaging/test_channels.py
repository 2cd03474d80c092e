from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cascade.normalisation import normalise
from bids_cascade.cascade.zscore import zscore_over_volume
from bids_cascade.config import WHITE_MATTER, WHOLE_VOLUME
from bids_cascade.errors import BadDataError
from bids_cascade.imaging.channels import label_on_grid, move_label, present_channels, save_channels, stack_channels
from bids_cascade.imaging.grid import grid_of

SHAPE = (20, 22, 24)
AFFINE = np.array([[1.0, 0, 0, -10], [0, 1.0, 0, -20], [0, 0, 1.0, 5], [0, 0, 0, 1]])
SHIFT = np.array([[1.0, 0, 0, 3], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])
BOTH = ("T1w", "FLAIR")


def image(data: np.ndarray, affine: np.ndarray = AFFINE) -> nib.Nifti1Image:
    return nib.Nifti1Image(data.astype(np.float32), affine)


def random_image(seed: int) -> nib.Nifti1Image:
    return image(np.random.default_rng(seed).uniform(10, 20, SHAPE))


@pytest.fixture
def mask() -> nib.Nifti1Image:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[5:15, 5:17, 5:19] = 1
    return nib.Nifti1Image(voxels, AFFINE)


def test_images_of_1_mm_are_cut_out_and_normalised_together_without_interpolation(mask) -> None:
    images = {"T1w": random_image(0), "FLAIR": random_image(1)}
    channels, brain, _ = stack_channels(images, [None, None], mask, 1.0, BOTH)
    inside = np.asarray(brain.dataobj) > 0
    assert inside.sum() == 10 * 12 * 14
    assert channels.dtype == np.float32
    whole = np.stack([np.asarray(one.dataobj) for one in images.values()])
    expected = normalise(whole, np.asarray(mask.dataobj) > 0, BOTH)[:, 5:15, 5:17, 5:19]
    np.testing.assert_allclose(channels[:, inside], expected.reshape(2, -1), atol=1e-5)
    assert not channels[:, ~inside].any()


def test_the_z_score_is_over_the_whole_field_of_view_of_the_flair(mask) -> None:
    images = {"T1w": random_image(0), "FLAIR": random_image(1)}
    channels, brain, contrast = stack_channels(images, [None, None], mask, 1.0, BOTH, WHOLE_VOLUME)
    inside = np.asarray(mask.dataobj) > 0
    whole = np.stack([np.where(inside, np.asarray(one.dataobj), 0) for one in images.values()])
    expected = zscore_over_volume(whole, inside, inside.size)
    np.testing.assert_allclose(channels[:, np.asarray(brain.dataobj) > 0], expected[:, inside], atol=1e-4)
    np.testing.assert_allclose(channels[:, 0, 0, 0], expected[:, 0, 0, 0], atol=1e-4)
    assert contrast == stack_channels(images, [None, None], mask, 1.0, BOTH)[2]


@pytest.mark.parametrize("sequences", [("FLAIR", "T1w"), ("FLAIR",), ("T2w", "FLAIR"), ("T1w", "FLAIR", "T2w")])
def test_channels_are_some_of_the_images_in_their_own_order(mask, sequences) -> None:
    """The T1w helps to tell the tissues apart also where it is no channel."""
    images = {name: random_image(seed) for seed, name in enumerate(("T1w", "FLAIR", "T2w"))}
    every, _, _ = stack_channels(images, [None] * 3, mask, 1.0, tuple(images))
    channels, _, _ = stack_channels(images, [None] * 3, mask, 1.0, sequences)
    np.testing.assert_array_equal(channels, every[[list(images).index(name) for name in sequences]])


def test_a_moved_image_is_brought_back(mask) -> None:
    still = random_image(0)
    moved = image(np.asarray(still.dataobj), SHIFT @ AFFINE)
    channels, _, _ = stack_channels({"T1w": still, "FLAIR": moved}, [None, SHIFT], mask, 1.0, BOTH)
    expected, _, _ = stack_channels({"T1w": still, "FLAIR": still}, [None, None], mask, 1.0, BOTH)
    np.testing.assert_allclose(channels, expected, atol=1e-4)


def test_brain_beyond_a_field_of_view_is_left_out(mask) -> None:
    short = image(np.asarray(random_image(1).dataobj)[:, :, :15])
    channels, brain, _ = stack_channels({"T1w": random_image(0), "FLAIR": short}, [None, None], mask, 1.0, BOTH)
    assert np.asarray(brain.dataobj).sum() == 10 * 12 * 10
    assert not channels[:, np.asarray(brain.dataobj) == 0].any()


def test_no_common_brain_and_constant_images_are_refused(mask) -> None:
    t1w = random_image(0)
    away = image(np.asarray(t1w.dataobj), np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 500)
    with pytest.raises(ValueError, match="the brain has 0 voxels; at least 1000 are needed"):
        stack_channels({"T1w": t1w, "FLAIR": away}, [None, None], mask, 1.0, BOTH)
    with pytest.raises(ValueError, match="FLAIR is constant over the brain"):
        stack_channels({"T1w": t1w, "FLAIR": image(np.full(SHAPE, 3.0))}, [None, None], mask, 1.0, BOTH)
    with pytest.raises(ValueError, match="tissues are known in T1w and FLAIR, not in T2w"):
        stack_channels({"T2w": t1w}, [None], mask, 1.0, ("T2w",))


def test_a_label_moves_along_and_stays_binary(mask) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[8, 9, 10], voxels[8, 9, 11] = 1, 5
    _, brain, _ = stack_channels({"T1w": random_image(0)}, [None], mask, 1.0, ("T1w",))
    here = label_on_grid(image(voxels), grid_of(brain), None)
    there = label_on_grid(image(voxels, SHIFT @ AFFINE), grid_of(brain), SHIFT)
    assert np.asarray(here.dataobj).sum() == 2
    assert set(np.unique(here.dataobj)) == {0, 1}
    np.testing.assert_array_equal(here.dataobj, there.dataobj)


def test_a_label_is_moved_from_the_grid_it_is_on(mask, tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[8, 9, 10:12] = 1
    t1w, flair, label = (tmp_path / f"{name}.nii" for name in ("t1w", "flair", "label"))
    random_image(0).to_filename(t1w)
    image(np.asarray(random_image(1).dataobj), SHIFT @ AFFINE).to_filename(flair)
    _, brain, _ = stack_channels({"T1w": random_image(0)}, [None], mask, 1.0, ("T1w",))
    transforms = {t1w: np.eye(4), flair: SHIFT}
    moved = []
    for affine in (AFFINE, SHIFT @ AFFINE):
        image(voxels, affine).to_filename(label)
        moved.append(np.asarray(move_label(label, transforms, grid_of(brain)).dataobj))
    assert moved[0].sum() == 2
    np.testing.assert_array_equal(*moved)
    image(voxels[:-1]).to_filename(label)
    with pytest.raises(BadDataError, match=r"label.nii: the mask, .* expected that of t1w.nii or flair.nii"):
        move_label(label, transforms, grid_of(brain))


def test_a_channel_without_an_image_is_0_and_the_others_are_as_if_there_were_no_such_channel(mask) -> None:
    images = {"FLAIR": random_image(1)}
    channels, brain, contrast = stack_channels(images, [None], mask, 1.0, BOTH)
    alone, own_brain, _ = stack_channels(images, [None], mask, 1.0, ("FLAIR",))
    assert not channels[0].any()
    np.testing.assert_array_equal(channels[1], alone[0])
    np.testing.assert_array_equal(np.asarray(brain.dataobj), np.asarray(own_brain.dataobj))
    assert list(contrast) == ["FLAIR"]


def test_channels_without_an_image_are_left_out_and_white_matter_is_1_whatever_the_model_takes(mask) -> None:
    images = {"T1w": random_image(0), "FLAIR": random_image(1)}
    for normalisation in (WHITE_MATTER, WHOLE_VOLUME):
        channels, brain, _ = stack_channels(
            images, [None, None], mask, 1.0, ("T1w", "T2w", "FLAIR"), normalisation=normalisation
        )
        present, names = present_channels(channels, brain, ("T1w", "T2w", "FLAIR"), normalisation)
        assert names == ["T1w", "FLAIR"]
        expected, _, _ = stack_channels(images, [None, None], mask, 1.0, BOTH)
        np.testing.assert_allclose(present, expected, atol=1e-3)


def test_channels_are_read_back_as_they_were_written(mask, tmp_path: Path) -> None:
    channels = np.random.default_rng(0).uniform(0, 2, (2, *SHAPE)).astype(np.float32)
    files = save_channels(channels, mask, tmp_path)
    np.testing.assert_array_equal(np.load(files["channels"]), channels)
    brain = nib.load(files["brain"])
    np.testing.assert_array_equal(brain.affine, AFFINE)
    np.testing.assert_array_equal(brain.dataobj, mask.dataobj)
