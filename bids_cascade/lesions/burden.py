"""A visit's lesions among those of a cohort: size classes, and who is far from the others."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIZE_CLASSES_MM3: Mapping[str, tuple[float, float]] = {
    "under_3": (0.0, 3.0),
    "3_to_10": (3.0, 10.0),
    "10_to_50": (10.0, 50.0),
    "50_to_150": (50.0, 150.0),
    "over_150": (150.0, math.inf),
}
"""Names of the size classes and their volumes in mm^3, from the first up to but without the second."""

OUTLIER_Z = 3.5
"""Modified z-score beyond which a value is an outlier (Iglewicz and Hoaglin 1993)."""

MIN_VALUES = 10
"""With fewer values nobody is called an outlier."""

LOG_OFFSET_ML = 0.01
"""Added to a lesion volume before its logarithm, which a brain without lesions would not have: 10 mm^3, about the
smallest lesion there is."""


def count_by_size(volumes_mm3: ArrayLike) -> dict[str, int]:
    """Return how many of the volumes are in each of :data:`SIZE_CLASSES_MM3`; none is left out.

    >>> count_by_size([9.9, 10, 150])
    {'under_3': 0, '3_to_10': 1, '10_to_50': 1, '50_to_150': 0, 'over_150': 1}
    """
    volumes = np.asarray(volumes_mm3, float)
    return {name: int(((volumes >= low) & (volumes < high)).sum()) for name, (low, high) in SIZE_CLASSES_MM3.items()}


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
