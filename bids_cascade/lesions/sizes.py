"""Size classes of lesions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

MIN_COUNTED_MM3 = 3.0
"""Where masks are compared, smaller components are no lesions, as in the MSSEG challenge (Commowick 2018)."""

UNCOUNTED = "under_3"
COUNTED_CLASSES_MM3: Mapping[str, tuple[float, float]] = {
    "3_to_10": (MIN_COUNTED_MM3, 10.0),
    "10_to_50": (10.0, 50.0),
    "50_to_150": (50.0, 150.0),
    "over_150": (150.0, math.inf),
}
SIZE_CLASSES_MM3: Mapping[str, tuple[float, float]] = {UNCOUNTED: (0.0, MIN_COUNTED_MM3), **COUNTED_CLASSES_MM3}
"""Names of the size classes and their volumes in mm^3, from the first up to but without the second."""

_ROUNDING = 1e-6


def size_text(name: str) -> str:
    """Return which volumes are in a size class, to stand after "lesions".

    >>> size_text("under_3"), size_text("10_to_50"), size_text("over_150")
    ('below 3 mm^3', 'of at least 10 and less than 50 mm^3', 'of at least 150 mm^3')
    """
    low, high = SIZE_CLASSES_MM3[name]
    if low == 0:
        return f"below {high:g} mm^3"
    return f"of at least {low:g}" + (f" and less than {high:g} mm^3" if math.isfinite(high) else " mm^3")


def size_class_of(volume_mm3: float) -> str:
    """Return the name of a volume's size class."""
    # A voxel of 0.1 mm^3 is not exactly that in binary: a rounding error must not change a class.
    volume_mm3 *= 1 + _ROUNDING
    return next((name for name, (_, end) in SIZE_CLASSES_MM3.items() if volume_mm3 < end), "over_150")


def count_by_size(volumes_mm3: Iterable[float]) -> dict[str, int]:
    """Return how many of the volumes are in each of :data:`SIZE_CLASSES_MM3`; none is left out.

    >>> count_by_size([9.9, 10, 150])
    {'under_3': 0, '3_to_10': 1, '10_to_50': 1, '50_to_150': 0, 'over_150': 1}
    """
    counts = Counter(map(size_class_of, volumes_mm3))
    return {name: counts[name] for name in SIZE_CLASSES_MM3}
