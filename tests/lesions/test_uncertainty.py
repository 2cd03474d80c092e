import numpy as np
import pytest

from bids_cascade.lesions.components import label_lesions
from bids_cascade.lesions.uncertainty import lesion_uncertainty, mean_pairwise_dice, voxel_uncertainty


def line(*voxels: int) -> np.ndarray:
    """Return a mask of 20 voxels in a row, of which these are true."""
    mask = np.zeros((20, 1, 1), bool)
    mask[list(voxels)] = True
    return mask


def test_voxels() -> None:
    members = [np.array([p], np.float32) for p in (0.1, 0.4, 0.7)]
    np.testing.assert_allclose(voxel_uncertainty(members), [np.sqrt(0.06)], rtol=1e-6)
    apart = [np.array([0, 1, 0.3], np.float32), np.array([1, 1, 0.3], np.float32)]
    np.testing.assert_allclose(voxel_uncertainty(apart), [0.5, 0, 0], atol=1e-7)
    np.testing.assert_array_equal(apart[0], np.array([0, 1, 0.3], np.float32), "an input was changed")


def test_lesions() -> None:
    # The lesions, the largest first, are voxels 0 to 3, 10 to 12 and 17.
    labels, _ = label_lesions(line(0, 1, 2, 3, 10, 11, 12, 17))
    same = line(0, 1, 2, 3, 10, 11, 12, 17)
    # The first has two components of 1 and 2 voxels: 1/4 and 2/4. The second is a part of one of 6: 3/6. No third.
    other = line(0, 2, 3, 8, 9, 10, 11, 12, 13)
    np.testing.assert_allclose(lesion_uncertainty(labels, [same, same]), [0, 0, 0])
    np.testing.assert_allclose(lesion_uncertainty(labels, [other]), [1 / 2, 1 / 2, 1])
    np.testing.assert_allclose(lesion_uncertainty(labels, [same, other]), [1 / 4, 1 / 4, 1 / 2])


def test_one_component_may_suit_two_lesions() -> None:
    labels, _ = label_lesions(line(0, 1, 3))
    np.testing.assert_allclose(lesion_uncertainty(labels, [line(0, 1, 2, 3)]), [1 - 2 / 4, 1 - 1 / 4])


def test_without_lesions_there_is_nothing_to_doubt() -> None:
    labels, _ = label_lesions(line())
    assert lesion_uncertainty(labels, [line(3), line()]) == []
    labels, _ = label_lesions(line(5))
    assert lesion_uncertainty(labels, [line(), line(7)]) == [1.0]


def test_a_scan() -> None:
    # Dice 2/3 (1 and 2 voxels), 0 and 0.
    assert mean_pairwise_dice([line(0), line(0, 1), line(9)]) == pytest.approx(2 / 9)
    assert mean_pairwise_dice([line(), line()]) == 1
    assert mean_pairwise_dice([line(), line(1)]) == 0
