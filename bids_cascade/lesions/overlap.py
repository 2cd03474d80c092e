"""Voxel-wise overlap of two masks."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


def dice(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient, ``2 |A & B| / (|A| + |B|)`` (Dice 1945); 1 when both masks are empty.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    return voxel_wise(reference, predicted).dice


class VoxelWise(NamedTuple):
    """Agreement counted in voxels."""

    dice: float
    sensitivity: float
    precision: float


def voxel_wise(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> VoxelWise:
    """Return Dice, and the fraction of the reference's voxels that are predicted and of the predicted that are right.

    Parameters
    ----------
    reference, predicted : (X, Y, Z) bool array

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    check_shapes(reference, predicted)
    n_reference, n_predicted = int(reference.sum()), int(predicted.sum())
    n_both = int((reference & predicted).sum())
    total = n_reference + n_predicted
    return VoxelWise(2 * n_both / total if total else 1.0, ratio(n_both, n_reference), ratio(n_both, n_predicted))


def ratio(part: int, whole: int) -> float:
    """Return a fraction; NaN if the whole is 0."""
    return part / whole if whole else math.nan


def check_shapes(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> None:
    """Raise ValueError unless two masks have one shape."""
    if reference.shape != predicted.shape:
        raise ValueError(f"the reference mask has shape {reference.shape}, the predicted one {predicted.shape}")
