import nibabel as nib
import numpy as np
import pytest

from bids_cascade.imaging.quality import (
    cut_area_cm2,
    gather,
    ghosting,
    join_measures,
    lesion_contrast,
    measure_raw,
    measure_scan,
    neck_volume_ml,
    noise,
)
from bids_cascade.imaging.quality_rules import describe_columns, find_flags
from bids_cascade.imaging.scan import Scan, make_scan, slice_axis

from .test_quality_rules import GOOD

SHAPE = (90, 100, 30)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])
BRAIN = (slice(25, 65), slice(30, 70), slice(5, 25))


def brain_mask() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[BRAIN] = True
    return mask


def scan(data: np.ndarray) -> Scan:
    return make_scan(*with_brain(data), np.eye(4))


def with_brain(data: np.ndarray, affine: np.ndarray = AFFINE) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    return nib.Nifti1Image(data.astype(np.float32), affine), nib.Nifti1Image(brain_mask().astype(np.uint8), affine)


def test_slices_lie_across_the_thickest_edge() -> None:
    assert slice_axis(nib.Nifti1Image(np.zeros((2, 2, 2)), np.diag([4.0, 1, 1, 1]))) == 0
    assert slice_axis(nib.Nifti1Image(np.zeros((2, 2, 2)), np.diag([1.4, 1, 1, 1]))) == 2
    assert slice_axis(nib.Nifti1Image(np.zeros((2, 2, 2)), np.diag([1, 0.5, 0.9, 1]))) == 2, "1 mm is not thick"
    assert slice_axis(nib.Nifti1Image(np.zeros((2, 2, 2)), np.diag([0.5, 3, 0.9, 1]))) == 1


def test_a_scan_is_turned_to_ras_and_gets_the_brain_where_it_lies_in_it() -> None:
    flipped = np.diag([-2.0, -2.0, 5.0, 1.0])
    flipped[:3, 3] = [178, 198, 0]
    image = nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), flipped)
    shift = np.eye(4)
    shift[0, 3] = 4
    one = make_scan(image, nib.Nifti1Image(brain_mask().astype(np.uint8), AFFINE), shift)
    np.testing.assert_array_equal(one.image.dataobj[-1, -1, 0], image.dataobj[0, 0, 0])
    inside = np.argwhere(np.asarray(one.brain.dataobj))
    assert inside.min(axis=0).tolist() == [27, 30, 5], "2 voxels of 2 mm further to the right"
    np.testing.assert_allclose(one.own_to_t1w @ shift, np.eye(4))


def test_cut_area_by_hand() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:10, 20:40, 10:25] = 1
    assert cut_area_cm2(nib.Nifti1Image(mask, AFFINE)) == pytest.approx(20 * 15 * 2 * 5 / 100)
    mask[:10, 20:40, 25:] = 1
    expected = 20 * 20 * 2 * 5 / 100 + 10 * 20 * 2 * 2 / 100
    assert cut_area_cm2(nib.Nifti1Image(mask, AFFINE)) == pytest.approx(expected)
    assert cut_area_cm2(nib.Nifti1Image(brain_mask().astype(np.uint8), AFFINE)) == 0


@pytest.mark.parametrize("sigma", [5.0, 20.0])
def test_noise_is_the_one_put_in_whatever_smooth_lies_below(sigma: float) -> None:
    slope = np.linspace(180, 220, SHAPE[0])[:, None, None] * np.ones(SHAPE)
    noisy = slope + np.random.default_rng(0).normal(0, sigma, SHAPE)
    assert noise(*with_brain(noisy)) == pytest.approx(sigma / 200, rel=0.05)


def test_noise_is_sought_within_slices() -> None:
    by_slice = np.random.default_rng(0).normal(200, 40, SHAPE[2]) * np.ones(SHAPE)
    assert noise(*with_brain(by_slice)) == pytest.approx(0, abs=1e-6)


def test_noise_of_hardly_any_brain_is_unknown() -> None:
    few = np.zeros(SHAPE, np.uint8)
    few[40:44, 40:44, 10] = 1
    assert noise(with_brain(np.ones(SHAPE))[0], nib.Nifti1Image(few, AFFINE)) is None


def test_ghosting_by_hand() -> None:
    data = np.full(SHAPE, 8.0)
    data[BRAIN] = 200
    assert ghosting(*with_brain(data)) == pytest.approx(0), "what is everywhere is no ghost"
    # Voxels 0-16 and 83-99 along y are more than 25 mm from the brain, 30-69.
    data[:, :10] = 48
    assert ghosting(*with_brain(data)) == pytest.approx(40 * 10 / 34 / 200)
    turned = np.where(np.arange(SHAPE[0])[:, None, None] < 10, 48, np.where(brain_mask(), 200, 8.0))
    # Voxels 0-11 and 78-89 along x.
    assert ghosting(*with_brain(turned)) == pytest.approx(-40 * 10 / 24 / 200), "to the sides"
    lower = data.copy()
    lower[:, :, :14] = 500
    assert ghosting(*with_brain(lower)) == ghosting(*with_brain(data)), "the face is passed over"
    data[~brain_mask()] = 0
    assert ghosting(*with_brain(data)) is None
    assert ghosting(*with_brain(np.full(SHAPE, 8.0), np.diag([0.5, 0.5, 5, 1]))) is None, "no air is in view"


