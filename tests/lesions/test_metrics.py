import numpy as np
import pytest

from bids_cascade.lesions.metrics import LesionWise, dice, lesion_wise


def mask(*voxels: int) -> np.ndarray:
    found = np.zeros((12, 1, 1), bool)
    found[list(voxels)] = True
    return found


EMPTY = mask()


def test_worked_by_hand() -> None:
    reference, predicted = mask(0, 1, 4, 8), mask(1, 2, 6)
    assert dice(reference, predicted) == pytest.approx(2 / 7)
    # lesions {0,1} {4} {8} against {1,2} {6}: one of three is found, one of two is right
    assert lesion_wise(reference, predicted) == pytest.approx(LesionWise(1 / 3, 1 / 2, 0.4))


def test_one_predicted_lesion_may_find_two() -> None:
    assert lesion_wise(mask(0, 4), mask(0, 1, 2, 3, 4)) == LesionWise(1, 1, 1)


def test_empty_masks() -> None:
    some = mask(3)
    assert (dice(EMPTY, EMPTY), dice(EMPTY, some), dice(some, EMPTY)) == (1, 0, 0)
    assert lesion_wise(EMPTY, EMPTY) == LesionWise(1, 1, 1)
    assert lesion_wise(EMPTY, some) == LesionWise(1, 0, 0)
    assert lesion_wise(some, EMPTY) == LesionWise(0, 1, 0)


def test_both_miss() -> None:
    assert lesion_wise(mask(0), mask(6)) == LesionWise(0, 0, 0)


def test_order_of_the_masks() -> None:
    reference, predicted = mask(0, 1, 4), mask(1, 6)
    assert dice(reference, predicted) == dice(predicted, reference)
    forth, back = lesion_wise(reference, predicted), lesion_wise(predicted, reference)
    assert (forth.sensitivity, forth.precision, forth.f1) == (back.precision, back.sensitivity, back.f1)


def test_shapes_that_differ() -> None:
    for function in (dice, lesion_wise):
        with pytest.raises(ValueError, match=r"\(12, 1, 1\).*\(3, 1, 1\)"):
            function(EMPTY, np.zeros((3, 1, 1), bool))
