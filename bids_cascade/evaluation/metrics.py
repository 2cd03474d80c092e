"""Agreement of a lesion mask with a reference mask on the same grid: the single measures.

Undefined ratios are NaN, n/a in tables, and excluded from means: sensitivity without a reference lesion, precision
without a predicted one, a surface distance without a surface. Dice and F1 are 1 when both masks are empty (a scan
without lesions, in which none was found, is a full success) and 0 when only one is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.lesions.components import label_lesions
from bids_cascade.lesions.overlap import check_shapes, ratio

HD_PERCENTILE = 95


class SurfaceDistance(NamedTuple):
    """Agreement of the outlines, in mm."""

    hd95_mm: float
    average_mm: float


@dataclass(frozen=True)
class LesionWise:
    """Agreement counted in lesions.

    Attributes
    ----------
    n_reference, n_found : int
        Reference lesions, and those of them that share a voxel with the predicted mask.
    n_predicted, n_right : int
        Predicted lesions, and those of them that share a voxel with the reference mask.
    """

    n_reference: int
    n_found: int
    n_predicted: int
    n_right: int

    @property
    def sensitivity(self) -> float:
        """Fraction of the reference lesions that are found; NaN without any."""
        return ratio(self.n_found, self.n_reference)

    @property
    def precision(self) -> float:
        """Fraction of the predicted lesions that are right; NaN without any."""
        return ratio(self.n_right, self.n_predicted)

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision (Commowick 2018); 1 without lesions on either side."""
        if not self.n_reference or not self.n_predicted:
            return float(self.n_reference == self.n_predicted)
        total = self.sensitivity + self.precision
        return 2 * self.sensitivity * self.precision / total if total else 0.0


def lesion_wise(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> LesionWise:
    """Count 26-connected lesions that are found and that are right.

    A reference lesion is found, and a predicted one is right, when they share at least one voxel with the other mask.

    Parameters
    ----------
    reference, predicted : (X, Y, Z) bool array

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    check_shapes(reference, predicted)
    detected, right = (
        overlap_by_lesion(label_lesions(mask)[0], other) > 0
        for mask, other in ((reference, predicted), (predicted, reference))
    )
    return LesionWise(len(detected), int(detected.sum()), len(right), int(right.sum()))


def overlap_by_lesion(labels: NDArray[np.integer], other: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each label from 1 on how many of its voxels are in another mask, as (N,)."""
    return np.bincount(labels[other], minlength=int(labels.max(initial=0)) + 1)[1:]


def surface_distance(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], voxel_size_mm: Sequence[float]
) -> SurfaceDistance:
    """Return how far the outlines of two masks lie apart.

    A mask's surface consists of its voxels with a face neighbour outside it; beyond the image's border is outside.
    Distances are from the centre of each to the nearest one of the other mask, in both directions (Taha and Hanbury
    2015).

    Parameters
    ----------
    reference, predicted : (X, Y, Z) bool array
    voxel_size_mm : sequence of 3 floats

    Returns
    -------
    SurfaceDistance
        ``hd95_mm`` is the larger of both directions' 95th percentiles, ``average_mm`` the mean over all distances of
        both directions; both are NaN when a mask is empty.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    check_shapes(reference, predicted)
    if not reference.any() or not predicted.any():
        return SurfaceDistance(math.nan, math.nan)
    # All nearest voxels lie within the box of both masks.
    (box,) = ndimage.find_objects((reference | predicted).astype(np.int8))
    surfaces = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (reference, predicted)]
    to_other = [
        ndimage.distance_transform_edt(~other, sampling=voxel_size_mm)[own] for own, other in (surfaces, surfaces[::-1])
    ]
    hd95_mm = max(float(np.percentile(distances, HD_PERCENTILE)) for distances in to_other)
    return SurfaceDistance(hd95_mm, float(np.concatenate(to_other).mean()))
