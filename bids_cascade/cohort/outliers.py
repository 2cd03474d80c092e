"""Outliers among the volumes of a cohort."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

OUTLIER_Z = 3.5
"""Modified z-score beyond which a value is an outlier (Iglewicz and Hoaglin 1993)."""

MIN_VALUES = 10
"""With fewer values, there are no outliers."""

LOG_OFFSET_ML = 0.01
"""Added to a lesion volume before its logarithm, so that brains without lesions have one: 10 mm^3, a small lesion."""


def log_volume(volumes_ml: ArrayLike) -> NDArray[np.float64]:
    """Return the natural logarithm of volumes in ml, each with :data:`LOG_OFFSET_ML` added."""
    return np.asarray(np.log(np.asarray(volumes_ml, float) + LOG_OFFSET_ML), np.float64)


def modified_z_scores(values: ArrayLike) -> NDArray[np.float64]:
    """Return how far each value is from the median, in robust standard deviations.

    ``0.6745 (x - median) / MAD``, with MAD the median absolute deviation from the median; where more than half of the
    values are equal and MAD is 0, ``(x - median) / (1.2533 MeanAD)``, with MeanAD the mean absolute deviation.

    Parameters
    ----------
    values : (N,) array_like
        Finite.

    Returns
    -------
    (N,) array
        0 where all values are equal; NaN for fewer than :data:`MIN_VALUES` values.

    References
    ----------
    Iglewicz B, Hoaglin DC (1993). How to Detect and Handle Outliers. ASQC Quality Press.
    """
    x = np.asarray(values, float)
    if len(x) < MIN_VALUES:
        return np.full(len(x), np.nan)
    apart = x - np.median(x)
    mad, mean_ad = np.median(np.abs(apart)), np.mean(np.abs(apart))
    if mad > 0:
        return np.asarray(0.6745 * apart / mad, np.float64)
    return np.asarray(apart / (1.2533 * mean_ad) if mean_ad > 0 else apart, np.float64)
