import nibabel as nib
import numpy as np
import pytest

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.brain import brain_mask, is_skull_stripped
from bids_cascade.imaging.images import load_image, mask_of

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def ball(radius_mm, hole=False):
    """Head-shaped stand-in: a noisy ball amid zeros, in a field of view of 200 mm."""
    distance = 2 * np.linalg.norm(np.indices((100, 100, 100)) - 49.5, axis=0)
    data = np.where(distance < radius_mm, 100 + np.random.default_rng(0).random(distance.shape), 0)
    if hole:
        data[distance < 10] = 0
    return nib.Nifti1Image(data.astype(np.float32), AFFINE)


def test_skip_takes_the_non_zero_voxels_and_fills_holes():
    found = brain_mask(ball(70, hole=True), "skip")
    assert found.method == "nonzero"
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.01)
    np.testing.assert_array_equal(mask_of(found.mask), ball(70).get_fdata() > 0)
    assert found.mask.get_data_dtype() == np.uint8


def test_skip_drops_specks():
    image = ball(70)
    image.dataobj[0, 0, 0] = 1
    assert not mask_of(brain_mask(image, "skip").mask)[0, 0, 0]


@pytest.mark.parametrize(("radius_mm", "volume"), [(40, "268"), (95, "35")])
def test_a_brain_of_absurd_volume_is_refused(radius_mm, volume):
    image = ball(radius_mm)
    image.set_filename("sub-01_T1w.nii.gz")
    with pytest.raises(BadDataError, match=rf"sub-01_T1w.* {volume}\d* ml; expected 500 to 2500 ml"):
        brain_mask(image, "skip")


def test_nothing_at_all_is_refused():
    with pytest.raises(BadDataError, match="0 ml"):
        brain_mask(nib.Nifti1Image(np.zeros((50, 50, 50), np.float32), AFFINE), "skip")


def test_stripped_images_are_noticed_by_volume_background_and_border():
    assert is_skull_stripped(ball(70))
    assert not is_skull_stripped(ball(95))
    noisy = ball(70).get_fdata() + np.random.default_rng(1).random((100, 100, 100))
    assert not is_skull_stripped(nib.Nifti1Image(noisy.astype(np.float32), AFFINE))
    cut = nib.Nifti1Image(ball(70).get_fdata()[30:70].astype(np.float32), AFFINE)
    assert not is_skull_stripped(cut)


@pytest.mark.data
def test_stripped_images_are_noticed_in_real_scans(shared_data):
    raw = [*shared_data.glob("longitudinal/sub-0[134]/ses-*/anat/*_T1w.nii.gz")]
    raw += shared_data.glob("labelled-thick/sub-sv*/anat/*_T1w.nii.gz")
    assert raw
    assert [path.name for path in raw if is_skull_stripped(load_image(path))] == []
    for path in shared_data.glob("labelled-1mm/sub-*/anat/*.nii.gz"):
        assert is_skull_stripped(load_image(path)), path.name


@pytest.mark.data
@pytest.mark.slow
def test_deepbet_mask_of_a_real_scan_follows_its_orientation(shared_data):
    image = load_image(shared_data / "longitudinal/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz")
    found = brain_mask(image)
    assert found.method == "deepbet"
    assert found.volume_ml == pytest.approx(1346, rel=0.02)
    np.testing.assert_array_equal(found.mask.affine, image.affine)
    turned = image.as_reoriented([[1, 1], [0, -1], [2, -1]])
    turned_back = brain_mask(turned, "force", n_threads=2).mask.as_reoriented([[1, -1], [0, 1], [2, -1]])
    np.testing.assert_array_equal(mask_of(turned_back), mask_of(found.mask))


def test_a_mask_as_large_as_its_box_is_refused():
    """As where the background isn't one value, so that all of a small field of view seems to be brain."""
    cube = (2 * np.abs(np.indices((100, 100, 100)) - 49.5).max(axis=0) < 60).astype(np.float32)
    with pytest.raises(BadDataError, match=r"fills 100% of the box around it.*use --skull-strip force"):
        brain_mask(nib.Nifti1Image(cube, AFFINE), "skip")
