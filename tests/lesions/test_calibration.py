import numpy as np
import pytest

from bids_cascade.lesions.calibration import equal_scan_weights, fit_calibration, reliability


def voxels(*groups: tuple[float, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and labels of groups of (probability, lesion voxels, other voxels)."""
    p = np.concatenate([np.full(lesion + other, p, np.float32) for p, lesion, other in groups])
    return p, np.concatenate([np.arange(lesion + other) < lesion for _, lesion, other in groups])


def test_two_probabilities_determine_the_calibration() -> None:
    # Odds 1 and 4 are found to be 1/3 and 3: logits 0 and ln 4 become -ln 3 and ln 3, so slope 2 ln 3 / ln 4.
    p, lesion = voxels((0.5, 25, 75), (0.8, 75, 25))
    np.testing.assert_allclose(fit_calibration(p, lesion), (np.log(9) / np.log(4), -np.log(3)), rtol=1e-6)


def test_a_calibrated_probability_stays() -> None:
    p, lesion = voxels((0.1, 10, 90), (0.5, 50, 50), (0.9, 90, 10))
    np.testing.assert_allclose(fit_calibration(p, lesion), (1, 0), atol=1e-6)


def test_what_was_not_judged_does_not_count() -> None:
    groups = (0.5, 25, 75), (0.8, 75, 25)
    expected = fit_calibration(*voxels(*groups))
    assert fit_calibration(*voxels(*groups, (0.0, 500, 500))) == expected
    curve = reliability(*voxels(*groups, (0.0, 500, 500)))
    assert curve.n.sum() == 200


def test_a_voxel_of_weight_two_counts_as_two() -> None:
    p, lesion = voxels((0.5, 25, 75), (0.8, 75, 25))
    twice = fit_calibration(*(np.append(one, one[:100]) for one in (p, lesion)))
    weighted = fit_calibration(p, lesion, np.where(np.arange(200) < 100, 2.0, 1.0))
    np.testing.assert_allclose(weighted, twice, rtol=1e-6)
    scan = np.repeat([0, 1], [100, 300])
    weights = equal_scan_weights(scan)
    np.testing.assert_allclose([weights[scan == one].sum() for one in (0, 1)], [200, 200])
    assert weights.mean() == pytest.approx(1)


def test_a_known_part_of_the_logit_is_not_fitted_again() -> None:
    """Two scans whose odds differ by a factor of 3 at every probability have one calibration beside their offsets."""
    p, lesion = voxels((0.5, 25, 75), (0.8, 75, 25), (0.5, 50, 50), (0.8, 90, 10))
    offset = np.repeat([0.0, np.log(3)], 200)
    slope, intercept = fit_calibration(p, lesion, None, offset)
    np.testing.assert_allclose((slope, intercept), (np.log(9) / np.log(4), -np.log(3)), rtol=1e-6)


def test_far_from_the_start_it_still_finds_the_maximum() -> None:
    # logits -6 and -5 (sharp): of the first 1 in 1000 is lesion, of the second 999 in 1000.
    odds = np.exp([-6.0, -5.0])
    p, lesion = voxels((odds[0] / (1 + odds[0]), 1, 999), (odds[1] / (1 + odds[1]), 999, 1))
    slope, intercept = fit_calibration(p, lesion)
    np.testing.assert_allclose([slope * -6 + intercept, slope * -5 + intercept], [-np.log(999), np.log(999)], rtol=1e-4)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([(0.2, 5, 0), (0.4, 5, 0)], "needs lesion and other voxels"),
        ([(0.0, 5, 5)], "needs lesion and other voxels"),
        ([(0.2, 5, 5)], "without error"),
        ([(0.2, 0, 5), (0.4, 5, 5), (0.6, 5, 0)], "without error"),
        ([(0.2, 5, 0), (0.4, 5, 5), (0.6, 0, 5)], "without error"),
        ([(0.2, 6, 5), (0.4, 5, 6)], "lower probabilities"),
    ],
)
def test_where_there_is_no_best_one(groups, message) -> None:
    with pytest.raises(ValueError, match=message):
        fit_calibration(*voxels(*groups))


def test_reliability_by_tenths() -> None:
    curve = reliability(*voxels((0.05, 1, 3), (0.3, 3, 1), (0.35, 1, 3), (1.0, 2, 0)))
    np.testing.assert_array_equal(curve.n, [4, 0, 0, 8, 0, 0, 0, 0, 0, 2])
    np.testing.assert_allclose(curve.mean_probability[[0, 3, 9]], [0.05, 0.325, 1], rtol=1e-6)
    np.testing.assert_allclose(curve.lesion_fraction[[0, 3, 9]], [0.25, 0.5, 1])
    assert np.isnan(curve.lesion_fraction[1])
    weighted = reliability(*voxels((0.05, 1, 3)), np.array([3.0, 1, 1, 1]))
    assert weighted.lesion_fraction[0] == 0.5


@pytest.mark.parametrize("tenth", range(1, 10))
def test_a_tenth_belongs_to_the_class_that_it_opens(tenth: int) -> None:
    for dtype in (np.float32, np.float64):
        curve = reliability(np.array([tenth / 10], dtype), np.array([True]))
        assert curve.n.argmax() == tenth
