"""The normalisation of nicMSlesions: a z-score over the brain and what surrounds it, kept for its models alone.

Of a skull-stripped image, 0 outside the brain, it takes the mean over the brain away from every voxel, and divides by
the standard deviation over the whole volume. So what surrounds the brain is no longer 0, and the scale depends on how
much of the field of view the brain fills (a fault: :mod:`bids_cascade.cascade.normalisation` does without).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def zscore_over_volume(channels: NDArray[np.floating], brain: NDArray[np.bool_], n_volume: int) -> NDArray[np.float32]:
    """Normalise sequences as nicMSlesions does, wherever the grid ends.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        In any unit.
    brain : (X, Y, Z) bool array
    n_volume : int
        Voxels of this grid's size that the scan's whole field of view has; no fewer than the brain's are counted.

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
        # Of the brain, whose mean is now 0, and of what surrounds it, which is now at minus the mean.
        sd = math.sqrt(fraction * inside.var() + fraction * (1 - fraction) * mean**2)
        if not sd > 0:
            raise ValueError("a sequence is constant over the brain and what surrounds it")
        target[...] = -mean / sd
        target[brain] = (inside - mean) / sd
    return normalised
