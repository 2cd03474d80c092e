import math

import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.evaluation.metrics import LesionWise, lesion_wise, surface_distance
from bids_cascade.lesions.overlap import dice, voxel_wise


def mask(*voxels: int) -> np.ndarray:
    found = np.zeros((12, 1, 1), bool)
    found[list(voxels)] = True
    return found


EMPTY = mask()
NAN = math.nan


def test_worked_by_hand() -> None:
    reference, predicted = mask(0, 1, 4, 8), mask(1, 2, 6)
    # lesions {0,1} {4} {8} against {1,2} {6}: one of three is found, one of two is right
    lesions = lesion_wise(reference, predicted)
    assert lesions == LesionWise(n_reference=3, n_found=1, n_predicted=2, n_right=1)
    assert (lesions.sensitivity, lesions.precision, lesions.f1) == pytest.approx((1 / 3, 1 / 2, 0.4))


def test_one_predicted_lesion_may_find_two() -> None:
    assert lesion_wise(mask(0, 4), mask(0, 1, 2, 3, 4)) == LesionWise(2, 2, 1, 1)


def test_lesions_that_touch_at_a_corner_are_one() -> None:
    corner = np.zeros((2, 2, 2), bool)
    corner[0, 0, 0] = corner[1, 1, 1] = True
    assert lesion_wise(corner, corner) == LesionWise(1, 1, 1, 1)


def test_empty_masks() -> None:
    some = mask(3)
    for reference, predicted, expected in (
        (EMPTY, EMPTY, (NAN, NAN, 1)),
        (EMPTY, some, (NAN, 0, 0)),
        (some, EMPTY, (0, NAN, 0)),
    ):
        lesions = lesion_wise(reference, predicted)
        assert (lesions.sensitivity, lesions.precision, lesions.f1) == pytest.approx(expected, nan_ok=True)
        assert surface_distance(reference, predicted, (1, 1, 1)) == pytest.approx((NAN, NAN), nan_ok=True)


def test_both_miss() -> None:
    lesions = lesion_wise(mask(0), mask(6))
    assert (lesions.sensitivity, lesions.precision, lesions.f1) == (0, 0, 0)


def test_order_of_the_masks() -> None:
    reference, predicted = mask(0, 1, 4), mask(1, 6)
    forth, back = lesion_wise(reference, predicted), lesion_wise(predicted, reference)
    assert (forth.sensitivity, forth.precision, forth.f1) == (back.precision, back.sensitivity, back.f1)


def test_surface_distance_by_hand() -> None:
    # One voxel against one three voxels of 2 mm further on.
    assert surface_distance(mask(2), mask(5), (2, 1, 7)) == (6, 6)
    # {0} to {0, 1, 2, 3}: 0; back: 0, 1, 2, 3 mm, whose 95th percentile is 2.85; mean of all five 6/5.
    assert surface_distance(mask(0), mask(0, 1, 2, 3), (1, 1, 1)) == pytest.approx((2.85, 1.2))
    assert surface_distance(mask(4, 5), mask(4, 5), (1, 1, 1)) == (0, 0)


def test_surface_distance_leaves_the_inside_out() -> None:
    outer, inner = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    outer[2:7, 2:7, 2:7] = True
    inner[3:6, 3:6, 3:6] = True
    # The cubes' faces lie one voxel apart: 3 mm along x, 1 mm along y and z.
    hd95_mm, average_mm = surface_distance(inner, outer, (3, 1, 1))
    # Outer surface, 98 voxels: 54 on the faces (9 each; 18 of them along x), 36 on the edges, 8 on the corners.
    back = [3] * 18 + [1] * 36 + [math.sqrt(2)] * 12 + [math.sqrt(10)] * 24 + [math.sqrt(11)] * 8
    # Forth: only from the middle of the faces along x it is 2 mm, along y or z.
    forth = [2] * 2 + [1] * 24
    assert hd95_mm == pytest.approx(np.percentile(back, 95))
    assert average_mm == pytest.approx((sum(back) + sum(forth)) / 124)


def test_surface_distance_is_that_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    size_mm = np.array([0.9, 1.1, 6.5])
    masks = [ndimage.gaussian_filter(rng.standard_normal((20, 18, 8)), 1.5) > 0.15 for _ in range(2)]

    def surface(one: np.ndarray) -> np.ndarray:
        padded = np.pad(one, 1)
        inside = padded.copy()
        for axis in range(3):
            for step in (-1, 1):
                inside &= np.roll(padded, step, axis)
        return np.argwhere(padded & ~inside) * size_mm

    points = [surface(one) for one in masks]
    distances = np.linalg.norm(points[0][:, None] - points[1][None], axis=2)
    ways = [distances.min(axis=1), distances.min(axis=0)]
    expected = max(np.percentile(way, 95) for way in ways), np.concatenate(ways).mean()
    assert surface_distance(*masks, size_mm) == pytest.approx(expected)


def test_shapes_that_differ() -> None:
    other = np.zeros((3, 1, 1), bool)
    for function in (dice, voxel_wise, lesion_wise, lambda a, b: surface_distance(a, b, (1, 1, 1))):
        with pytest.raises(ValueError, match=r"\(12, 1, 1\).*\(3, 1, 1\)"):
            function(EMPTY, other)
