import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.imaging.brain import brain_mask, is_skull_stripped
from bids_cascade.imaging.images import data_of, load_image, mask_of
from bids_cascade.imaging.intensity import (
    background_value,
    foreground,
    load_scan,
    outlier_count,
    settle,
    without_noise_around,
)

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])
DISTANCE_MM = 3 * np.linalg.norm(np.indices((60, 60, 60)) - 29.5, axis=0)


def image(data) -> nib.Nifti1Image:
    return nib.Nifti1Image(np.asarray(data, np.float32), AFFINE)


def brain():
    """Return a ball of 1.2 l of 50 to 150, amid zeros."""
    return np.where(DISTANCE_MM < 66, 50 + 100 * np.random.default_rng(0).random(DISTANCE_MM.shape), 0)


def head():
    """Return a ball amid the noise of air."""
    rng = np.random.default_rng(1)
    return np.where(DISTANCE_MM < 80, 500 + 300 * rng.random(DISTANCE_MM.shape), np.abs(rng.normal(0, 8, (60,) * 3)))


INSIDE = brain() > 0
STORED = {
    "offset": brain() + 8,
    "scaled": brain() * 0.37 - 0.0033,
    "z-scored": (brain() - 100) / 29,
    "tiny": (brain() + 8) * 1e-6,
    "dark": brain() - 1024,
}


@pytest.mark.parametrize("kind", STORED)
def test_background_is_found_however_it_is_stored(kind) -> None:
    stored = image(STORED[kind])
    assert background_value(data_of(stored)) == data_of(stored)[0, 0, 0]
    np.testing.assert_array_equal(foreground(data_of(stored)), INSIDE)
    assert is_skull_stripped(stored)
    np.testing.assert_array_equal(mask_of(brain_mask(stored, "skip").mask), INSIDE)


@pytest.mark.parametrize("kind", STORED)
def test_settled_background_is_0_and_intensities_keep_their_proportions(kind) -> None:
    settled = data_of(settle(image(STORED[kind])))
    assert not settled[~INSIDE].any()
    scale = settled[INSIDE].mean() / brain()[INSIDE].mean()
    np.testing.assert_allclose(settled / scale, brain(), atol=1e-3)


def test_background_left_at_0_by_a_z_score_of_the_brain_stays_there_and_the_brain_is_brought_above() -> None:
    data = np.where(INSIDE, (brain() - 100) / 29, 0)
    settled = data_of(settle(image(data)))
    np.testing.assert_array_equal(settled > 0, INSIDE)
    # What is above the darkest hundredth keeps its distances.
    above = INSIDE & (data > np.percentile(data[INSIDE], 2))
    assert np.ptp((settled - data)[above]) < 1e-5


def test_a_head_stored_with_an_intercept_is_brought_back() -> None:
    settled = data_of(settle(image(head() - 1024)))
    np.testing.assert_allclose(settled, head(), atol=1)


@pytest.mark.parametrize("data", [brain(), head(), head() - 5, np.where(INSIDE, brain() - 51, 0)])
def test_ordinary_scans_stay_as_they_are(data) -> None:
    """Air a little below 0, and single dark voxels of a stripped brain, are ordinary."""
    scan = image(data)
    assert settle(scan) is scan
    assert outlier_count(scan) == 0


def test_absurd_outliers_are_set_to_the_brightest_there_is() -> None:
    data = head()
    data[30, 30, 30:36], data[20, 20, 20] = 65535, -32768
    scan = image(data)
    settled = data_of(settle(scan))
    assert outlier_count(scan) == 7
    assert settled[30, 30, 30:36] == pytest.approx(799, abs=2)
    assert settled[20, 20, 20] == 0
    rest = np.abs(data) < 30000
    np.testing.assert_array_equal(settled[rest], data_of(scan)[rest])
    assert data_of(scan).max() == 65535


def test_a_settled_scan_keeps_its_place_and_name(tmp_path) -> None:
    image(head() - 1024).to_filename(tmp_path / "sub-01_T1w.nii.gz")
    scan = load_scan(tmp_path / "sub-01_T1w.nii.gz")
    assert scan.get_filename() == str(tmp_path / "sub-01_T1w.nii.gz")
    np.testing.assert_array_equal(scan.affine, AFFINE)
    assert scan.header.get_xyzt_units()[0] == "mm"


@pytest.mark.data
def test_no_real_scan_is_changed(shared_data) -> None:
    scans = [*shared_data.glob("longitudinal/sub-01/ses-1/anat/*.nii.gz")]
    scans += shared_data.glob("labelled-thick/sub-mi101627/anat/*.nii.gz")
    scans += shared_data.glob("labelled-1mm/sub-*/anat/*.nii.gz")
    assert len(scans) == 9
    for path in scans:
        scan = load_image(path)
        assert settle(scan) is scan, path.name


def test_noise_around_a_head_goes_and_the_head_stays() -> None:
    rng = np.random.default_rng(0)
    head = np.linalg.norm(np.indices((60, 60, 60)) - 29.5, axis=0) < 20
    noise = rng.uniform(0, 4000, head.shape)
    data = np.where(head, 2000 + rng.normal(0, 100, head.shape), noise).astype(np.float32)
    data[28:31, 28:31, 28:31] = noise[28:31, 28:31, 28:31]  # bone, air or fluid within
    quiet = without_noise_around(data)
    inner, outer = ndimage.binary_erosion(head, iterations=3), ndimage.binary_dilation(head, iterations=3)
    np.testing.assert_array_equal(quiet[inner], data[inner])
    assert not quiet[~outer].any()
    plain = np.where(head, data, 0).astype(np.float32)
    np.testing.assert_array_equal(without_noise_around(plain), plain)


@pytest.mark.parametrize("stored", [lambda ratio: ratio, lambda ratio: np.rint((ratio + 0.5) * 4095)])
def test_the_ratio_of_two_inversions_keeps_a_brain_that_bone_without_signal_parts_from_the_scalp(stored) -> None:
    """MP2RAGE (Marques et al. 2010): both inversions have complex noise. The scalp is more than the brain, and open."""
    rng = np.random.default_rng(0)
    x, y, z = np.indices((72, 72, 72)) - 35.5
    away = np.sqrt(x**2 + y**2 + z**2)
    brain, scalp = away < 16, (away > 23) & (away < 33) & (z > -20)
    fluid = away < 6
    # Signal at both inversions: white matter, fluid, fat; none in bone and air.
    first = np.select([fluid, brain, scalp], [-0.06, 0.05, 0.12], 0.0)
    second = np.select([fluid, brain, scalp], [0.07, 0.09, 0.12], 0.0)
    noisy = [
        ndimage.gaussian_filter(one, 0.7)
        + 0.004 * (rng.standard_normal(one.shape) + 1j * rng.standard_normal(one.shape))
        for one in (first, second)
    ]
    ratio = (np.conj(noisy[0]) * noisy[1]).real / (np.abs(noisy[0]) ** 2 + np.abs(noisy[1]) ** 2)
    assert ratio[~(brain | scalp)].std() > 0.25, "noise over the whole range"
    data = stored(ratio).astype(np.float32)
    data -= data.min()
    quiet = without_noise_around(data)
    inner = ndimage.binary_erosion(brain, iterations=2)
    np.testing.assert_array_equal(quiet[inner], data[inner])
    assert (quiet[away > 38] == 0).mean() > 0.999
    bone = (away > 19) & (away < 20)
    assert (quiet[bone] == 0).mean() > 0.95
