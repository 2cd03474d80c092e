"""Calibration: a cascade's probability is the frequency with which a voxel is lesion.

A stage learns from as many lesion voxels as negatives, whatever a scan's lesion load. So a voxel with a probability of
.5 is mostly lesion in a scan full of lesions, and never in a healthy brain. The prevalence of lesion among the voxels
evaluated by stage 2 can be estimated from their probabilities alone, by a few steps of expectation maximisation [1]_; a
fraction of its logit is added to theirs. Where lesions are few among many voxels that are surely none, these steps lose
them; but a prevalence can also be told from the voxels that are surely lesion, given which fraction of all lesion
voxels they are [2]_.

Nor does stage 2 know how certain stage 1 was: all voxels that pass the gate are the same to it. So a fraction of the
logit of stage 1 is added, too; only a fraction, because both stages see the same scan.

References
----------
.. [1] Saerens M., Latinne P., Decaestecker C., Adjusting the outputs of a classifier to new a priori probabilities: a
   simple procedure, Neural Computation 14 (2002) 21-41.
.. [2] Forman G., Quantifying counts and costs via classification, Data Mining and Knowledge Discovery 17 (2008)
   164-206.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNCHANGED = (1.0, 0.0)
"""The slope and intercept that change nothing."""

LOGIT_RANGE = (-6.0, 3.0)
"""To which the logit of a scan's prevalence is cut off.

Beyond, the estimate is uninformative. Brains without lesions lie at -5 or below, patients with few lesions at -2 to -4.
"""

_STEPS = 5
"""Of expectation maximisation.

Neighbouring voxels depend on each other, and their probabilities are not exact: iteration until convergence magnifies
these errors, and the estimate moves too far from 0.5. On twelve synthetic heads, the median error of the logit is 0.2
after 5 steps and 0.7 at convergence, where heads of -2.9 and -3.1 are taken for heads without lesions.
"""

SURE = 0.9
"""Probability of stage 2 above which a voxel is sure to be lesion; in 17 heads without any, 0 to 212 voxels are."""

SURE_FRACTION = 1 / 7
"""Of the lesion voxels, which fraction is sure in scans with few lesions.

Measured on two patients whose large lesions had been replaced by white matter: 0.17 to 0.19 at three dates, and 0.06.
"""

LARGEST_BY_SURE = -3.5
"""Up to which logit the sure voxels may raise the prevalence. Above, expectation maximisation does not lose lesions."""

_SMALLEST = 1e-3
"""Probabilities are clipped to this distance from 0 and 1, so that a few voxels don't dominate."""

_SUREST = 1e-4
"""Distance from 0 and 1 to which probabilities of stage 1 are clipped, so that their logits are finite."""


def prevalence_logit(probability: NDArray[np.floating]) -> float:
    """Return the logit of the estimated prevalence of lesion among the evaluated voxels, within :data:`LOGIT_RANGE`.

    Expectation maximisation estimates it; a lower estimate than by the sure voxels is raised to theirs, but not beyond
    :data:`LARGEST_BY_SURE`.

    Parameters
    ----------
    probability : array
        Of a classifier that was trained on as many lesion voxels as negatives. Voxels with a probability of 0 were not
        evaluated; if none was, the logit is 0.
    """
    looked_at = probability[probability > 0].astype(np.float64).clip(_SMALLEST, 1 - _SMALLEST)
    if not len(looked_at):
        return 0.0
    odds = looked_at / (1 - looked_at)
    prevalence = 0.5
    for _ in range(_STEPS):
        prevalence = min(max(float(np.mean(1 / (1 + (1 - prevalence) / (prevalence * odds)))), 1e-4), 1 - 1e-4)
    estimate = np.log(prevalence) - np.log1p(-prevalence)
    n_sure = np.count_nonzero(looked_at > SURE)
    if n_sure:
        by_sure = min(n_sure / SURE_FRACTION / len(looked_at), 0.5)
        estimate = max(estimate, min(np.log(by_sure) - np.log1p(-by_sure), LARGEST_BY_SURE))
    return float(np.clip(estimate, *LOGIT_RANGE))


def scan_offset(
    first: NDArray[np.float32], final: NDArray[np.float32], prevalence_weight: float, first_stage_weight: float
) -> NDArray[np.float32] | float:
    """Return what is added to the logits of a scan's voxels: fractions of those of its prevalence and of stage 1.

    Parameters
    ----------
    first, final : float32 arrays
        Probabilities of stage 1 and of stage 2, of one shape; the second is 0 where it was not evaluated.
    prevalence_weight, first_stage_weight : float
        The fractions.

    Returns
    -------
    float32 array or float
        Of each voxel, of the same shape; one number for all if the weight of stage 1 is 0.
    """
    of_scan = prevalence_weight * prevalence_logit(final) if prevalence_weight else 0.0
    if not first_stage_weight:
        return of_scan
    clipped = first.clip(_SUREST, 1 - _SUREST)
    logit: NDArray[np.float32] = np.log(clipped) - np.log1p(-clipped)
    return np.float32(first_stage_weight) * logit + np.float32(of_scan)


def calibrate(
    probability: NDArray[np.float32],
    calibration: tuple[float, float],
    offset: NDArray[np.floating] | float = 0.0,
) -> NDArray[np.float32]:
    """Return ``sigmoid(slope * logit(p) + intercept + offset)`` where a probability is above 0, and 0 elsewhere.

    The order of the voxels is kept (logistic recalibration [1]_), and 0 still means that no network evaluated the
    voxel.

    Parameters
    ----------
    probability : float32 array
        In [0, 1].
    calibration : pair of float
        Slope, above 0, and intercept.
    offset : float or array
        Of this scan, or of each voxel, see :func:`scan_offset`.

    References
    ----------
    .. [1] Cox D. R., Two further applications of a model for binary regression, Biometrika 45, 1958.
    """
    if calibration == UNCHANGED and not np.any(offset):
        return probability
    slope, intercept = calibration
    calibrated = np.zeros_like(probability)
    looked_at = probability > 0
    p = probability[looked_at].astype(np.float64)
    offset = np.broadcast_to(offset, probability.shape)[looked_at]
    with np.errstate(divide="ignore", over="ignore"):  # of 1, the logit is infinite, and the sigmoid is 1 again
        calibrated[looked_at] = 1 / (1 + np.exp(-slope * (np.log(p) - np.log1p(-p)) - intercept - offset))
    return calibrated
