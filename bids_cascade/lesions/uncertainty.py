"""Uncertainty from the disagreement of a model's cascades: by voxel, by lesion and by scan."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bids_cascade.lesions.components import label_lesions
from bids_cascade.lesions.overlap import dice


def voxel_uncertainty(members: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the standard deviation of the members' probabilities, 0 to 0.5, as an array of their shape."""
    mean = sum(members[1:], members[0]) / np.float32(len(members))
    square = np.zeros_like(mean)
    for member in members:
        square += (member - mean) ** 2
    return np.asarray(np.sqrt(square / np.float32(len(members))), np.float32)


def lesion_uncertainty(labels: NDArray[np.integer], members: Sequence[NDArray[np.bool_]]) -> list[float]:
    """Return the structural uncertainty of each lesion: 0 where all members agree on it, 1 where none has it [1]_.

    It is 1 less the mean over members of the intersection over union of the lesion and the best-matching component of
    the member's mask; a member without an overlapping component counts as 0.

    Parameters
    ----------
    labels : (X, Y, Z) integer array
        Lesions of the joint mask, numbered from 1.
    members : sequence of (X, Y, Z) bool arrays
        Each member's own mask.

    References
    ----------
    .. [1] Molchanova N. et al., Structural-based uncertainty in deep learning across anatomical scales: analysis in
       white matter lesion segmentation, arXiv:2311.08931.
    """
    sizes = np.bincount(labels.ravel())[1:]
    if not len(sizes):
        return []
    iou = np.mean([_best_iou(labels, sizes, mask) for mask in members], axis=0)
    return [float(value) for value in 1 - iou]


def _best_iou(labels: NDArray[np.integer], sizes: NDArray[np.intp], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each lesion's highest intersection over union with a component of a mask, as (L,)."""
    own, n_own = label_lesions(mask)
    own_sizes = np.bincount(own.ravel(), minlength=n_own + 1)[1:]
    both = (labels > 0) & mask
    pairs, n_common = np.unique(np.stack([labels[both], own[both]]) - 1, axis=1, return_counts=True)
    iou = n_common / (sizes[pairs[0]] + own_sizes[pairs[1]] - n_common)
    best = np.zeros(len(sizes))
    np.maximum.at(best, pairs[0], iou)
    return best


def mean_pairwise_dice(masks: Sequence[NDArray[np.bool_]]) -> float:
    """Return the mean Dice of each two members' masks: a low value predicts a failed segmentation [1]_.

    References
    ----------
    .. [1] Zenk M. et al., Comparative benchmarking of failure detection methods in medical image segmentation:
       unveiling the role of confidence aggregation, arXiv:2406.03323.
    """
    return float(np.mean([dice(first, second) for first, second in combinations(masks, 2)]))
