"""Reliability of probabilities, and the calibration that corrects them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MOST_STEPS = 50
_GAIN = 1e-12
"""A Newton step that increases the mean log-likelihood by no more than this is the last."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability curve by tenths of probability: 0 to .1, .1 to .2 and so on to 1.

    Attributes
    ----------
    n : (10,) array
        Voxels, or the sum of their weights.
    mean_probability, lesion_fraction : (10,) array
        Of these; NaN if there are none. Both are equal for a calibrated probability.
    """

    n: NDArray[np.float64]
    mean_probability: NDArray[np.float64]
    lesion_fraction: NDArray[np.float64]


def reliability(
    probability: NDArray[np.floating], lesion: NDArray[np.bool_], weights: NDArray[np.floating] | None = None
) -> Reliability:
    """Return how often voxels are lesion, by their probability; those with 0 were not evaluated and don't count.

    Parameters
    ----------
    probability, lesion : arrays of one shape
    weights : array of the same shape, optional
        Of each voxel, as from :func:`equal_scan_weights`; None for 1.
    """
    judged = probability > 0
    p = probability[judged].astype(np.float64)
    weight = np.ones(len(p)) if weights is None else weights[judged].astype(np.float64)
    # In single precision .3 times 10 is above 3, in double below: what has been rounded to a tenth belongs to the next.
    tenth = np.minimum((np.round(p, 7) * 10 + 1e-9).astype(int), 9)
    n, total, n_lesion = (
        np.bincount(tenth, weight * values, 10).astype(np.float64) for values in (np.ones(len(p)), p, lesion[judged])
    )
    with np.errstate(invalid="ignore"):
        return Reliability(n, total / n, n_lesion / n)


def equal_scan_weights(scan: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the weight of each voxel such that all scans have equal weights, and the mean over voxels is 1.

    Parameters
    ----------
    scan : (N,) integer array
        The index of each voxel's scan, from 0.
    """
    sizes = np.bincount(scan)
    return np.asarray(len(scan) / np.count_nonzero(sizes) / sizes[scan], np.float64)


def fit_calibration(
    probability: NDArray[np.floating],
    lesion: NDArray[np.bool_],
    weights: NDArray[np.floating] | None = None,
    offset: NDArray[np.floating] | None = None,
) -> tuple[float, float]:
    """Return the slope and intercept of ``sigmoid(slope * logit(p) + intercept + offset)`` that fit the lesions best.

    They maximise the likelihood (by Newton's method, as logistic regression). Voxels of probability 0 don't count: no
    calibration changes them.

    Parameters
    ----------
    probability, lesion : (N,) arrays
    weights : (N,) array, optional
        Of each voxel, as from :func:`equal_scan_weights`; None for 1.
    offset : (N,) array, optional
        Known part of each voxel's logit, such as that of its scan's prevalence; None for 0.

    Raises
    ------
    ValueError
        When there is no best fit: all voxels are lesion, or none is, or one probability separates them without error;
        or when lesion has the lower probabilities.
    """
    judged = probability > 0
    rounded = np.finfo(np.float32).eps / 2  # the largest value below 1 in single precision
    p = np.clip(probability[judged].astype(np.float64), rounded, 1 - rounded)
    weight = np.ones(len(p)) if weights is None else weights[judged].astype(np.float64)
    known = np.zeros(len(p)) if offset is None else offset[judged].astype(np.float64)
    logit, is_lesion = np.log(p) - np.log1p(-p), lesion[judged]
    if not is_lesion.any() or is_lesion.all():
        raise ValueError("a calibration needs lesion and other voxels with a probability above 0")
    of_lesion, of_negatives = logit[is_lesion], logit[~is_lesion]
    if of_lesion.min() >= of_negatives.max() or of_lesion.max() <= of_negatives.min():
        raise ValueError("no calibration can be fitted: one probability separates lesion from the rest without error")
    centre, scale = logit.mean(), logit.std()  # so that both parameters have similar scales
    slope, intercept = _logistic_regression((logit - centre) / scale, is_lesion, weight / weight.sum(), known)
    if slope <= 0:
        raise ValueError("lesion has lower probabilities than the rest: no calibration can correct that")
    return float(slope / scale), float(intercept - slope / scale * centre)


def _logistic_regression(
    x: NDArray[np.float64], is_lesion: NDArray[np.bool_], weight: NDArray[np.float64], known: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the slope and intercept of the highest likelihood, by Newton's method with halved steps."""
    inputs = np.stack([x, np.ones(len(x))])
    sign = np.where(is_lesion, 1.0, -1.0)

    def likelihood(parameters: NDArray[np.float64]) -> float:
        return float(-(weight * np.logaddexp(0, -sign * (parameters @ inputs + known))).sum())

    coefficients = np.zeros(2)
    best = likelihood(coefficients)
    for _ in range(_MOST_STEPS):
        expected = 0.5 * (1 + np.tanh((coefficients @ inputs + known) / 2))
        gradient = inputs @ (weight * (is_lesion - expected))
        step = np.linalg.solve((inputs * (weight * expected * (1 - expected))) @ inputs.T, gradient)
        while likelihood(coefficients + step) < best and np.abs(step).max() > _GAIN:
            step = step / 2
        coefficients, before, best = coefficients + step, best, likelihood(coefficients + step)
        if best - before <= _GAIN:
            break
    return float(coefficients[0]), float(coefficients[1])
