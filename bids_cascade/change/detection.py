"""Which voxels have become lesion, or are no longer: where probability maps and FLAIR images say so together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.change.matching import BoolArray, FloatArray
from bids_cascade.change.noise import PairNoise
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.lesions.components import TOUCHING

_RIM = 2
"""Voxels by which what has changed for sure grows into what the masks alone call changed: a lesion's fading rim."""


@dataclass(frozen=True, eq=False)
class Lesions:
    """One visit's lesions on the pair's grid.

    Attributes
    ----------
    probability : (X, Y, Z) float32 array
    mask : (X, Y, Z) bool array
    """

    probability: FloatArray
    mask: BoolArray


@dataclass(frozen=True, eq=False)
class Change:
    """What has changed between two visits, and what was lesion at each, by both visits' evidence.

    Attributes
    ----------
    gained, lost : (X, Y, Z) bool array
    before, after : (X, Y, Z) bool array
        Lesion at the earlier and at the later visit: the same but for what was gained and lost.
    """

    gained: BoolArray
    lost: BoolArray
    before: BoolArray
    after: BoolArray


def find_change(
    earlier: Lesions,
    later: Lesions,
    difference: FloatArray,
    z: FloatArray,
    noise: PairNoise,
    thresholds: ChangeThresholds,
) -> Change:
    """Find what has changed; exchanging the visits (and the sign of the differences) exchanges gained and lost.

    A voxel that is in one visit's mask only, and has not changed for sure, is lesion at both visits: masks flicker, and
    what only they show is no change.

    Parameters
    ----------
    earlier, later : Lesions
        In the brain of both visits; on a grid of 1 mm voxels.
    difference, z : (X, Y, Z) float32 array
        Later less earlier FLAIR, white matter being 1, and the same in standard deviations of its noise.
    noise : PairNoise
    thresholds : ChangeThresholds
    """
    gained = _increase(earlier, later, difference, z, noise, thresholds)
    lost = _increase(later, earlier, -difference, -z, noise, thresholds)
    either = earlier.mask | later.mask | gained | lost
    return Change(gained, lost, either & ~gained, either & ~lost)


def _increase(
    before: Lesions,
    after: Lesions,
    difference: FloatArray,
    z: FloatArray,
    noise: PairNoise,
    thresholds: ChangeThresholds,
) -> BoolArray:
    """Return what is lesion after, but was not before."""
    step = after.probability - before.probability
    lesion = after.mask | (after.probability >= thresholds.least_probability)
    seeds = lesion & (z >= thresholds.voxel_z) & (step >= thresholds.least_probability_step)
    if not seeds.any():
        return seeds
    alone = after.mask & ~before.mask
    changed = ndimage.binary_dilation(seeds, TOUCHING, iterations=_RIM, mask=alone | seeds)
    changed = _whole_or_not(changed, before.mask, after.mask, thresholds)
    return _sure(changed, difference, z, noise, thresholds)


def _sure(
    changed: BoolArray,
    difference: FloatArray,
    z: FloatArray,
    noise: PairNoise,
    thresholds: ChangeThresholds,
) -> BoolArray:
    """Return the connected regions whose mean difference is beyond the limits."""
    regions, n = ndimage.label(changed, TOUCHING)
    if not n:
        return changed
    numbers = np.arange(1, n + 1)
    sizes = np.bincount(regions.ravel(), minlength=n + 1)[1:]
    contrasts = ndimage.mean(difference, regions, numbers)
    surely = ndimage.mean(z, regions, numbers) / [noise.sd_of_mean(int(size)) for size in sizes]
    kept = (contrasts >= thresholds.least_contrast) & (surely >= thresholds.region_z)
    return np.asarray(np.concatenate([[False], kept])[regions], bool)


def _whole_or_not(
    changed: BoolArray, one_mask: BoolArray, other_mask: BoolArray, thresholds: ChangeThresholds
) -> BoolArray:
    """Take a lesion that was nowhere near lesion before as a whole if it has changed, or not at all if it is too small.

    A region beside a lesion of the one visit stays as it is: that lesion grows.
    """
    regions, n = ndimage.label(changed | other_mask | one_mask, TOUCHING)
    n_changed, n_before, n_voxels = (
        np.bincount(regions.ravel(), weights=weights, minlength=n + 1)
        for weights in (changed.ravel(), one_mask.ravel(), None)
    )
    alone = (n_before == 0) & (n_changed > 0)
    alone[0] = False
    large = np.zeros(n + 1, bool)
    for number in np.flatnonzero(alone):
        large[number] = n_voxels[number] >= thresholds.least_mm3
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        if large[number]:
            large[number] = diameter(regions[box] == number) >= thresholds.least_diameter_mm
    beside = changed & (n_before > 0)[regions]
    return np.asarray(beside | (alone & large)[regions])


def diameter(mask: NDArray[np.bool_]) -> float:
    """Return the greatest extent of a mask in voxels: the distance of its furthest voxels' centres, and one voxel."""
    places = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if len(places) > 1000:  # a lesion so large is long enough
        return float(np.ptp(places, axis=0).max()) + 1
    apart = places[:, None] - places[None]
    return float(np.sqrt((apart**2).sum(axis=-1).max())) + 1 if len(places) else 0.0
