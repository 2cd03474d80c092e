"""Smooth random fields and operations along axes, both as matrix products, which are far faster than filters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: Sequence[int], spacing: float | Sequence[float]) -> FloatArray:
    """Return smooth noise of mean about 0 and standard deviation 1.

    It is drawn at knots and interpolated between them. They reach from one end of an axis to the other, at least four,
    and one more than there would be at `spacing`: where an axis is long, they lie a little closer than that.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : sequence of int
    spacing : float or sequence of float
        In voxels; one for all axes, or one for each.
    """
    spacings = np.broadcast_to(spacing, len(shape)).tolist()
    knots_of = [max(4, int(np.ceil(n / step)) + 2) for n, step in zip(shape, spacings, strict=True)]
    noise = rng.standard_normal(knots_of).astype(np.float32)
    weights = []
    for n, knots in zip(shape, noise.shape, strict=True):
        # Cubic interpolation along one axis at a time is a matrix product, far faster than zooming the volume.
        unit = np.eye(knots, dtype=np.float32)
        weights.append(ndimage.zoom(unit, (n / knots, 1), order=3, mode="nearest"))
    noise = along_axes(noise, weights)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def along_axes(volume: NDArray[np.floating], matrices: Sequence[NDArray[np.floating]]) -> FloatArray:
    """Multiply each axis of a volume by its matrix.

    Parameters
    ----------
    volume : (X, Y, Z) array
    matrices : three arrays, (X', X), (Y', Y) and (Z', Z)

    Returns
    -------
    (X', Y', Z') float32 array, contiguous
    """
    for matrix in matrices:
        # The axis that is worked on goes from first to last, so that after three turns all are back in place.
        volume = np.tensordot(volume, matrix, axes=(0, 1))
    return np.ascontiguousarray(volume, dtype=np.float32)


def linear_weights(positions: NDArray[np.floating], n_source: int) -> FloatArray:
    """Return the matrix (N, n_source) that interpolates linearly at `positions`, and is constant beyond the samples."""
    clipped = np.clip(positions, 0, n_source - 1)
    weights = np.maximum(0, 1 - np.abs(clipped[:, None] - np.arange(n_source)[None]))
    return np.asarray(weights, np.float32)
