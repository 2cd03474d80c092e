"""How much two masks overlap, worked by hand on a row of voxels."""

import math

import numpy as np
import pytest

from bids_cascade.lesions.overlap import VoxelWise, dice, voxel_wise


def mask(*voxels: int) -> np.ndarray:
    row = np.zeros((9, 1, 1), bool)
    row[list(voxels)] = True
    return row


EMPTY = mask()
NAN = math.nan


def test_worked_by_hand() -> None:
    reference, predicted = mask(0, 1, 4, 8), mask(1, 2, 6)
    assert voxel_wise(reference, predicted) == pytest.approx(VoxelWise(2 / 7, 1 / 4, 1 / 3))
    assert dice(reference, predicted) == dice(predicted, reference) == pytest.approx(2 / 7)


def test_empty_masks() -> None:
    assert voxel_wise(EMPTY, EMPTY) == pytest.approx((1, NAN, NAN), nan_ok=True)
    assert voxel_wise(EMPTY, mask(3)) == pytest.approx((0, NAN, 0), nan_ok=True)
    assert voxel_wise(mask(3), EMPTY) == pytest.approx((0, 0, NAN), nan_ok=True)


def test_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match=r"the reference mask has shape \(9, 1, 1\), the predicted one \(8, 1, 1\)"):
        dice(EMPTY, EMPTY[1:])
