import numpy as np
import pytest

from bids_cascade.cascade.calibration import LARGEST_BY_SURE, LOGIT_RANGE, calibrate, prevalence_logit, scan_offset
from bids_cascade.config import CascadeConfig


def test_values_worked_by_hand() -> None:
    p = np.array([0, 0.5, 0.8, 0.2, 1], np.float32)  # logits -, 0, ln 4, -ln 4, infinite
    found = calibrate(p, (0.5, np.log(3)))  # odds become 3 times their square root: -, 3, 6, 1.5, infinite
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 3 / 4, 6 / 7, 3 / 5, 1], rtol=1e-6)


def test_slope_one_and_intercept_nought_change_nothing() -> None:
    p = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_array_equal(calibrate(p, (1, 0)), p)


@pytest.mark.parametrize("calibration", [(3.0, -8.0), (0.1, 20.0), (50.0, 300.0), (50.0, -800.0)])
def test_order_and_bounds_stay_for_the_smallest_and_largest_probabilities(calibration) -> None:
    tiny, below_one = np.finfo(np.float32).smallest_subnormal, np.nextafter(np.float32(1), np.float32(0))
    p = np.array([0, tiny, 1e-30, 1e-6, 0.3, 0.999, below_one, 1], np.float32)
    found = calibrate(p, calibration)
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (0, 1)
    assert found.max() <= 1


@pytest.mark.parametrize(
    "calibration", [(0.0, 1.0), (-1.0, 0.0), (np.nan, 0.0), (1.0, np.inf), (1.0,), (1.0, 2.0, 3.0)]
)
def test_what_can_not_be_meant_is_refused(calibration) -> None:
    with pytest.raises(ValueError, match="expected a slope above 0 and an intercept, both finite"):
        CascadeConfig(calibration=calibration)


def test_an_offset_is_added_to_the_logits() -> None:
    p = np.array([0, 0.5, 0.8], np.float32)
    np.testing.assert_allclose(calibrate(p, (1, 0), np.log(4)), [0, 4 / 5, 16 / 17], rtol=1e-6)


def test_prevalence_of_what_a_balanced_classifier_says_is_recovered() -> None:
    """Two Gaussians 1.5 units on either side of 0 have the logit 3x when there are as many of both."""
    rng = np.random.default_rng(0)
    for prevalence in (0.05, 0.2, 0.5, 0.9):
        n_lesion = int(prevalence * 200_000)
        x = np.concatenate([rng.normal(1.5, 1, n_lesion), rng.normal(-1.5, 1, 200_000 - n_lesion)])
        found = prevalence_logit(1 / (1 + np.exp(-3 * x)))
        assert found == pytest.approx(np.log(prevalence / (1 - prevalence)), abs=0.05)


def test_prevalence_counts_what_was_looked_at_and_is_cut_off() -> None:
    assert prevalence_logit(np.zeros((3, 3, 3))) == 0
    some = np.full(50, 0.2)
    assert prevalence_logit(np.concatenate([some, np.zeros(1000)])) == prevalence_logit(some)
    assert prevalence_logit(some) == LOGIT_RANGE[0]
    assert prevalence_logit(np.full(50, 0.9)) == LOGIT_RANGE[1]


def test_prevalence_does_not_run_away_where_all_voxels_say_the_same() -> None:
    """Each step adds a voxel's logit to that of the prevalence, without end; there are five of them."""
    assert prevalence_logit(np.full(50, 0.4)) == pytest.approx(5 * np.log(0.4 / 0.6))


def test_sure_voxels_raise_a_prevalence_that_was_lost() -> None:
    """Of 100,000 voxels, 100 are sure, so 700 are lesion: odds of 7 to 993. By 1,000 they would be 7 to 93."""
    easy = np.full(100_000, 0.1)
    assert prevalence_logit(easy) == LOGIT_RANGE[0]
    few, many = easy.copy(), easy.copy()
    few[:100], many[:1000] = 0.95, 0.95
    assert prevalence_logit(few) == pytest.approx(np.log(7 / 993))
    assert prevalence_logit(many) == LARGEST_BY_SURE < np.log(7 / 93)


def test_sure_voxels_never_lower_a_prevalence() -> None:
    rng = np.random.default_rng(0)
    for most in (0.3, 0.6, 0.9):
        unsure = rng.uniform(0.01, most, 1000)
        one_sure = np.append(unsure, 0.95)
        assert prevalence_logit(one_sure) >= prevalence_logit(unsure)
    assert prevalence_logit(np.full(50, 0.95)) == LOGIT_RANGE[1]


def test_an_offset_of_each_voxel_by_hand() -> None:
    """Odds of 1, times 4 and times 9 to the power of a half."""
    p = np.array([0, 0.5, 0.5], np.float32)
    np.testing.assert_allclose(calibrate(p, (1, 0), np.log([2.0, 4, 3])), [0, 4 / 5, 3 / 4], rtol=1e-6)
    first = np.array([0.5, 0.8, 0.9], np.float32)
    np.testing.assert_allclose(calibrate(p, (1, 0), scan_offset(first, p, 0.0, 0.5)), [0, 2 / 3, 3 / 4], rtol=1e-6)


def test_the_offset_adds_prevalence_and_stage_1() -> None:
    first = np.array([0.2, 0.9, 1.0], np.float32)
    final = np.array([0.0, 0.3, 0.4], np.float32)
    assert scan_offset(first, final, 0.0, 0.0) == 0
    of_scan = scan_offset(first, final, 0.4, 0.0)
    assert of_scan == pytest.approx(0.4 * prevalence_logit(final))
    both = scan_offset(first, final, 0.4, 0.25)
    np.testing.assert_allclose(both[:2] - of_scan, 0.25 * np.log([1 / 4, 9]), rtol=1e-5)
    assert np.isfinite(both).all()


@pytest.mark.parametrize("weight", [-0.1, np.nan, np.inf])
@pytest.mark.parametrize("of_what", ["prevalence", "first_stage"])
def test_a_weight_that_can_not_be_meant_is_refused(of_what: str, weight) -> None:
    with pytest.raises(ValueError, match=f"{of_what.replace('_', ' ')} weight"):
        CascadeConfig(**{f"{of_what}_weight": weight})
