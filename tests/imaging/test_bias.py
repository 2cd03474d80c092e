from functools import cache

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.bias import correct_bias, correct_scan

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
SHAPE = (61, 70, 27)


@cache
def head(with_bias=True):
    """Two tissues in a ball, times a smooth field that falls by a third from front to back."""
    x, y, z = np.indices(SHAPE)
    distance = np.linalg.norm([2 * (x - 30), 2 * (y - 35), 5 * (z - 13)], axis=0)
    tissue = np.where((x // 4 + y // 4 + z // 2) % 2 == 0, 100.0, 70.0)
    noise = np.random.default_rng(0).normal(scale=2, size=SHAPE)
    field = np.exp(-0.4 * (y - 35) / 70) if with_bias else 1
    data = np.where(distance < 58, (tissue + noise) * field, 0).astype(np.float32)
    return nib.Nifti1Image(data, AFFINE), nib.Nifti1Image((distance < 55).astype(np.uint8), AFFINE)


@pytest.fixture(scope="module")
def corrected():
    return correct_bias(*head())


def spread(image, mask):
    """Spread of the brighter tissue, relative to its mean."""
    x, y, z = np.indices(SHAPE)
    bright = (mask.get_fdata() > 0) & ((x // 4 + y // 4 + z // 2) % 2 == 0)
    values = image.get_fdata()[bright]
    return values.std() / values.mean()


def test_field_is_found_and_scale_kept(corrected):
    image, mask = head()
    assert spread(image, mask) > 0.07
    assert spread(corrected, mask) < 0.04
    inside = mask.get_fdata() > 0
    ratio = np.log(image.get_fdata()[inside] / corrected.get_fdata()[inside])
    assert abs(ratio.mean()) < 1e-5
    np.testing.assert_array_equal(corrected.affine, AFFINE)
    np.testing.assert_array_equal(corrected.get_fdata() > 0, image.get_fdata() > 0)


def test_two_runs_give_equal_bytes_and_the_input_stays(corrected):
    image, mask = head()
    before = np.array(image.dataobj)
    assert np.asarray(correct_bias(image, mask).dataobj).tobytes() == np.asarray(corrected.dataobj).tobytes()
    np.testing.assert_array_equal(image.dataobj, before)


def test_even_image_stays_even():
    image, mask = head(with_bias=False)
    assert spread(correct_bias(image, mask), mask) < 0.04


def test_negative_voxels_keep_their_sign():
    image, mask = head()
    data = np.array(image.dataobj)
    data[30, 35, 13] = -5
    assert -8 < correct_bias(nib.Nifti1Image(data, AFFINE), mask).get_fdata()[30, 35, 13] < -3


def test_a_brain_without_signal_is_refused():
    _, mask = head()
    with pytest.raises(BadDataError, match="no positive voxel"):
        correct_bias(nib.Nifti1Image(np.zeros(SHAPE, np.float32), AFFINE), mask)


def test_the_order_of_the_axes_makes_no_difference(corrected):
    """Blocks begin at the same end of the head, whatever end of an axis is stored first."""
    image, mask = head()
    turned = [one.as_reoriented([[1, -1], [2, 1], [0, -1]]) for one in (image, mask)]
    found = nib.as_closest_canonical(correct_bias(*turned))
    np.testing.assert_array_equal(found.get_fdata(), corrected.get_fdata())


def test_a_scan_is_corrected_within_the_brain_of_the_t1w_image(corrected):
    image, mask = head()
    to_own = np.eye(4)
    to_own[:3, 3] = (8, -6, 10)
    moved = nib.Nifti1Image(np.asarray(image.dataobj), to_own @ AFFINE)
    expected = np.asarray(corrected.dataobj)
    np.testing.assert_array_equal(np.asarray(correct_scan(image, mask, np.eye(4)).dataobj), expected)
    np.testing.assert_allclose(np.asarray(correct_scan(moved, mask, to_own).dataobj), expected, rtol=1e-3)


def test_a_scan_that_is_constant_over_the_brain_is_refused():
    _, mask = head()
    with pytest.raises(BadDataError, match="1 different intensities in the brain"):
        correct_scan(nib.Nifti1Image(np.full(SHAPE, 7, np.float32), AFFINE), mask, np.eye(4))
