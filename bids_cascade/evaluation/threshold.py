"""Chooses the threshold at which masks agree best with their references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.config import LesionRule
from bids_cascade.lesions.overlap import dice
from bids_cascade.lesions.rule import mask_above


def dice_by_threshold(
    values: NDArray[np.floating],
    reference: NDArray[np.bool_],
    thresholds: Sequence[float],
    rule: LesionRule,
    voxel_volume_mm3: float,
) -> NDArray[np.float64]:
    """Return the Dice of the mask by each threshold and a rule's other limits, as (T,).

    Parameters
    ----------
    values : (X, Y, Z) array
        Probability, or brightness.
    reference : (X, Y, Z) bool array
    thresholds : sequence of T floats
        Smallest value of a lesion voxel.
    rule : LesionRule
        Its own threshold is not used.
    voxel_volume_mm3 : float
    """
    # Voxels outside this box are in no mask, so they change neither components nor Dice.
    boxes = ndimage.find_objects((reference | (values >= min(thresholds))).astype(np.int8))
    if not boxes:
        return np.ones(len(thresholds))
    values, reference = values[boxes[0]], reference[boxes[0]]
    masks = (mask_above(threshold, values, rule, voxel_volume_mm3) for threshold in thresholds)
    return np.array([dice(reference, mask) for mask in masks])


def best_threshold(thresholds: Sequence[float], dice_of_visits: Sequence[NDArray[np.float64]], default: float) -> float:
    """Return the threshold with the highest mean Dice over visits; of equally good ones, that nearest to `default`.

    Parameters
    ----------
    thresholds : sequence of T floats
    dice_of_visits : sequence of (T,) array
        From :func:`dice_by_threshold`; none gives `default`.
    default : float
    """
    if not dice_of_visits:
        return default
    means = np.round(np.mean(dice_of_visits, axis=0), 9)
    best = np.flatnonzero(means == means.max())
    return float(
        min(
            (thresholds[index] for index in best), key=lambda threshold: (round(abs(threshold - default), 9), threshold)
        )
    )
