from itertools import pairwise

import pytest

from bids_cascade.lesions.sizes import SIZE_CLASSES_MM3, count_by_size, size_class_of, size_text


@pytest.mark.parametrize(
    ("volume_mm3", "name"),
    [
        (2.99, "under_3"),
        (3, "3_to_10"),
        (9.99, "3_to_10"),
        (10, "10_to_50"),
        (50, "50_to_150"),
        (150, "over_150"),
        (1e6, "over_150"),
        (0.1 + 0.2 + 2.7 - 1e-9, "3_to_10"),
    ],
)
def test_size_classes(volume_mm3: float, name: str) -> None:
    assert size_class_of(volume_mm3) == name


def test_every_volume_is_in_one_size_class() -> None:
    volumes = [0.5, 2.999, 3, 9.999, 10, 49, 50, 149.9, 150, 8000]
    counts = count_by_size(volumes)
    assert counts == {"under_3": 2, "3_to_10": 2, "10_to_50": 2, "50_to_150": 2, "over_150": 2}
    assert count_by_size([]) == dict.fromkeys(SIZE_CLASSES_MM3, 0)
    bounds = list(SIZE_CLASSES_MM3.values())
    assert all(high == low for (_, high), (low, _) in pairwise(bounds))


def test_size_classes_in_words() -> None:
    assert [size_text(name) for name in SIZE_CLASSES_MM3] == [
        "below 3 mm^3",
        "of at least 3 and less than 10 mm^3",
        "of at least 10 and less than 50 mm^3",
        "of at least 50 and less than 150 mm^3",
        "of at least 150 mm^3",
    ]
