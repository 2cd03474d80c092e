"""Which voxels have become lesion, or are no longer: where probability maps and FLAIR images say so together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.change.matching import BoolArray, FloatArray
from bids_cascade.change.noise import PairNoise
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.lesions.components import TOUCHING

_RIM = 2
"""Voxels by which what has changed for sure grows into what the masks alone call changed: a lesion's fading rim."""
_MOST_PERCENTILE, _OF_MOST = 90, 0.7
"""Of a region's differences, that which counts as its most, and how much of it a voxel must have: so the volumes of 53
lesions that appear in synthetic pairs are 1.5 times the true ones (quartiles 1.1 and 2.2), with 0.6 1.9 times."""
_SURELY_NONE = 0.005
"""Probability below which nothing tells a voxel from others."""
_MOST_STEP = (-3.0, 5.0)
"""Of log odds: more of a step says no more."""


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
    one: Lesions, other: Lesions, difference: FloatArray, z: FloatArray, noise: PairNoise, thresholds: ChangeThresholds
) -> BoolArray:
    """Return what is lesion in the other visit and was none in the one.

    Where lesion is likely enough and FLAIR brighter, connected voxels are a region, whose evidence counts as a whole:
    its mean difference and the step of its log odds of lesion. Its brighter part is what has become lesion, together
    with its fading rim in the mask; where it falls into pieces, each needs as much evidence.
    """
    likely = (other.probability >= thresholds.least_probability) & (z >= thresholds.voxel_z) & ~one.mask
    regions = _sure(likely, one, other, difference, z, noise, thresholds)
    if not regions.any():
        return regions
    changed = _sure(_brighter_part(regions, difference), one, other, difference, z, noise, thresholds)
    alone = other.mask & ~one.mask
    changed = ndimage.binary_dilation(changed, TOUCHING, iterations=_RIM, mask=alone | changed)
    return _whole_or_not(changed, one.mask, other.mask, thresholds)


def _sure(
    likely: BoolArray,
    one: Lesions,
    other: Lesions,
    difference: FloatArray,
    z: FloatArray,
    noise: PairNoise,
    thresholds: ChangeThresholds,
) -> BoolArray:
    """Return the connected regions whose evidence is beyond the limits."""
    regions, n = ndimage.label(likely, TOUCHING)
    if not n:
        return likely
    places = np.flatnonzero(regions)
    own = regions.ravel()[places]
    sizes = np.bincount(own, minlength=n + 1)[1:]

    def mean(values: FloatArray) -> NDArray[np.float64]:
        return np.bincount(own, values.ravel()[places], n + 1)[1:] / sizes

    surely = mean(z) / [noise.sd_of_mean(int(size)) for size in sizes]
    surely /= max(1.0, noise.shift_mm / thresholds.usual_edge_noise_mm)
    before, after = _highest_beside(one.probability, places), other.probability.ravel()[places]
    step = _log_odds(_maxima(after, own, n)) - _log_odds(_maxima(before, own, n))
    evidence = surely + thresholds.odds_weight * step.clip(*_MOST_STEP)
    kept = (mean(difference) >= thresholds.least_contrast) & (evidence >= thresholds.region_evidence)
    return np.asarray(np.concatenate([[False], kept])[regions], bool)


def _highest_beside(volume: FloatArray, places: NDArray[np.integer]) -> FloatArray:
    """Return the highest value in each of some voxels, given by their flat indices, and their neighbours."""
    padded = np.pad(volume, 1)
    x, y, z = np.unravel_index(places, volume.shape)
    highest = np.zeros(len(places), np.float32)
    for i, j, k in product(range(3), repeat=3):
        np.maximum(highest, padded[x + i, y + j, z + k], out=highest)
    return highest


def _maxima(values: FloatArray, regions: NDArray[np.integer], n: int) -> FloatArray:
    """Return the highest of the values (N,) in each of the regions 1 to n."""
    highest = np.zeros(n + 1, np.float32)
    np.maximum.at(highest, regions, values)
    return highest[1:]


def _log_odds(probability: FloatArray) -> FloatArray:
    """Return log odds, held where a probability is as good as 0 or 1."""
    held = probability.clip(_SURELY_NONE, 1 - _SURELY_NONE)
    return np.asarray(np.log(held / (1 - held)), np.float32)


def _brighter_part(regions: BoolArray, difference: FloatArray) -> BoolArray:
    """Return the voxels of each region that have changed nearly as much as its most changed ones."""
    labels, _ = ndimage.label(regions, TOUCHING)
    brighter = np.zeros_like(regions)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[box] == number
        most = np.percentile(difference[box][own], _MOST_PERCENTILE)
        brighter[box] |= own & (difference[box] >= _OF_MOST * most)
    return brighter


def _whole_or_not(
    changed: BoolArray, one_mask: BoolArray, other_mask: BoolArray, thresholds: ChangeThresholds
) -> BoolArray:
    """Take a lesion that was nowhere near lesion before as a whole if most of it has changed; drop what is too small.

    A region beside a lesion of the one visit stays as it is: that lesion grows.
    """
    regions, n = ndimage.label(changed | other_mask | one_mask, TOUCHING)
    n_changed, n_before, n_voxels = (
        np.bincount(regions.ravel(), weights=weights, minlength=n + 1)
        for weights in (changed.ravel(), one_mask.ravel(), None)
    )
    kept = n_changed > 0
    alone = kept & (n_before == 0)
    kept[alone & (n_changed < thresholds.least_mm3)] = False
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        if alone[number] and kept[number]:
            own = changed[box] & (regions[box] == number)
            kept[number] = diameter(own) >= thresholds.least_diameter_mm
    whole = kept & alone & (n_changed >= n_voxels / 2)
    whole[0] = kept[0] = False
    return np.asarray((changed & kept[regions]) | whole[regions])


def diameter(mask: NDArray[np.bool_]) -> float:
    """Return the greatest extent of a mask in voxels: the distance of its furthest voxels' centres, and one voxel."""
    places = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if len(places) > 1000:  # a lesion so large is long enough
        return float(np.ptp(places, axis=0).max()) + 1
    apart = places[:, None] - places[None]
    return float(np.sqrt((apart**2).sum(axis=-1).max())) + 1 if len(places) else 0.0
