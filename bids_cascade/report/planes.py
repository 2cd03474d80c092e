"""Volumes in radiological display: planes, sides and slices."""

from __future__ import annotations

from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

SAGITTAL, CORONAL, AXIAL = 0, 1, 2
"""Axes of an RAS+ volume that the planes are perpendicular to."""

SIDES = {SAGITTAL: ("A", "P"), CORONAL: ("R", "L"), AXIAL: ("R", "L")}
"""Sides at the left and right edge of a displayed slice: radiological convention, anterior to the left."""


Sizes = tuple[float, float, float]
"""Edges of a voxel in mm, along X, Y and Z."""


def sizes_of(image: nib.Nifti1Image) -> Sizes:
    """Return the edges of an image's voxels."""
    x, y, z = voxel_sizes(image.affine).tolist()
    return x, y, z


def displayed(data: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """Return a slice of an RAS+ volume, (X, Y, Z) or (X, Y, Z, 3), from its top left corner: (rows, columns[, 3]).

    Superior (in axial slices anterior) is up; :data:`SIDES` has the left and right sides.
    """
    return np.asarray(data.take(index, axis).swapaxes(0, 1)[::-1, ::-1])


def pixel_mm(sizes_mm: Sizes, axis: int) -> tuple[float, float]:
    """Return the height and width of a displayed pixel."""
    column, row = (size for other, size in enumerate(sizes_mm) if other != axis)
    return row, column


def bounding_box(mask: NDArray[np.bool_], sizes_mm: Sizes, margin_mm: float) -> tuple[slice, slice, slice]:
    """Return the box around a mask, with a margin, within the volume; all of it when the mask is empty."""
    slices = []
    for axis, size_mm in enumerate(sizes_mm):
        inside = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(margin_mm / size_mm))
        start, stop = (inside[0], inside[-1] + 1) if len(inside) else (0, mask.shape[axis])
        slices.append(slice(max(0, int(start) - margin), min(mask.shape[axis], int(stop) + margin)))
    x, y, z = slices
    return x, y, z


def spread_indices(start: int, stop: int, at_most: int) -> list[int]:
    """Return all of ``range(start, stop)``, or `at_most` of them at equal distances without the outermost."""
    if stop - start <= at_most:
        return list(range(start, stop))
    return [int(index) for index in np.linspace(start, stop - 1, at_most + 2)[1:-1].round()]


def grey_levels(data: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Return intensities as grey levels, `low` as 0 and `high` as 255."""
    scale = 255 / (high - low) if high > low else 0.0
    return np.asarray(np.clip((np.asarray(data, np.float32) - low) * scale, 0, 255), np.uint8)


def window_of(data: NDArray[Any], inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the darkest and brightest intensity worth telling apart: the 0.5th and 99.8th percentile inside."""
    if not inside.any():
        return 0.0, 1.0
    low, high = np.percentile(np.asarray(data)[inside], (0.5, 99.8))
    return float(low), float(high)
