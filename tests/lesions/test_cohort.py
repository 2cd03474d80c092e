import math

import numpy as np
import pytest
from scipy import stats

from bids_cascade.lesions.cohort import (
    COHORT_MEASURES,
    N_RESAMPLES,
    Estimate,
    _pearson,
    agreement_over_cohort,
    bootstrap,
    summarise,
)


def mean(rows: np.ndarray) -> np.ndarray:
    return np.nanmean(rows[..., 0], axis=1)


def test_summary_by_hand() -> None:
    found = summarise([0.5, math.nan, 0.9, 0.4], ["a", "b", "c", "c"])
    assert (found.n_visits, found.n_subjects) == (3, 2)
    assert found.mean.value == pytest.approx(0.6)
    assert (found.median.value, found.low, found.high) == (0.5, 0.4, 0.9)
    # Only (a, a), (a, c) and (c, c) can be drawn: their means are 0.5, 0.6 and 0.65.
    assert found.mean[1:] == pytest.approx((0.5, 0.65))


def test_measure_that_is_defined_nowhere() -> None:
    found = summarise([math.nan, math.nan], ["a", "b"])
    assert found.n_visits == 0
    assert math.isnan(found.mean.value)


def test_one_subject_has_no_interval() -> None:
    assert bootstrap(np.array([[1.0], [3.0]]), ["a", "a"], mean) == pytest.approx(
        Estimate(2, math.nan, math.nan), nan_ok=True
    )


def test_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).gamma(2, size=15)
    found = bootstrap(values[:, None], [str(n) for n in range(15)], mean)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000).confidence_interval
    assert found[1:] == pytest.approx(tuple(theirs), rel=0.05)
    assert found == bootstrap(values[:, None], [str(n) for n in range(15)], mean)
    assert found != bootstrap(values[:, None], [str(n) for n in range(15)], mean, seed=1)


def test_visits_of_a_subject_are_drawn_together() -> None:
    values = np.repeat([0.0, 1.0, 4.0, 9.0, 2.0, 5.0], 10)
    together = bootstrap(values[:, None], np.repeat(list("abcdef"), 10).tolist(), mean)
    apart = bootstrap(values[:, None], [str(n) for n in range(60)], mean)
    assert together.ci95_high - together.ci95_low > 2.5 * (apart.ci95_high - apart.ci95_low)


def test_draws_are_those_of_an_obvious_loop() -> None:
    rows = np.random.default_rng(5).random((7, 2))
    subjects = ["a", "b", "b", "c", "d", "d", "d"]
    found = bootstrap(rows, subjects, _pearson)
    values = []
    for drawn in np.random.default_rng(0).integers(4, size=(N_RESAMPLES, 4)):
        of_draw = np.concatenate([rows[[one == "abcd"[index] for one in subjects]] for index in drawn])
        values.append(np.corrcoef(of_draw.T)[0, 1] if len(np.unique(of_draw[:, 0])) > 1 else np.nan)
    assert found.value == pytest.approx(np.corrcoef(rows.T)[0, 1])
    assert found[1:] == pytest.approx(np.nanpercentile(values, [2.5, 97.5]))


def measures(true: float, found: float, n_true: int, n_found: int) -> dict[str, float]:
    return {
        "reference_volume_ml": true,
        "predicted_volume_ml": found,
        "reference_lesions": n_true,
        "predicted_lesions": n_found,
    }


def test_agreement_by_hand() -> None:
    rows = [measures(1, 2, 10, 4), measures(2, 3, 20, 3), measures(4, 8, 30, 2), measures(3, 3, 40, 1)]
    found = agreement_over_cohort(rows, ["a", "b", "c", "d"])
    assert set(found) == set(COHORT_MEASURES)
    # Differences 1, 1, 4, 0: mean 1.5, standard deviation sqrt(9 / 3).
    assert found["volume_bias_ml"].value == pytest.approx(1.5)
    assert found["volume_limit_low_ml"].value == pytest.approx(1.5 - 1.96 * math.sqrt(3))
    assert found["volume_limit_high_ml"].value == pytest.approx(1.5 + 1.96 * math.sqrt(3))
    assert found["volume_pearson_r"].value == pytest.approx(9 / math.sqrt(5 * 22))
    # Ranks 1 2 4 3 against 1 2.5 4 2.5.
    assert found["volume_spearman_rho"].value == pytest.approx(stats.spearmanr([1, 2, 4, 3], [2, 3, 8, 3])[0])
    assert found["count_pearson_r"].value == pytest.approx(-1)
    assert all(one.ci95_low <= one.value + 1e-12 for one in found.values())
    assert all(one.ci95_high >= one.value - 1e-12 for one in found.values())


def test_correlation_of_what_does_not_vary() -> None:
    found = agreement_over_cohort([measures(1, 2, 3, 4), measures(1, 3, 3, 5)], ["a", "b"])
    assert math.isnan(found["volume_pearson_r"].value)
    assert math.isnan(found["count_spearman_rho"].value)
    one = agreement_over_cohort([measures(1, 2, 3, 4)], ["a"])
    assert one["volume_bias_ml"].value == 1
    assert math.isnan(one["volume_limit_low_ml"].value)
