import numpy as np
import pytest

from bids_cascade.lesions.components import (
    Lesion,
    label_lesions,
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


def test_table_worked_by_hand() -> None:
    labels, _ = label_lesions(two_lesions())
    probability = np.zeros((6, 6, 6))
    probability[3, 3, 3], probability[4, 4, 4], probability[4, 4, 5], probability[0, 0, 0] = 0.6, 0.9, 0.9, 0.7
    affine = np.array([[0, 2.0, 0, 10], [-1.0, 0, 0, 20], [0, 0, 3.0, 30], [0, 0, 0, 1]])
    first, second = lesion_table(labels, probability, affine)
    # Its centre of mass is at (11 / 3, 11 / 3, 4) voxels, a third or two of one from (4, 4, 4).
    assert first == Lesion(1, 18.0, 18.0, 16.0, 42.0, pytest.approx(0.8))
    assert second == Lesion(2, 6.0, 10.0, 20.0, 30.0, pytest.approx(0.7))


def test_the_centre_of_a_ring_and_of_a_crescent_lies_in_them() -> None:
    ring = np.ones((5, 5, 1), bool)
    ring[1:4, 1:4] = False
    crescent = ring.copy()
    crescent[4] = crescent[:, 4] = False
    crescent[0, 4] = True
    for mask, voxel in ((ring, (0, 2, 0)), (crescent, (0, 1, 0))):
        affine = np.array([[-2.0, 0, 0, 50], [0, 2.0, 0, -10], [0, 0, 3.0, 7], [0, 0, 0, 1]])
        (lesion,) = lesion_table(label_lesions(mask)[0], mask.astype(float), affine)
        place = np.linalg.inv(affine) @ [lesion.centre_x_mm, lesion.centre_y_mm, lesion.centre_z_mm, 1]
        assert np.allclose(place[:3], voxel)
        assert mask[tuple(np.round(place[:3]).astype(int))]


def test_the_nearest_voxel_is_nearest_in_mm() -> None:
    """Of an L, whose centre of mass is (1, 1) voxels from both ends, the voxel along the short edge is nearer."""
    mask = np.zeros((4, 4, 1), bool)
    mask[0, :] = mask[:, 0] = True
    for sizes, expected in (((1, 5, 1), (0, 5, 0)), ((5, 1, 1), (5, 0, 0))):
        (lesion,) = lesion_table(label_lesions(mask)[0], mask.astype(float), np.diag([*sizes, 1.0]))
        assert (lesion.centre_x_mm, lesion.centre_y_mm, lesion.centre_z_mm) == expected


@pytest.mark.parametrize("peak", [0.65, 0.7, 0.8, 0.95])
def test_a_lesion_whose_peak_is_exactly_the_lowest_stays_in_single_precision(peak: float) -> None:
    values = np.full((3, 3, 3), peak, np.float32)
    assert remove_weak_lesions(np.ones((3, 3, 3), bool), values, peak).all()
