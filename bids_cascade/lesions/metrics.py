"""How well a lesion mask agrees with a reference."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bids_cascade.lesions.components import label_lesions


class LesionWise(NamedTuple):
    """Agreement counted in lesions, not in voxels; each from 0 to 1.

    Attributes
    ----------
    sensitivity : float
        Share of the reference's lesions that were found.
    precision : float
        Share of the predicted lesions that are true.
    f1 : float
        Harmonic mean of the two, 0 when both are 0.
    """

    sensitivity: float
    precision: float
    f1: float


def dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Dice similarity coefficient, 2 |A and B| / (|A| + |B|).

    Parameters
    ----------
    a, b : ndarray
        Equal shapes; not 0 is lesion.

    Returns
    -------
    float
        0 to 1; 1 when both are empty, 0 when only one is.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] Dice L. R., Measures of the amount of ecologic association between species, Ecology 26 (1945) 297-302.
    """
    in_a, in_b = _masks(a, b)
    total = np.count_nonzero(in_a) + np.count_nonzero(in_b)
    return 2 * np.count_nonzero(in_a & in_b) / total if total else 1.0


def lesion_wise(reference: NDArray[Any], predicted: NDArray[Any]) -> LesionWise:
    """Compare the 26-connected components of two masks.

    A reference lesion is found, and a predicted one is true, when it shares at least one voxel with the other mask.
    A share of no lesions at all is 1 when the other mask is empty as well, else 0: so two empty masks agree fully,
    and one empty mask against a filled one gives 0 throughout.

    Parameters
    ----------
    reference, predicted : ndarray
        (X, Y, Z), equal shapes; not 0 is lesion.

    Returns
    -------
    LesionWise
        Sensitivity, precision, F1.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    in_reference, in_predicted = _masks(reference, predicted)
    if not in_reference.any() and not in_predicted.any():
        return LesionWise(1.0, 1.0, 1.0)
    sensitivity = _share_touching(in_reference, in_predicted)
    precision = _share_touching(in_predicted, in_reference)
    both = sensitivity + precision
    return LesionWise(sensitivity, precision, 2 * sensitivity * precision / both if both else 0.0)


def _masks(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if a.shape != b.shape:
        raise ValueError(f"masks of shapes {a.shape} and {b.shape} can't be compared; expected equal shapes")
    return a != 0, b != 0


def _share_touching(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Share of the components of `mask` that overlap `other`; 0 when there are none."""
    labels, n_lesions = label_lesions(mask)
    touching = np.unique(labels[mask & other])
    return len(touching) / n_lesions if n_lesions else 0.0
