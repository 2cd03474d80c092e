"""Summaries over visits, with bootstrap intervals over subjects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bids_cascade.evaluation.matching import MatchedLesion, count_lesions
from bids_cascade.evaluation.metrics import LesionWise
from bids_cascade.lesions.sizes import REPORTED_SIZES_MM3

N_RESAMPLES = 2000
MIN_SUBJECTS = 5
"""With fewer there is no interval, correlation or limit of agreement: four subjects give only 35 different samples, and
almost any four points lie near some line."""

Values = NDArray[np.float64]
Statistic = Callable[[Values], Values]
"""Maps draws of visits, (R, N, M) with NaN where a draw has fewer than N, to one number a draw, (R,)."""


class Estimate(NamedTuple):
    """A number and its 95 % confidence interval; the interval is NaN where there are not enough subjects."""

    value: float
    ci95_low: float = math.nan
    ci95_high: float = math.nan


@dataclass(frozen=True)
class Summary:
    """One measure over the visits.

    Attributes
    ----------
    n_visits, n_subjects : int
        Those where the measure is defined.
    mean, median : Estimate
    low, high : float
        Smallest and largest value.
    """

    n_visits: int
    n_subjects: int
    mean: Estimate
    median: Estimate
    low: float
    high: float


def summarise(values: Sequence[float], subjects: Sequence[str], seed: int = 0) -> Summary:
    """Return mean, median and range of a measure over the visits where it is defined.

    Parameters
    ----------
    values : sequence of float
        One a visit; NaN where the measure is not defined.
    subjects : sequence of str
        Whose visit.
    seed : int
        Of the bootstrap.
    """
    all_values = np.asarray(values, np.float64)
    defined = np.isfinite(all_values)
    kept = all_values[defined]
    whose = [subject for subject, is_defined in zip(subjects, defined, strict=True) if is_defined]
    if not len(kept):
        nothing = Estimate(math.nan)
        return Summary(0, 0, nothing, nothing, math.nan, math.nan)
    mean, median = (bootstrap(kept[:, None], whose, statistic, seed) for statistic in (_mean, _median))
    return Summary(len(kept), len(set(whose)), mean, median, float(kept.min()), float(kept.max()))


def bootstrap(rows: Values, subjects: Sequence[str], statistic: Statistic, seed: int = 0) -> Estimate:
    """Estimate a statistic with its percentile-bootstrap interval, drawing subjects with all their visits.

    Parameters
    ----------
    rows : (N, M) array
        One row a visit.
    subjects : sequence of N str
        Subject of each visit: visits of one subject are not independent, so they are drawn together.
    statistic : Statistic
    seed : int

    Returns
    -------
    Estimate
        Without an interval for fewer subjects than :data:`MIN_SUBJECTS`.
    """
    names = list(dict.fromkeys(subjects))
    of_subject = [rows[[subject == name for subject in subjects]] for name in names]
    value = float(statistic(rows[None])[0])
    if len(names) < MIN_SUBJECTS:
        return Estimate(value)
    padded = np.full((len(names), max(map(len, of_subject)), rows.shape[1]), np.nan)
    for index, own in enumerate(of_subject):
        padded[index, : len(own)] = own
    draws = np.random.default_rng(seed).integers(len(names), size=(N_RESAMPLES, len(names)))
    resampled = statistic(padded[draws].reshape(N_RESAMPLES, -1, rows.shape[1]))
    # A correlation is undefined if a draw has one subject only; such draws are ignored.
    defined = resampled[np.isfinite(resampled)]
    if not len(defined):
        return Estimate(value)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def agreement_over_cohort(
    measures: Sequence[Mapping[str, float]], subjects: Sequence[str], seed: int = 0
) -> dict[str, Estimate]:
    """Return the correlations of predicted with reference volumes and counts, and Bland-Altman's limits of agreement.

    With fewer subjects than :data:`MIN_SUBJECTS` only the bias is defined.

    Parameters
    ----------
    measures : sequence of mapping
        Of each visit, from :func:`bids_cascade.evaluation.matching.compare_masks`.
    subjects : sequence of str
        Whose visit.
    seed : int
        Of the bootstrap.
    """
    volumes, counts = (
        np.array(
            [[measured[f"reference_{quantity}"], measured[f"predicted_{quantity}"]] for measured in measures],
            np.float64,
        ).reshape(-1, 2)
        for quantity in ("volume_ml", "lesions")
    )
    statistics: dict[str, tuple[Values, Statistic]] = {
        "volume_pearson_r": (volumes, _pearson),
        "volume_spearman_rho": (volumes, _spearman),
        "count_pearson_r": (counts, _pearson),
        "count_spearman_rho": (counts, _spearman),
        "volume_bias_ml": (volumes, _bias),
        "volume_limit_low_ml": (volumes, lambda rows: _limit(rows, -1)),
        "volume_limit_high_ml": (volumes, lambda rows: _limit(rows, 1)),
    }
    few = len(set(subjects)) < MIN_SUBJECTS
    return {
        name: Estimate(math.nan) if few and name != "volume_bias_ml" else bootstrap(rows, subjects, statistic, seed)
        for name, (rows, statistic) in statistics.items()
    }


@dataclass(frozen=True)
class SizeSummary:
    """Lesions of one size over all visits together.

    Attributes
    ----------
    counts : LesionWise
    sensitivity, precision, f1 : Estimate
    """

    counts: LesionWise
    sensitivity: Estimate
    precision: Estimate
    f1: Estimate


def summarise_sizes(
    lesions: Sequence[Sequence[MatchedLesion]], subjects: Sequence[str], seed: int = 0
) -> dict[str, SizeSummary]:
    """Return how many lesions of each reported size are found and right, over all visits together.

    Parameters
    ----------
    lesions : sequence of sequence of MatchedLesion
        Of each visit.
    subjects : sequence of str
        Whose visit.
    seed : int
        Of the bootstrap.
    """
    summaries = {}
    for size in REPORTED_SIZES_MM3:
        counts = [count_lesions(own, size) for own in lesions]
        rows = np.array([astuple(count) for count in counts], np.float64).reshape(-1, 4)
        whole = LesionWise(*(int(n) for n in rows.sum(axis=0)))
        ratios = (bootstrap(rows, subjects, statistic, seed) for statistic in (_sensitivity, _precision, _f1))
        summaries[size] = SizeSummary(whole, *ratios)
    return summaries


COHORT_MEASURES = {
    "volume_pearson_r": {"Description": "Pearson correlation of predicted with reference volume"},
    "volume_spearman_rho": {"Description": "Spearman rank correlation of predicted with reference volume"},
    "count_pearson_r": {"Description": "Pearson correlation of predicted with reference number of lesions"},
    "count_spearman_rho": {"Description": "Spearman rank correlation of predicted with reference number of lesions"},
    "volume_bias_ml": {"Description": "Bland-Altman: mean of predicted minus reference volume", "Units": "mL"},
    "volume_limit_low_ml": {
        "Description": "Bland-Altman: lower limit of agreement, bias - 1.96 standard deviations",
        "Units": "mL",
    },
    "volume_limit_high_ml": {
        "Description": "Bland-Altman: upper limit of agreement, bias + 1.96 standard deviations",
        "Units": "mL",
    },
}
"""What each estimate of :func:`agreement_over_cohort` means."""


def _sensitivity(rows: Values) -> Values:
    n_reference, n_found, _, _ = np.moveaxis(np.nansum(rows, axis=1), -1, 0)
    return _ratio(n_found, n_reference)


def _precision(rows: Values) -> Values:
    _, _, n_predicted, n_right = np.moveaxis(np.nansum(rows, axis=1), -1, 0)
    return _ratio(n_right, n_predicted)


def _f1(rows: Values) -> Values:
    """Return the harmonic mean of the two: 0 if one is 0 or undefined, NaN without any lesion."""
    both = np.nan_to_num([_sensitivity(rows), _precision(rows)])
    any_lesion = np.nansum(rows[..., [0, 2]], axis=(1, 2)) > 0
    return np.where(any_lesion, np.nan_to_num(_ratio(2 * both.prod(axis=0), both.sum(axis=0))), np.nan)


def _ratio(part: Values, whole: Values) -> Values:
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0), np.float64)


def _mean(rows: Values) -> Values:
    return np.asarray(np.nanmean(rows[..., 0], axis=1))


def _median(rows: Values) -> Values:
    return np.asarray(np.nanmedian(rows[..., 0], axis=1))


def _pearson(rows: Values) -> Values:
    """Return the correlation of the two columns, NaN where one doesn't vary."""
    varies = (np.nanmax(rows, axis=1) > np.nanmin(rows, axis=1)).all(axis=-1)
    centred = rows - np.nanmean(rows, axis=1, keepdims=True)
    squares = np.nansum(centred**2, axis=1).prod(axis=-1)
    products = np.nansum(centred.prod(axis=-1), axis=1)
    return np.asarray(products / np.sqrt(np.where(varies, squares, np.nan)), np.float64)


def _spearman(rows: Values) -> Values:
    return _pearson(rankdata(rows, axis=1, nan_policy="omit"))


def _bias(rows: Values) -> Values:
    return np.asarray(np.nanmean(rows[..., 1] - rows[..., 0], axis=1))


def _limit(rows: Values, sign: int) -> Values:
    """Return a limit of agreement (Bland and Altman 1986), NaN for a single visit."""
    difference = rows[..., 1] - rows[..., 0]
    if difference.shape[1] < 2:
        return np.full(len(difference), np.nan)
    return np.asarray(np.nanmean(difference, axis=1) + sign * 1.96 * np.nanstd(difference, axis=1, ddof=1))
