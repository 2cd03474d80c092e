"""Weights of the voxels of a mask: larger for small components."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.cascade.samples import BoolVolume


def component_weights(mask: BoolVolume, power: float) -> NDArray[np.float32]:
    """Return the weight of each voxel of a mask, in C order: its component's size to the power of minus `power`.

    With 0, all voxels weigh the same; with 1, all 26-connected components do. The mean over the voxels is 1.
    """
    if power == 0 or not mask.any():
        return np.ones(np.count_nonzero(mask), np.float32)
    components, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    of_voxels = components[mask]
    weights = np.bincount(of_voxels)[of_voxels] ** -power
    return np.asarray(weights / weights.mean(), np.float32)


@dataclass(frozen=True, eq=False)
class WeightedVoxels:
    """The voxels of a mask and their weights.

    Attributes
    ----------
    shape : tuple of int
        Of the volume.
    indices : (N,) int64 array
        Of the voxels in the flattened volume, ascending.
    weights : (N,) float32 array
        Their mean is 1.
    """

    shape: tuple[int, ...]
    indices: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, mask: BoolVolume, power: float) -> WeightedVoxels:
        """Weigh the voxels of a mask by :func:`component_weights`."""
        return cls(mask.shape, np.flatnonzero(mask), component_weights(mask, power))

    def volume(self) -> NDArray[np.float32]:
        """Return the weights as a volume, 0 outside the mask."""
        volume = np.zeros(self.shape, np.float32)
        volume.flat[self.indices] = self.weights
        return volume

    def crop(self, inside: BoolVolume, start: Sequence[int]) -> NDArray[np.float32]:
        """Return the weights in the crop that starts at a voxel; `inside` is the mask in that crop."""
        crop = np.zeros(inside.shape, np.float32)
        voxels = np.argwhere(inside) + np.array(start)
        flat = np.ravel_multi_index(tuple(voxels.T), self.shape)
        crop[inside] = self.weights[np.searchsorted(self.indices, flat)]
        return crop
