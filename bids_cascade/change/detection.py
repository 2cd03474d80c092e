"""Detection of change: voxels that have become lesion, or stopped being it, in both probability maps and FLAIR."""

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
"""Voxels by which a certain change is dilated into what only the masks show as changed: the lesion's fading rim."""
_MOST_PERCENTILE, _OF_MOST = 90, 0.6
"""Percentile of a region's differences that counts as their maximum, and the fraction of it that a voxel must reach:
with 0.6, the volumes of 18 lesions that appear in synthetic pairs are 1.1 times the true ones (quartiles 0.8 and 1.5),
with 0.5 they are 1.3 times as large."""


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
    """Changes between two visits, and the lesions of each visit by the evidence of both.

    Attributes
    ----------
    gained, lost : (X, Y, Z) bool array
    before, after : (X, Y, Z) bool array
        Lesion at the earlier and at the later visit. They differ only in what was gained and lost.
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
    """Find changed voxels; swapping the visits (and the sign of the differences) swaps gained and lost.

    A voxel that is in only one visit's mask, without a certain change, counts as lesion at both visits: masks vary
    between scans, so a difference between masks alone is no change.

    Parameters
    ----------
    earlier, later : Lesions
        Within the brain of both visits, on a grid of 1 mm voxels.
    difference, z : (X, Y, Z) float32 array
        Later minus earlier FLAIR, where white matter is 1, and the same in standard deviations of its noise.
    noise : PairNoise
    thresholds : ChangeThresholds
    """
    gained = _increase(earlier, later, difference, z, noise, thresholds)
    lost = _increase(later, earlier, -difference, -z, noise, thresholds)
    either = earlier.mask | later.mask | gained | lost
    return Change(gained, lost, either & ~gained, either & ~lost)


def _increase(
    baseline: Lesions,
    followup: Lesions,
    difference: FloatArray,
    z: FloatArray,
    noise: PairNoise,
    thresholds: ChangeThresholds,
) -> BoolArray:
    """Return the voxels that are lesion at follow-up but not at baseline; swap the visits to find what was lost.

    Connected voxels where lesion is likely enough and FLAIR is brighter form a region, which is judged as a whole: by
    its highest probability and its mean difference. Its brighter part has become lesion, together with its fading rim
    in the mask. If that part is in several pieces, each must meet the same limits.
    """
    likely = (followup.probability >= thresholds.least_probability) & (z >= thresholds.voxel_z) & ~baseline.mask
    regions = _sure(likely, baseline, followup, difference, z, noise, thresholds)
    if not regions.any():
        return regions
    changed = _sure(_brighter_part(regions, difference), baseline, followup, difference, z, noise, thresholds)
    alone = followup.mask & ~baseline.mask
    changed = ndimage.binary_dilation(changed, TOUCHING, iterations=_RIM, mask=alone | changed)
    return _whole_or_not(changed, baseline.mask, followup.mask, thresholds)


def _sure(
    likely: BoolArray,
    baseline: Lesions,
    followup: Lesions,
    difference: FloatArray,
    z: FloatArray,
    noise: PairNoise,
    thresholds: ChangeThresholds,
) -> BoolArray:
    """Return the connected regions that meet all limits."""
    regions, n = ndimage.label(likely, TOUCHING)
    if not n:
        return likely
    places = np.flatnonzero(regions)
    own = regions.ravel()[places]
    sizes = np.bincount(own, minlength=n + 1)[1:]

    def mean(values: FloatArray) -> NDArray[np.float64]:
        return np.bincount(own, values.ravel()[places], n + 1)[1:] / sizes

    peaks = np.zeros(n + 1, np.float32)
    np.maximum.at(peaks, own, followup.probability.ravel()[places])
    surely = mean(z) / [noise.sd_of_mean(int(size)) for size in sizes]
    region_z = thresholds.region_z * max(1.0, noise.shift_mm / thresholds.usual_edge_noise_mm)
    kept = (mean(difference) >= thresholds.least_contrast) & (surely >= region_z)
    kept &= peaks[1:] >= thresholds.least_peak
    kept &= mean(followup.probability) - mean(baseline.probability) >= thresholds.least_probability_step
    return np.asarray(np.concatenate([[False], kept])[regions], bool)


def _brighter_part(regions: BoolArray, difference: FloatArray) -> BoolArray:
    """Return the voxels of each region that have changed nearly as much as its most changed voxels."""
    labels, _ = ndimage.label(regions, TOUCHING)
    brighter = np.zeros_like(regions)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[box] == number
        most = np.percentile(difference[box][own], _MOST_PERCENTILE)
        brighter[box] |= own & (difference[box] >= _OF_MOST * most)
    return brighter


def _whole_or_not(
    changed: BoolArray, baseline_mask: BoolArray, followup_mask: BoolArray, thresholds: ChangeThresholds
) -> BoolArray:
    """Take a lesion that touches no baseline lesion as a whole if most of it has changed; drop too small ones.

    A region that touches a baseline lesion is left as it is: that lesion grows.
    """
    regions, n = ndimage.label(changed | followup_mask | baseline_mask, TOUCHING)
    n_changed, n_before, n_voxels = (
        np.bincount(regions.ravel(), weights=weights, minlength=n + 1)
        for weights in (changed.ravel(), baseline_mask.ravel(), None)
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
    """Return the greatest extent of a mask in voxels: the largest distance between voxel centres, plus one voxel."""
    places = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if len(places) > 1000:  # such a large lesion is certainly long enough
        return float(np.ptp(places, axis=0).max()) + 1
    apart = places[:, None] - places[None]
    return float(np.sqrt((apart**2).sum(axis=-1).max())) + 1 if len(places) else 0.0
