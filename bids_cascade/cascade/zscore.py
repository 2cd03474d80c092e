"""The normalisation of nicMSlesions: a z-score over the brain and its surroundings, used for its models only.

From every voxel of a skull-stripped image, 0 outside the brain, it subtracts the mean over the brain, and divides by
the standard deviation over the whole volume. So the surroundings are no longer 0, and the scale depends on the field of
view (a fault that :mod:`bids_cascade.cascade.normalisation` avoids).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def zscore_over_volume(channels: NDArray[np.floating], brain: NDArray[np.bool_], n_volume: int) -> NDArray[np.float32]:
    """Normalise sequences as nicMSlesions does, independently of the grid's extent.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        In any unit.
    brain : (X, Y, Z) bool array
    n_volume : int
        Number of voxels of this grid's size in the scan's whole field of view; at least that of the brain is used.

    Returns
    -------
    (C, X, Y, Z) float32 array
        Outside the brain, one value below 0 in each channel.

    Raises
    ------
    ValueError
        When the shapes differ, the brain is empty, or a channel has one intensity everywhere.
    """
    if channels.shape[1:] != brain.shape:
        raise ValueError(f"expected channels {(len(channels), *brain.shape)} for this brain, found {channels.shape}")
    n_brain = int(np.count_nonzero(brain))
    if not n_brain:
        raise ValueError("the brain mask is empty")
    fraction = n_brain / max(n_brain, n_volume)
    normalised = np.empty(channels.shape, np.float32)
    for channel, target in zip(channels, normalised, strict=True):
        inside = channel[brain].astype(np.float64)
        mean = inside.mean()
        # Of the brain, whose mean is now 0, and of its surroundings, which are now at minus the mean.
        sd = math.sqrt(fraction * inside.var() + fraction * (1 - fraction) * mean**2)
        if not sd > 0:
            raise ValueError("a sequence is constant over the brain and what surrounds it")
        target[...] = -mean / sd
        target[brain] = (inside - mean) / sd
    return normalised
