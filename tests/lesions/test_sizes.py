from itertools import pairwise

import pytest

from bids_cascade.lesions.sizes import SIZE_CLASSES_MM3, count_by_size, count_clinical, size_class_of, size_text


@pytest.mark.parametrize(
    ("volume_mm3", "name"),
    [
        (2.99, "under_3"),
        (3, "3_to_10"),
        (9.99, "3_to_10"),
        (10, "10_to_30"),
        (30, "30_to_100"),
        (100, "over_100"),
        (1e6, "over_100"),
        (0.1 + 0.2 + 2.7 - 1e-9, "3_to_10"),
    ],
)
def test_size_classes(volume_mm3: float, name: str) -> None:
    assert size_class_of(volume_mm3) == name


def test_every_volume_is_in_one_size_class() -> None:
    volumes = [0.5, 2.999, 3, 9.999, 10, 29, 30, 99.9, 100, 8000]
    counts = count_by_size(volumes)
    assert counts == {"under_3": 2, "3_to_10": 2, "10_to_30": 2, "30_to_100": 2, "over_100": 2}
    assert count_by_size([]) == dict.fromkeys(SIZE_CLASSES_MM3, 0)
    bounds = list(SIZE_CLASSES_MM3.values())
    assert all(high == low for (_, high), (low, _) in pairwise(bounds))


def test_size_classes_in_words() -> None:
    assert [size_text(name) for name in SIZE_CLASSES_MM3] == [
        "below 3 mm^3",
        "of at least 3 and less than 10 mm^3",
        "of at least 10 and less than 30 mm^3",
        "of at least 30 and less than 100 mm^3",
        "of at least 100 mm^3",
    ]


def test_a_sphere_of_3_mm_counts_clinically() -> None:
    assert count_clinical([13.99, 14, 14.14, 500]) == 3
    assert count_clinical([7 * 0.1 * 20]) == 1, "14.000000000000002 in binary, or a little less"
    assert count_clinical([14 - 1e-6]) == 1
    assert count_clinical([]) == 0
