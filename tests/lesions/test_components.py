import numpy as np
import pytest

from bids_cascade.lesions.components import (
    Lesion,
    label_lesions,
    lesion_mask,
    lesion_table,
    remove_small_lesions,
    remove_weak_lesions,
)


def two_lesions() -> np.ndarray:
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = True
    mask[3, 3, 3] = mask[4, 4, 4] = mask[4, 4, 5] = True  # touch at a corner
    return mask


def test_corners_touch_and_the_largest_is_first() -> None:
    labels, n = label_lesions(two_lesions())
    assert n == 2
    assert labels.dtype == np.int32
    assert labels[0, 0, 0] == 2
    assert labels[3, 3, 3] == labels[4, 4, 4] == labels[4, 4, 5] == 1
    assert (labels > 0).sum() == 4


def test_of_equal_ones_the_first_in_array_order_is_first() -> None:
    mask = np.zeros((5, 1, 1), bool)
    mask[[0, 2, 4]] = True
    assert label_lesions(mask)[0].ravel().tolist() == [1, 0, 2, 0, 3]


def test_no_lesion() -> None:
    empty = np.zeros((3, 3, 3), bool)
    labels, n = label_lesions(empty)
    assert n == 0
    assert not labels.any()
    assert lesion_table(labels, empty.astype(float), np.eye(4)) == []
    assert not remove_small_lesions(empty, 1, 10).any()


@pytest.mark.parametrize(
    ("voxel_mm3", "smallest_mm3", "kept"), [(1, 1, 4), (1, 1.5, 3), (1, 3, 3), (1, 3.1, 0), (0.1, 0.3, 3)]
)
def test_small_ones_go_by_volume(voxel_mm3: float, smallest_mm3: float, kept: int) -> None:
    assert remove_small_lesions(two_lesions(), voxel_mm3, smallest_mm3).sum() == kept


def test_threshold_is_included() -> None:
    probability = np.array([[[0.49, 0.5, 0.51]]])
    assert lesion_mask(probability, 0.5, 1, 0).tolist() == [[[False, True, True]]]
    for bad in (0, 1.1):
        with pytest.raises(ValueError, match="expected 0 < threshold <= 1"):
            lesion_mask(probability, bad, 1, 0)


def test_a_lesion_has_a_peak_and_keeps_what_is_around_it() -> None:
    probability = np.array([[[0.5, 0.8, 0.6, 0.4, 0.7, 0.7, 0.1, 0.79]]])
    assert lesion_mask(probability, 0.5, 1, 0, 0.8).tolist() == [[[True, True, True, *[False] * 5]]]
    assert lesion_mask(probability, 0.5, 1, 2, 0.7).tolist() == [[[True, True, True, False, True, True, False, False]]]
    assert lesion_mask(probability, 0.75, 1, 0, 0.7).tolist() == lesion_mask(probability, 0.75, 1, 0).tolist()
    assert not lesion_mask(probability, 0.5, 1, 0, 0.9).any()
    assert not lesion_mask(np.zeros((2, 2, 2)), 0.5, 1, 0, 0.9).any()


def test_table_worked_by_hand() -> None:
    labels, _ = label_lesions(two_lesions())
    probability = np.zeros((6, 6, 6))
    probability[3, 3, 3], probability[4, 4, 4], probability[4, 4, 5], probability[0, 0, 0] = 0.6, 0.9, 0.9, 0.7
    affine = np.array([[0, 2.0, 0, 10], [-1.0, 0, 0, 20], [0, 0, 3.0, 30], [0, 0, 0, 1]])
    first, second = lesion_table(labels, probability, affine)
    assert first == Lesion(
        1, 18.0, pytest.approx(10 + 2 * 11 / 3), pytest.approx(20 - 11 / 3), pytest.approx(42), pytest.approx(0.8)
    )
    assert second == Lesion(2, 6.0, 10.0, 20.0, 30.0, pytest.approx(0.7))


@pytest.mark.parametrize("peak", [0.65, 0.7, 0.8, 0.95])
def test_a_lesion_whose_peak_is_exactly_the_lowest_stays_in_single_precision(peak: float) -> None:
    values = np.full((3, 3, 3), peak, np.float32)
    assert remove_weak_lesions(np.ones((3, 3, 3), bool), values, peak).all()
