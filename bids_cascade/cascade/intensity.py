"""Intensities that mean the same on every scanner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def zscore(image: NDArray[np.floating], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Standardise an image by the mean and standard deviation of its brain voxels.

    Only brain voxels count, so that the result does not depend on the field of view.

    Parameters
    ----------
    image : (X, Y, Z) array
        Intensities in any unit.
    brain : (X, Y, Z) bool array
        Brain voxels.

    Returns
    -------
    (X, Y, Z) float32 array
        Mean 0 and standard deviation 1 over the brain; exactly 0 outside it.

    Raises
    ------
    ValueError
        When the shapes differ, the brain is empty, or its intensities are all equal.
    """
    if image.shape != brain.shape:
        raise ValueError(f"the image has shape {image.shape}, the brain mask {brain.shape}")
    if not brain.any():
        raise ValueError("the brain mask is empty")
    inside = image[brain].astype(np.float64)
    spread = inside.std()
    if not spread > 0:
        raise ValueError(f"all {inside.size} brain voxels have the intensity {inside[0]:g}")
    scaled = np.zeros(image.shape, np.float32)
    scaled[brain] = (inside - inside.mean()) / spread
    return scaled
