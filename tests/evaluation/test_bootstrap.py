import math

import numpy as np
import pytest
from scipy import stats

from bids_cascade.evaluation.bootstrap import (
    COHORT_MEASURES,
    MIN_SUBJECTS,
    N_RESAMPLES,
    Estimate,
    _pearson,
    agreement_over_cohort,
    bootstrap,
    summarise,
    summarise_sizes,
)
from bids_cascade.evaluation.matching import MatchedLesion, count_lesions
from bids_cascade.evaluation.metrics import LesionWise


def mean(rows: np.ndarray) -> np.ndarray:
    return np.nanmean(rows[..., 0], axis=1)


def test_summary_by_hand() -> None:
    found = summarise([0, math.nan, 0, 0, 0, 1, 1], ["a", "f", "b", "c", "d", "e", "e"])
    assert (found.n_visits, found.n_subjects) == (6, 5)
    assert found.mean.value == pytest.approx(1 / 3)
    assert (found.median.value, found.low, found.high) == (0, 0, 1)
    # Of five draws, k are e with its two visits: 2 k / (5 + k). P(k > 2) = .058, P(k > 3) = .007, P(k = 0) = .33.
    assert found.mean[1:] == pytest.approx((0, 2 * 3 / 8))


def test_few_subjects_have_no_interval_whatever_their_visits() -> None:
    values = np.arange(12.0)[:, None]
    four, five = ([str(number % n) for number in range(12)] for n in (MIN_SUBJECTS - 1, MIN_SUBJECTS))
    assert math.isnan(bootstrap(values, four, mean).ci95_low)
    assert math.isfinite(bootstrap(values, five, mean).ci95_low)
    rows = [measures(n, n + n % 2, n, n + 1) for n in range(12)]
    few, enough = agreement_over_cohort(rows, four), agreement_over_cohort(rows, five)
    assert [name for name, one in few.items() if math.isfinite(one.value)] == ["volume_bias_ml"]
    assert all(math.isfinite(one.value) and math.isfinite(one.ci95_low) for one in enough.values())


def lesions(n_found: int, n_missed: int, n_right: int, n_false: int, volume_mm3: float) -> list[MatchedLesion]:
    outcomes = {"found": n_found, "missed": n_missed, "right": n_right, "false": n_false}
    return [
        MatchedLesion("reference", 1, outcome, "", volume_mm3, 0, 0, 0, 0)
        for outcome, n in outcomes.items()
        for _ in range(n)
    ]


def test_sizes_are_summed_over_visits_before_the_ratio() -> None:
    visits = [lesions(1, 3, 2, 0, 20), lesions(5, 1, 4, 4, 20), lesions(0, 1, 0, 1, 2), *([[]] * 3)]
    found = summarise_sizes(visits, list("abcdef"))
    assert list(found) == ["all", "at_least_14", "3_to_10", "10_to_30", "30_to_100", "over_100"]
    assert found["all"].counts == found["at_least_14"].counts == found["10_to_30"].counts == LesionWise(10, 6, 10, 6)
    assert [one.value for one in (found["all"].sensitivity, found["all"].precision, found["all"].f1)] == pytest.approx(
        [0.6, 0.6, 0.6]
    )
    # A draw has a, b, both or neither: sensitivity 1 / 4, 5 / 6, between, or not defined.
    assert found["all"].sensitivity[1:] == pytest.approx((1 / 4, 5 / 6))
    assert math.isnan(found["3_to_10"].f1.value)
    assert math.isnan(found["3_to_10"].sensitivity.value)


@pytest.mark.parametrize(
    ("counts", "f1"), [((2, 2, 1, 0), 2 / 3), ((0, 2, 0, 3), 0), ((0, 2, 0, 0), 0), ((0, 0, 0, 1), 0)]
)
def test_f1_is_that_of_one_visit(counts: tuple[int, int, int, int], f1: float) -> None:
    visit = lesions(*counts, 20)
    assert summarise_sizes([visit], ["a"])["all"].f1.value == pytest.approx(f1)
    assert count_lesions(visit).f1 == pytest.approx(f1)


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
    rows = np.random.default_rng(5).random((8, 2))
    subjects = ["a", "b", "b", "c", "d", "d", "d", "e"]
    found = bootstrap(rows, subjects, _pearson)
    values = []
    for drawn in np.random.default_rng(0).integers(5, size=(N_RESAMPLES, 5)):
        of_draw = np.concatenate([rows[[one == "abcde"[index] for one in subjects]] for index in drawn])
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
    volumes, counts = [(1, 2), (2, 3), (4, 8), (3, 3), (5, 6.5)], [(10, 5), (20, 4), (30, 3), (40, 2), (50, 1)]
    rows = [measures(*both, *n) for both, n in zip(volumes, counts, strict=True)]
    found = agreement_over_cohort(rows, list("abcde"))
    assert set(found) == set(COHORT_MEASURES)
    # Differences 1, 1, 4, 0, 1.5: mean 1.5, standard deviation sqrt(9 / 4).
    assert found["volume_bias_ml"].value == pytest.approx(1.5)
    assert found["volume_limit_low_ml"].value == pytest.approx(1.5 - 1.96 * 1.5)
    assert found["volume_limit_high_ml"].value == pytest.approx(1.5 + 1.96 * 1.5)
    assert found["volume_pearson_r"].value == pytest.approx(14 / math.sqrt(10 * 27))
    # Ranks 1 2 4 3 5 against 1 2.5 5 2.5 4.
    assert found["volume_spearman_rho"].value == pytest.approx(stats.spearmanr(*np.transpose(volumes))[0])
    assert found["count_pearson_r"].value == pytest.approx(-1)
    assert all(one.ci95_low <= one.value + 1e-12 for one in found.values())
    assert all(one.ci95_high >= one.value - 1e-12 for one in found.values())


def test_correlation_of_what_does_not_vary() -> None:
    found = agreement_over_cohort([measures(1, 2 + n, 3, 4 + n) for n in range(5)], list("abcde"))
    assert math.isnan(found["volume_pearson_r"].value)
    assert math.isnan(found["count_spearman_rho"].value)
    one = agreement_over_cohort([measures(1, 2, 3, 4)], ["a"])
    assert one["volume_bias_ml"].value == 1
    assert math.isnan(one["volume_limit_low_ml"].value)
