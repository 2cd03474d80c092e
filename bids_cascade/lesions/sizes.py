"""Size classes of lesions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

MIN_COUNTED_MM3 = 3.0
"""When masks are compared, smaller components don't count as lesions, as in the MSSEG challenge (Commowick 2018)."""

UNCOUNTED = "under_3"
COUNTED_CLASSES_MM3: Mapping[str, tuple[float, float]] = {
    "3_to_10": (MIN_COUNTED_MM3, 10.0),
    "10_to_30": (10.0, 30.0),
    "30_to_100": (30.0, 100.0),
    "over_100": (100.0, math.inf),
}
SIZE_CLASSES_MM3: Mapping[str, tuple[float, float]] = {UNCOUNTED: (0.0, MIN_COUNTED_MM3), **COUNTED_CLASSES_MM3}
"""Names of the size classes and their ranges in mm^3, without the upper end."""

CLINICAL_MM3 = 14.0
"""A lesion that the McDonald and MAGNIMS criteria count is at least 3 mm long (Filippi et al. 2019, Brain
142:1858-1875, doi:10.1093/brain/awz144); a sphere of this diameter has pi / 6 * 3^3 = 14.1 mm^3."""
CLINICAL_TEXT = (
    f"of at least {CLINICAL_MM3:g} mm^3, a sphere 3 mm wide: the smallest lesion that McDonald and MAGNIMS criteria "
    "count (Filippi et al. 2019, doi:10.1093/brain/awz144)"
)

REPORTED_SIZES_MM3: Mapping[str, tuple[float, float]] = {
    "all": (MIN_COUNTED_MM3, math.inf),
    "at_least_14": (CLINICAL_MM3, math.inf),
    **COUNTED_CLASSES_MM3,
}
"""For comparisons of masks: all lesions that count, those that count clinically, and the disjoint classes."""

_ALL_SIZES_MM3 = {**SIZE_CLASSES_MM3, **REPORTED_SIZES_MM3}
_ROUNDING = 1e-6


def size_text(name: str) -> str:
    """Return which volumes are of a size, to stand after "lesions".

    >>> size_text("under_3"), size_text("10_to_30"), size_text("over_100")
    ('below 3 mm^3', 'of at least 10 and less than 30 mm^3', 'of at least 100 mm^3')
    """
    low, high = _ALL_SIZES_MM3[name]
    if low == 0:
        return f"below {high:g} mm^3"
    return f"of at least {low:g}" + (f" and less than {high:g} mm^3" if math.isfinite(high) else " mm^3")


def reaches(volume_mm3: float, least_mm3: float) -> bool:
    """Return whether a volume is at least another, up to rounding: a voxel of 0.1 mm^3 is not exactly that."""
    return volume_mm3 * (1 + _ROUNDING) >= least_mm3


def is_of_size(volume_mm3: float, name: str) -> bool:
    """Return whether a volume is of one of :data:`REPORTED_SIZES_MM3`.

    >>> is_of_size(14, "at_least_14"), is_of_size(30, "10_to_30")
    (True, False)
    """
    low, high = _ALL_SIZES_MM3[name]
    return reaches(volume_mm3, low) and not reaches(volume_mm3, high)


def count_clinical(volumes_mm3: Iterable[float]) -> int:
    """Return how many of the volumes are large enough to count clinically.

    >>> count_clinical([13.9, 14, 100])
    2
    """
    return sum(reaches(volume_mm3, CLINICAL_MM3) for volume_mm3 in volumes_mm3)


def size_class_of(volume_mm3: float) -> str:
    """Return the name of a volume's size class."""
    return next(name for name in SIZE_CLASSES_MM3 if is_of_size(volume_mm3, name))


def count_by_size(volumes_mm3: Iterable[float]) -> dict[str, int]:
    """Return how many of the volumes are in each of :data:`SIZE_CLASSES_MM3`; none is left out.

    >>> count_by_size([9.9, 10, 100])
    {'under_3': 0, '3_to_10': 1, '10_to_30': 1, '30_to_100': 0, 'over_100': 1}
    """
    counts = Counter(map(size_class_of, volumes_mm3))
    return {name: counts[name] for name in SIZE_CLASSES_MM3}
