"""The outcome of each lesion between two visits, and the number that it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.change.detection import Change
from bids_cascade.change.matching import BoolArray, FloatArray
from bids_cascade.change.noise import PairNoise
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.lesions.components import TOUCHING, centre_of

Kind = Literal["new", "enlarging", "stable", "shrinking", "resolved"]

KINDS: dict[Kind, str] = {
    "new": "lesion at the later visit, none of it, nor a voxel beside it, lesion at the earlier one",
    "enlarging": "larger at the later visit by more than the limits and this pair's noise",
    "stable": "lesion at both visits, without a change beyond the limits",
    "shrinking": "smaller at the later visit by more than the limits and this pair's noise",
    "resolved": "lesion at the earlier visit, none of it, nor a voxel beside it, lesion at the later one",
}


@dataclass(frozen=True)
class TrackedLesion:
    """A lesion over two visits: voxels that are connected in either mask.

    Attributes
    ----------
    number : int
        Its value in the label image.
    kind : Kind
    before_mm3, after_mm3 : float
        Volume at the visits.
    z : float
        Mean FLAIR difference of its changed voxels, or of all of a stable lesion, in standard deviations of its noise;
        above 0 where brighter at the later visit.
    contrast : float
        The same difference; white matter is 1.
    probability_step : float
        Mean difference of the probability of lesion there.
    n_before, n_after : int
        Connected parts at the visits: fewer after than before have merged, more have split.
    centre_mm : tuple of float
        In the world of the label image.
    """

    number: int
    kind: Kind
    before_mm3: float
    after_mm3: float
    z: float
    contrast: float
    probability_step: float
    n_before: int
    n_after: int
    centre_mm: tuple[float, float, float]

    @property
    def change_mm3(self) -> float:
        """Volume at the later visit less that at the earlier one."""
        return self.after_mm3 - self.before_mm3

    @property
    def change_percent(self) -> float | None:
        """The same in per cent of the volume at the earlier visit; None for a new lesion."""
        return 100 * self.change_mm3 / self.before_mm3 if self.before_mm3 else None

    @property
    def topology(self) -> str:
        """``merged``, ``split`` or ``same``."""
        if not self.n_before or not self.n_after or self.n_before == self.n_after:
            return "same"
        return "merged" if self.n_after < self.n_before else "split"


@dataclass(frozen=True, eq=False)
class Measured:
    """The measured maps, (X, Y, Z) float32 arrays.

    Attributes
    ----------
    difference, z : array
        Later less earlier FLAIR, and in standard deviations of its noise.
    probability_step : array
        Later less earlier probability of lesion.
    """

    difference: FloatArray
    z: FloatArray
    probability_step: FloatArray


def track_lesions(
    change: Change,
    measured: Measured,
    noise: PairNoise,
    growth_sd: float,
    affine: NDArray[np.float64],
    thresholds: ChangeThresholds,
) -> tuple[NDArray[np.int32], list[TrackedLesion]]:
    """Return the outcome of each lesion, from the largest.

    Touching lesions of both visits are one lesion: two that merge are compared with the merged one, and likewise one
    that splits with its parts.

    Parameters
    ----------
    change : Change
    measured : Measured
    noise : PairNoise
    growth_sd : float
        Standard deviation, without any change, of a lesion's change of volume, per mm^2 of its surface's scale: of
        a lesion of V mm^3 it is ``growth_sd * V ** (2 / 3)``.
    affine : (4, 4) array
        Voxel to RAS+ mm.
    thresholds : ChangeThresholds

    Returns
    -------
    labels : (X, Y, Z) int32 array
        Numbers of the lesions.
    lesions : list of TrackedLesion
    """
    regions, n = ndimage.label(change.before | change.after, TOUCHING)
    sizes = np.bincount(regions.ravel(), minlength=n + 1)[1:]
    rank = np.zeros(n + 1, np.int32)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, n + 1)
    labels = rank[regions]
    voxel_mm3 = float(abs(np.linalg.det(affine[:3, :3])))
    lesions = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        own = labels[box] == number
        before, after = own & change.before[box], own & change.after[box]
        kind = kind_of(before.sum() * voxel_mm3, after.sum() * voxel_mm3, growth_sd, thresholds)
        part = _part_of(kind, own, change.gained[box], change.lost[box])
        voxels = np.argwhere(own) + [edge.start for edge in box]
        lesions.append(
            TrackedLesion(
                number=number,
                kind=kind,
                before_mm3=float(before.sum() * voxel_mm3),
                after_mm3=float(after.sum() * voxel_mm3),
                z=float(measured.z[box][part].mean() / noise.sd_of_mean(int(part.sum()))),
                contrast=float(measured.difference[box][part].mean()),
                probability_step=float(measured.probability_step[box][part].mean()),
                n_before=int(ndimage.label(before, TOUCHING)[1]),
                n_after=int(ndimage.label(after, TOUCHING)[1]),
                centre_mm=centre_of(voxels, affine),
            )
        )
    return labels, lesions


def kind_of(before_mm3: float, after_mm3: float, growth_sd: float, thresholds: ChangeThresholds) -> Kind:
    """Return the outcome of a lesion with these volumes.

    >>> kind_of(100, 104, 0.1, ChangeThresholds()), kind_of(100, 150, 0.1, ChangeThresholds())
    ('stable', 'enlarging')
    """
    if not before_mm3:
        return "new"
    if not after_mm3:
        return "resolved"
    if abs(after_mm3 - before_mm3) < least_change_mm3((before_mm3 + after_mm3) / 2, growth_sd, thresholds):
        return "stable"
    return "enlarging" if after_mm3 > before_mm3 else "shrinking"


def least_change_mm3(volume_mm3: float, growth_sd: float, thresholds: ChangeThresholds) -> float:
    """Return the smallest change of volume that is called growing or shrinking.

    Parameters
    ----------
    volume_mm3 : float
        Mean of both visits.
    growth_sd : float
        See :func:`track_lesions`.
    thresholds : ChangeThresholds
    """
    of_noise = thresholds.noise_factor * growth_sd * volume_mm3 ** (2 / 3)
    return float(max(thresholds.least_change_mm3, thresholds.least_change_fraction * volume_mm3, of_noise))


def _part_of(kind: Kind, own: BoolArray, gained: BoolArray, lost: BoolArray) -> BoolArray:
    """Return the voxels by which a lesion is judged: the changed ones, or all of a stable lesion."""
    part = own & (gained if kind in ("new", "enlarging") else lost if kind in ("shrinking", "resolved") else own)
    return part if part.any() else own


def keep_numbers(
    labels: NDArray[np.int32], earlier: NDArray[np.integer], taken: int = 0
) -> tuple[NDArray[np.int32], dict[int, int]]:
    """Give lesions the numbers that they had before: each the one it shares most voxels with, once.

    Parameters
    ----------
    labels : (X, Y, Z) int32 array
        Lesions of this pair, from 1.
    earlier : (X, Y, Z) integer array
        Lesions with their numbers, as known before, on the same grid.
    taken : int
        The highest number ever given; new lesions get higher ones.

    Returns
    -------
    labels : (X, Y, Z) int32 array
    numbers : dict of int to int
        The kept number by that of `labels`.
    """
    both = (labels > 0) & (earlier > 0)
    pairs, counts = np.unique(np.stack([labels[both], earlier[both]]), axis=1, return_counts=True)
    numbers: dict[int, int] = {}
    for index in np.argsort(-counts, kind="stable"):
        own, before = (int(number) for number in pairs[:, index])
        if own not in numbers and before not in numbers.values():
            numbers[own] = before
    following = max(taken, int(earlier.max(initial=0)))
    for own in range(1, int(labels.max(initial=0)) + 1):
        if own not in numbers:
            following += 1
            numbers[own] = following
    table = np.zeros(len(numbers) + 1, np.int32)
    for own, kept in numbers.items():
        table[own] = kept
    return table[labels], numbers
