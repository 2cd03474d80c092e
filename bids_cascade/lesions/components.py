"""Lesions as connected components: labels, volumes, thresholds and a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray
from scipy import ndimage

_TOUCHING_AT_A_CORNER = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Lesion:
    """One row of the lesion table.

    Attributes
    ----------
    label : int
        As in the label image; 1 is the largest lesion.
    volume_mm3 : float
        Number of voxels times the volume of one.
    centre_x_mm, centre_y_mm, centre_z_mm : float
        Mean position of the voxels in world space (RAS+).
    mean_probability : float
        Mean over the voxels.
    """

    label: int
    volume_mm3: float
    centre_x_mm: float
    centre_y_mm: float
    centre_z_mm: float
    mean_probability: float


def label_lesions(mask: NDArray[Any]) -> tuple[NDArray[np.int32], int]:
    """Number the 26-connected components of a mask, the largest first.

    Parameters
    ----------
    mask : ndarray
        (X, Y, Z); not 0 is lesion.

    Returns
    -------
    labels : ndarray of int32
        (X, Y, Z), 0 outside lesions. Of equally large ones, the first in array order has the lower number.
    n_lesions : int
        The highest number.
    """
    found, n_lesions = ndimage.label(np.asarray(mask) != 0, structure=_TOUCHING_AT_A_CORNER, output=np.int32)
    sizes = np.bincount(found.ravel(), minlength=n_lesions + 1)[1:]
    first_voxel = _first_voxel_of_each(found, n_lesions)
    number = np.zeros(n_lesions + 1, dtype=np.int32)
    number[np.lexsort((first_voxel, -sizes)) + 1] = np.arange(1, n_lesions + 1)
    return number[found], n_lesions


def _first_voxel_of_each(labels: NDArray[np.int32], n_labels: int) -> NDArray[np.int64]:
    positions = np.flatnonzero(labels)
    _, first = np.unique(labels.ravel()[positions], return_index=True)
    return np.asarray(positions[first], dtype=np.int64) if n_labels else np.zeros(0, dtype=np.int64)


def remove_small_lesions(mask: NDArray[Any], voxel_volume_mm3: float, min_volume_mm3: float) -> NDArray[np.bool_]:
    """Drop the 26-connected components whose volume is less than `min_volume_mm3`.

    Parameters
    ----------
    mask : ndarray
        (X, Y, Z); not 0 is lesion.
    voxel_volume_mm3 : float
        Volume of a voxel.
    min_volume_mm3 : float
        Smallest volume that stays.

    Returns
    -------
    ndarray of bool
        (X, Y, Z).
    """
    labels, n_lesions = label_lesions(mask)
    volumes_mm3 = np.bincount(labels.ravel(), minlength=n_lesions + 1) * voxel_volume_mm3
    # Rounding must not decide about a lesion of exactly the smallest volume.
    keep = volumes_mm3 >= min_volume_mm3 * (1 - 1e-6)
    keep[0] = False
    return np.asarray(keep[labels], dtype=bool)


def lesion_mask(
    probability: NDArray[Any], threshold: float, voxel_volume_mm3: float, min_volume_mm3: float
) -> NDArray[np.bool_]:
    """Voxels of at least the threshold's probability, without small components.

    Parameters
    ----------
    probability : ndarray
        (X, Y, Z), 0 to 1.
    threshold : float
        Lowest probability of a lesion voxel.
    voxel_volume_mm3, min_volume_mm3 : float
        See :func:`remove_small_lesions`.

    Returns
    -------
    ndarray of bool
        (X, Y, Z).
    """
    return remove_small_lesions(np.asarray(probability) >= threshold, voxel_volume_mm3, min_volume_mm3)


def lesion_table(labels: NDArray[Any], probability: NDArray[Any], affine: NDArray[np.float64]) -> list[Lesion]:
    """Describe each lesion.

    Parameters
    ----------
    labels : ndarray of int
        (X, Y, Z), as :func:`label_lesions` numbers them.
    probability : ndarray
        (X, Y, Z), 0 to 1.
    affine : (4, 4) ndarray
        Voxel to RAS+ mm.

    Returns
    -------
    list of Lesion
        By label.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if labels.shape != probability.shape:
        raise ValueError(f"labels are {labels.shape}, probability is {probability.shape}; expected equal shapes")
    voxels = np.argwhere(labels)
    if not len(voxels):
        return []
    number, row_of = np.unique(labels[tuple(voxels.T)], return_inverse=True)
    n_voxels = np.bincount(row_of)
    positions_mm = apply_affine(affine, voxels)
    centres_mm = np.stack([np.bincount(row_of, weights=axis) for axis in positions_mm.T], axis=1) / n_voxels[:, None]
    means = np.bincount(row_of, weights=probability[tuple(voxels.T)]) / n_voxels
    volume_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    return [
        Lesion(int(label), float(n * volume_mm3), float(x), float(y), float(z), float(mean))
        for label, n, (x, y, z), mean in zip(number, n_voxels, centres_mm, means, strict=True)
    ]
