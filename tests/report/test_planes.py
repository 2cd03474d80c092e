import numpy as np
import pytest

from bids_cascade.report.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    bounding_box,
    displayed,
    grey_levels,
    pixel_mm,
    spread_indices,
    window_of,
)


@pytest.mark.parametrize(
    ("axis", "top_left", "shape"),
    [
        (AXIAL, (2, 3, 1), (4, 3)),  # patient's right, anterior
        (CORONAL, (2, 1, 4), (5, 3)),  # patient's right, superior
        (SAGITTAL, (1, 3, 4), (5, 4)),  # anterior, superior
    ],
)
def test_right_anterior_and_superior_are_top_left(axis: int, top_left: tuple[int, ...], shape: tuple[int, int]) -> None:
    data = np.zeros((3, 4, 5))
    data[top_left] = 1
    picture = displayed(data, axis, 1)
    assert picture.shape == shape
    assert picture[0, 0] == 1
    assert picture.sum() == 1
    assert displayed(np.zeros((3, 4, 5, 3)), axis, 1).shape == (*shape, 3)


def test_pixels_keep_their_proportions() -> None:
    assert pixel_mm((1, 2, 3), AXIAL) == (2, 1)
    assert pixel_mm((1, 2, 3), CORONAL) == (3, 1)
    assert pixel_mm((1, 2, 3), SAGITTAL) == (3, 2)


def test_box_has_its_margin_and_stays_inside() -> None:
    mask = np.zeros((20, 20, 20), bool)
    mask[5:8, 1:3, 18] = True
    assert bounding_box(mask, (1, 2, 5), 4) == (slice(1, 12), slice(0, 5), slice(17, 20))
    assert bounding_box(np.zeros((4, 5, 6), bool), (1, 1, 1), 3) == (slice(0, 4), slice(0, 5), slice(0, 6))


def test_slices_are_all_or_evenly_spread() -> None:
    assert spread_indices(3, 7, 4) == [3, 4, 5, 6]
    assert spread_indices(0, 101, 4) == [20, 40, 60, 80]


def test_grey_levels_and_window() -> None:
    assert grey_levels(np.array([-5.0, 0, 10, 20, 99]), 0, 20).tolist() == [0, 0, 127, 255, 255]
    assert grey_levels(np.array([1.0, 2]), 3, 3).tolist() == [0, 0]
    data = np.arange(1001.0)
    assert window_of(data, data >= 0) == pytest.approx((5, 998))
    assert window_of(data, data < 0) == (0, 1)
