"""How well a lesion mask agrees with a reference mask on the same grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_cascade.lesions.components import label_lesions


class LesionWise(NamedTuple):
    """Agreement counted in lesions."""

    sensitivity: float
    precision: float
    f1: float


def dice(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient, 2 |A & B| / (|A| + |B|) (Dice 1945); 1 when both masks are empty.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    _check_shapes(reference, predicted)
    total = int(reference.sum()) + int(predicted.sum())
    return 2 * int((reference & predicted).sum()) / total if total else 1.0


def lesion_wise(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> LesionWise:
    """Return sensitivity, precision and F1 counted in 26-connected lesions.

    A reference lesion is found, and a predicted one is right, when they share at least one voxel with the other mask.
    Sensitivity is 1 without reference lesions (there was none to miss), precision is 1 without predicted ones (none is
    wrong); F1 is their harmonic mean, 0 where both are 0.

    Parameters
    ----------
    reference, predicted : (X, Y, Z) bool array

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    _check_shapes(reference, predicted)
    sensitivity = _share_touched(reference, predicted)
    precision = _share_touched(predicted, reference)
    total = sensitivity + precision
    return LesionWise(sensitivity, precision, 2 * sensitivity * precision / total if total else 0.0)


def _share_touched(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the share of the lesions of `mask` that have a voxel in `other`; 1 without lesions."""
    labels, n = label_lesions(mask)
    touched = np.unique(labels[mask & other])
    return len(touched) / n if n else 1.0


def _check_shapes(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> None:
    if reference.shape != predicted.shape:
        raise ValueError(f"the reference mask has shape {reference.shape}, the predicted one {predicted.shape}")
