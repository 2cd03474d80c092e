"""Lesions as connected components of a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

TOUCHING = np.ones((3, 3, 3), bool)
"""Voxels that share a face, an edge or a corner are one lesion (26-connected)."""


CENTRE = "Centre: that voxel of the lesion which is nearest to its centre of mass"
"""Description of columns with the place of a lesion."""


@dataclass(frozen=True)
class Lesion:
    """One row of the lesion table.

    Attributes
    ----------
    label : int
        Its value in the label image.
    volume_mm3 : float
    centre_x_mm, centre_y_mm, centre_z_mm : float
        See :func:`centre_of`.
    mean_probability : float
    """

    label: int
    volume_mm3: float
    centre_x_mm: float
    centre_y_mm: float
    centre_z_mm: float
    mean_probability: float


def label_lesions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Give the lesions of a mask numbers, from the largest to the smallest.

    Parameters
    ----------
    mask : (X, Y, Z) bool array

    Returns
    -------
    labels : (X, Y, Z) int32 array
        0 outside lesions; 1 is the largest. Of equal ones, the first in array order comes first.
    n : int
        Number of lesions.
    """
    labels = np.zeros(mask.shape, np.int32)
    box, components, sizes = _components(mask)
    rank = np.zeros(len(sizes) + 1, np.int32)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, len(sizes) + 1)
    labels[box] = rank[components]
    return labels, len(sizes)


def remove_small_lesions(mask: NDArray[np.bool_], voxel_volume_mm3: float, min_volume_mm3: float) -> NDArray[np.bool_]:
    """Return the mask without its lesions below `min_volume_mm3`; one of exactly this volume stays."""
    box, components, sizes = _components(mask)
    # A voxel of 0.1 mm^3 is not exactly that in binary: a rounding error must not drop a lesion.
    kept = np.concatenate([[False], sizes * voxel_volume_mm3 >= min_volume_mm3 * (1 - 1e-6)])
    large = np.zeros(mask.shape, bool)
    large[box] = kept[components]
    return large


def remove_weak_lesions(mask: NDArray[np.bool_], values: NDArray[np.floating], lowest_peak: float) -> NDArray[np.bool_]:
    """Return the mask without its lesions in which all values are below `lowest_peak`."""
    box, components, sizes = _components(mask)
    peaks = np.full(len(sizes) + 1, -np.inf, values.dtype)
    np.maximum.at(peaks, components[mask[box]], values[mask])
    strong = np.zeros(mask.shape, bool)
    strong[box] = mask[box] & (peaks >= lowest_peak)[components]
    return strong


def box_of(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the bounding box of a mask; an empty one if the mask is empty."""
    places = np.unravel_index(np.flatnonzero(mask), mask.shape)
    return tuple(slice(along.min(), along.max() + 1) if len(along) else slice(0) for along in places)


def _components(mask: NDArray[np.bool_]) -> tuple[tuple[slice, ...], NDArray[np.int32], NDArray[np.intp]]:
    """Return the box around all lesions, since most of a head has none, their labels in it, and their sizes."""
    box = box_of(mask)
    components, n = ndimage.label(mask[box], TOUCHING)
    return box, components, np.bincount(components.ravel(), minlength=n + 1)[1:]


def centre_of(voxels: NDArray[np.integer], affine: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return the place of the lesion's voxel nearest to its centre of mass, in mm of the image's world, RAS+.

    The centre of mass itself may lie outside a lesion, such as a crescent. Of equally near voxels, the first in array
    order is used.

    Parameters
    ----------
    voxels : (N, 3) integer array
        Indices of the lesion's voxels, in array order.
    affine : (4, 4) array
        Voxel to RAS+ mm.
    """
    # Distances are rounded, so that equal ones are equal.
    from_middle_mm = (voxels - voxels.mean(axis=0)) @ affine[:3, :3].T
    nearest = np.argmin(np.round((from_middle_mm**2).sum(axis=1), 6))
    x, y, z = (affine[:3, :3] @ voxels[nearest] + affine[:3, 3]).tolist()
    return x, y, z


def lesion_table(
    labels: NDArray[np.integer], probability: NDArray[np.floating], affine: NDArray[np.floating]
) -> list[Lesion]:
    """Describe each lesion.

    Parameters
    ----------
    labels : (X, Y, Z) integer array
        From :func:`label_lesions`.
    probability : (X, Y, Z) array
    affine : (4, 4) array
        Voxel to RAS+ mm.

    Returns
    -------
    list of Lesion
        In the order of their labels.
    """
    voxel_volume_mm3 = float(abs(np.linalg.det(affine[:3, :3])))
    lesions = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == number
        voxels = np.argwhere(inside) + [edge.start for edge in box]
        mean = float(probability[box][inside].mean(dtype=np.float64))
        lesions.append(Lesion(number, len(voxels) * voxel_volume_mm3, *centre_of(voxels, affine), mean))
    return lesions
