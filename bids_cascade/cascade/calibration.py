"""What makes a cascade's probability mean how often a voxel is lesion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNCHANGED = (1.0, 0.0)
"""The slope and intercept that change nothing."""


def calibrate(probability: NDArray[np.float32], calibration: tuple[float, float]) -> NDArray[np.float32]:
    """Return ``sigmoid(slope * logit(p) + intercept)`` where a probability is above 0, and 0 elsewhere.

    The order of the voxels stays (logistic recalibration [1]_), and 0 still says that no network has looked there.

    Parameters
    ----------
    probability : float32 array
        In [0, 1].
    calibration : pair of float
        Slope, above 0, and intercept.

    References
    ----------
    .. [1] Cox D. R., Two further applications of a model for binary regression, Biometrika 45, 1958.
    """
    if calibration == UNCHANGED:
        return probability
    slope, intercept = calibration
    calibrated = np.zeros_like(probability)
    looked_at = probability > 0
    p = probability[looked_at].astype(np.float64)
    with np.errstate(divide="ignore", over="ignore"):  # of 1, the logit is infinite, and the sigmoid is 1 again
        calibrated[looked_at] = 1 / (1 + np.exp(-slope * (np.log(p) - np.log1p(-p)) - intercept))
    return calibrated
