import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cascade.intensity import zscore
from bids_cascade.imaging.channels import label_on_grid, stack_channels
from bids_cascade.imaging.grid import grid_of

SHAPE = (20, 22, 24)
AFFINE = np.array([[1.0, 0, 0, -10], [0, 1.0, 0, -20], [0, 0, 1.0, 5], [0, 0, 0, 1]])
SHIFT = np.array([[1.0, 0, 0, 3], [0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])


def image(data: np.ndarray, affine: np.ndarray = AFFINE) -> nib.Nifti1Image:
    return nib.Nifti1Image(data.astype(np.float32), affine)


def random_image(seed: int) -> nib.Nifti1Image:
    return image(np.random.default_rng(seed).uniform(10, 20, SHAPE))


@pytest.fixture
def mask() -> nib.Nifti1Image:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[5:15, 5:17, 5:19] = 1
    return nib.Nifti1Image(voxels, AFFINE)


def test_images_of_1_mm_are_cut_out_and_standardised_without_interpolation(mask) -> None:
    t1w, flair = random_image(0), random_image(1)
    channels, brain = stack_channels([flair, t1w], [None, None], mask, 1.0)
    inside = np.asarray(brain.dataobj) > 0
    assert inside.sum() == 10 * 12 * 14
    assert channels.dtype == np.float32
    for channel, original in zip(channels, (flair, t1w), strict=True):
        expected = zscore(np.asarray(original.dataobj), np.asarray(mask.dataobj) > 0)[5:15, 5:17, 5:19]
        np.testing.assert_allclose(channel[inside], expected.ravel(), atol=1e-5)
        assert not channel[~inside].any()


def test_a_moved_image_is_brought_back(mask) -> None:
    still = random_image(0)
    moved = image(np.asarray(still.dataobj), SHIFT @ AFFINE)
    channels, _ = stack_channels([still, moved], [None, SHIFT], mask, 1.0)
    np.testing.assert_allclose(channels[0], channels[1], atol=1e-5)


def test_brain_beyond_a_field_of_view_is_left_out(mask) -> None:
    t1w, flair = random_image(0), random_image(1)
    short = image(np.asarray(flair.dataobj)[:, :, :15])
    _, brain = stack_channels([t1w, short], [None, None], mask, 1.0)
    assert np.asarray(brain.dataobj).sum() == 10 * 12 * 10


def test_no_common_brain_and_constant_images_are_refused(mask) -> None:
    t1w = random_image(0)
    away = image(np.asarray(t1w.dataobj), np.diag([1, 1, 1, 1]) + np.eye(4, k=3) * 500)
    with pytest.raises(ValueError, match="brain mask is empty"):
        stack_channels([t1w, away], [None, None], mask, 1.0)
    with pytest.raises(ValueError, match="have the intensity 3"):
        stack_channels([image(np.full(SHAPE, 3.0))], [None], mask, 1.0)


def test_a_label_moves_along_and_stays_binary(mask) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    voxels[8, 9, 10], voxels[8, 9, 11] = 1, 5
    _, brain = stack_channels([random_image(0)], [None], mask, 1.0)
    here = label_on_grid(image(voxels), grid_of(brain), None)
    there = label_on_grid(image(voxels, SHIFT @ AFFINE), grid_of(brain), SHIFT)
    assert np.asarray(here.dataobj).sum() == 2
    assert set(np.unique(here.dataobj)) == {0, 1}
    np.testing.assert_array_equal(here.dataobj, there.dataobj)