def test_lesion_contrast_by_hand() -> None:
    # Five intensities about equally often: their median is 100, their median absolute deviation 10.
    data = np.random.default_rng(0).choice([80.0, 90, 100, 110, 120], SHAPE)
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[40:44, 50:54, 14:16] = 1
    data[lesion > 0] = 160
    data[39:45, 49:55, 13:17][lesion[39:45, 49:55, 13:17] == 0] = 150  # its blurred rim
    data[np.indices(SHAPE)[0] > 50] = 0  # far away
    assert lesion_contrast(scan(data), nib.Nifti1Image(lesion, AFFINE)) == pytest.approx(60 / 14.826)
    assert lesion_contrast(scan(data), nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE)) is None
    flat = np.where(lesion, 160.0, 100.0)
    assert lesion_contrast(scan(flat), nib.Nifti1Image(lesion, AFFINE)) is None, "no spread to measure by"


def test_a_visit_is_measured_in_the_order_of_its_columns() -> None:
    data = np.random.default_rng(0).normal(200, 4, SHAPE)
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[40:44, 50:54, 14:16] = 1
    (_, mask), flair = with_brain(data), scan(np.where(lesion, 240, data))
    scans = {"T1w": measure_scan(scan(data), mask, None), "FLAIR": measure_scan(flair, mask, 0.16)}
    contrasts = {
        "FLAIR": {"depth_contrast": 1.5, "t1w_correlation": 0.6, "tissue_order": 1.0},
        "T1w": {"depth_contrast": 1.7},
    }
    measured = join_measures({name: row | {"outlier_voxels": 0} for name, row in scans.items()}, contrasts)
    row = gather(measured, lesion_contrast(flair, nib.Nifti1Image(lesion, AFFINE)))
    assert list(row) == list(GOOD)
    assert row["registration_similarity_flair"] == 0.16
    assert row["brain_coverage_flair"] == 1
    assert row["brain_volume_ml"] == pytest.approx(40 * 40 * 20 * 20 / 1000)
    assert row["lesion_contrast_sd"] == pytest.approx(10, rel=0.2)
    assert find_flags(row) == {"brain_volume_out_of_range": "the brain mask has 640 ml (expected 900 to 2000 ml)."}


def test_neck_is_what_is_dark_at_the_lower_end_of_the_brain_mask() -> None:
    """Of 40 x 40 voxels of 20 mm3 a slice, 32 ml each: two dark ones at the bottom, one further up."""
    data = np.full(SHAPE, 200.0)
    assert neck_volume_ml(scan(data)) == 0
    data[:, :, 5:7] = data[:, :, 15] = 150
    assert neck_volume_ml(scan(data)) == pytest.approx(64)
    image, mask = with_brain(data)
    upside_down = [one.as_reoriented([[0, 1], [1, 1], [2, -1]]) for one in (image, mask)]
    assert neck_volume_ml(make_scan(*upside_down, np.eye(4))) == pytest.approx(64)


def test_cascades_that_disagree_are_flagged_where_there_are_several() -> None:
    columns = ("brain_volume_ml", "brain_cut_area_cm2", "neck_volume_ml", "noise", "ghosting", "outlier_voxels")
    measured = {"T1w": dict.fromkeys(columns, 1.0)}
    assert "cascade_agreement" not in gather(measured, 3.0)
    row = gather(measured, 3.0, 0.64)
    assert row["cascade_agreement"] == 0.64
    assert find_flags(row)["cascades_disagree"] == (
        "the model's cascades agree poorly (mean Dice 0.64 of their masks, expected at least 0.65)."
    )
    assert "cascades_disagree" not in find_flags(gather(measured, 3.0, 0.65))
    assert "flagged cascades_disagree" in describe_columns(row)["cascade_agreement"]["Description"]


def test_a_raw_scan_is_measured_without_values_of_a_few_voxels() -> None:
    rng = np.random.default_rng(0)
    data = np.where(brain_mask(), 100 + 5 * rng.standard_normal(SHAPE), 0).astype(np.float32)
    image, mask = with_brain(data)
    settled, plain = measure_raw(image, mask, np.eye(4), None)
    np.testing.assert_array_equal(np.asarray(settled.image.dataobj), data)
    assert plain == measure_scan(scan(data), mask, None) | {"outlier_voxels": 0}
    data[30, 40, 10] = 1e7
    settled, measured = measure_raw(nib.Nifti1Image(data, AFFINE), mask, np.eye(4), None)
    assert measured["outlier_voxels"] == 1
    assert np.asarray(settled.image.dataobj).max() < 1e4


def test_without_a_brain_nothing_is_measured() -> None:
    image = nib.Nifti1Image(np.ones(SHAPE, np.float32), AFFINE)
    nowhere = nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE)
    empty = make_scan(image, nowhere, np.eye(4))
    assert (neck_volume_ml(empty), noise(image, nowhere), ghosting(image, nowhere)) == (None, None, None)
    assert cut_area_cm2(nowhere) == 0


def test_lesions_without_brain_around_them_have_no_contrast() -> None:
    """The brain is the lesion alone."""
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[40:44, 50:54, 14:16] = 1
    mask = nib.Nifti1Image(lesion, AFFINE)
    assert lesion_contrast(make_scan(nib.Nifti1Image(lesion.astype(np.float32), AFFINE), mask, np.eye(4)), mask) is None
