"""Two finished visits in, what has changed between them out."""

from __future__ import annotations

from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.change.detection import Change, Lesions, find_change
from bids_cascade.change.floor import NoiseFloor, measure_floor, measure_logit_sd
from bids_cascade.change.halfway import HalfWay, halfway_grid, register_visits
from bids_cascade.change.matching import BoolArray, FloatArray, MatchedPair, match_visits
from bids_cascade.change.noise import PairNoise, gradient_per_mm, measure_noise, smooth_slightly
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.change.tracking import Measured, TrackedLesion, track_lesions
from bids_cascade.imaging.grid import Grid, resample
from bids_cascade.imaging.images import data_of, mask_of

EDGE_MM = 1.0
"""Of the half-way grid's voxels; thresholds in voxels are of these."""
_MASK_FROM = 0.5
_FEWEST_VOXELS = 10_000

Flags = dict[str, str]


@dataclass(frozen=True, eq=False)
class FinishedVisit:
    """What a visit's run has left, each in the world of the visit's reference image.

    Attributes
    ----------
    scans : dict of str to nibabel.Nifti1Image
        Bias-corrected, by sequence, the one to register first: T1w and FLAIR, or FLAIR alone.
    brain, probability, mask : nibabel.Nifti1Image
        Brain mask on the grid of the first scan; probability of lesion; lesion mask.
    """

    scans: dict[str, nib.Nifti1Image]
    brain: nib.Nifti1Image
    probability: nib.Nifti1Image
    mask: nib.Nifti1Image


@dataclass(frozen=True, eq=False)
class Comparison:
    """The comparison of two visits; of a pair that can't be compared, only the reasons.

    Attributes
    ----------
    space : HalfWay
    grid : Grid
        Of all arrays.
    correlation, overlap : float
        Of the registered images in both brains; of the smaller brain in both images.
    flags : dict of str to str
        Why the pair is not comparable; nothing when it is.
    result : Found or None
        None where nothing could be measured.
    """

    space: HalfWay
    grid: Grid
    correlation: float
    overlap: float
    flags: Flags = field(default_factory=dict)
    result: Found | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a pair.

    Attributes
    ----------
    earlier, later : (X, Y, Z) float32 array
        FLAIR, matched; white matter is 1, and 0 outside the brain of both.
    change : Change
    labels : (X, Y, Z) int32 array
    lesions : tuple of TrackedLesion
    noise : PairNoise
    floor : NoiseFloor
    """

    earlier: FloatArray
    later: FloatArray
    change: Change
    labels: NDArray[np.int32]
    lesions: tuple[TrackedLesion, ...]
    noise: PairNoise
    floor: NoiseFloor

    @property
    def difference(self) -> FloatArray:
        """Later less earlier FLAIR."""
        return self.later - self.earlier


def compare_visits(
    earlier: FinishedVisit, later: FinishedVisit, thresholds: ChangeThresholds | None = None, seed: int = 0
) -> Comparison:
    """Compare two visits of one participant in the space half-way between them.

    Parameters
    ----------
    earlier, later : FinishedVisit
        With the same sequences.
    thresholds : ChangeThresholds, optional
    seed : int
        Of registration and noise floor.

    Returns
    -------
    Comparison
        Of a pair with `flags`, no change is to be called: what was found is there to be looked at, or None.

    Raises
    ------
    BadDataError
        When the images don't overlap.
    ValueError
        When an image has no tissue to match.
    """
    thresholds = thresholds or ChangeThresholds()
    sequences = [name for name in earlier.scans if name in later.scans]
    first = sequences[0]
    space = register_visits(earlier.scans[first], later.scans[first], earlier.brain, later.brain, seed)
    grid = halfway_grid(space, earlier.brain, later.brain, EDGE_MM)
    sides = [_Side(visit, grid, to_own, sequences) for visit, to_own in _both(earlier, later, space)]
    brain = sides[0].brain & sides[1].brain
    overlap = float(brain.sum() / max(1, min(side.brain.sum() for side in sides)))
    if brain.sum() < _FEWEST_VOXELS:
        return Comparison(space, grid, 0.0, overlap, _flags(space, 0.0, overlap, None, thresholds))
    masks = [side.mask & brain for side in sides]
    pair = match_visits(sides[0].channels, sides[1].channels, brain, masks[0] | masks[1], EDGE_MM, sequences)
    correlation = float(np.corrcoef(pair.earlier[0][brain], pair.later[0][brain])[0, 1])
    if _flags(space, correlation, overlap, None, thresholds) or not pair.white.any():
        noise = None
        flags = _flags(space, correlation, overlap, noise, thresholds) or {"no_white_matter": _NO_WHITE}
        return Comparison(space, grid, correlation, overlap, flags)
    lesions = [Lesions(side.probability * brain, mask) for side, mask in zip(sides, masks, strict=True)]
    result = _find(pair, lesions[0], lesions[1], sequences.index("FLAIR"), brain, grid, thresholds, seed)
    flags = _flags(space, correlation, overlap, result.noise, thresholds)
    return Comparison(space, grid, correlation, overlap, flags, result)


_NO_WHITE = "no normal-appearing white matter was found in which the noise could be measured"


def _both(
    earlier: FinishedVisit, later: FinishedVisit, space: HalfWay
) -> tuple[tuple[FinishedVisit, NDArray[np.float64]], ...]:
    return (earlier, space.half_to_earlier), (later, space.half_to_later)


class _Side:
    """One visit on the half-way grid, each image interpolated once."""

    def __init__(self, visit: FinishedVisit, grid: Grid, to_own: NDArray[np.float64], sequences: list[str]) -> None:
        def bring(image: nib.Nifti1Image) -> FloatArray:
            return data_of(resample(image, grid, 1, to_own))

        self.channels = np.stack([bring(visit.scans[name]) for name in sequences])
        self.brain: BoolArray = bring(_as_float(visit.brain)) >= _MASK_FROM
        self.brain &= (self.channels > 0).all(axis=0)
        self.probability = bring(visit.probability)
        self.mask: BoolArray = bring(_as_float(visit.mask)) >= _MASK_FROM


def _find(
    pair: MatchedPair,
    earlier: Lesions,
    later: Lesions,
    flair: int,
    brain: BoolArray,
    grid: Grid,
    thresholds: ChangeThresholds,
    seed: int,
) -> Found:
    before, after = (smooth_slightly(scans[flair], EDGE_MM) for scans in (pair.earlier, pair.later))
    gradient = gradient_per_mm((before + after) / 2, EDGE_MM)
    difference = (after - before) * brain
    noise = measure_noise(difference, gradient, pair.usual, pair.white)
    sd = noise.voxel_sd(gradient)
    z = difference / sd
    change = find_change(earlier, later, difference, z, noise, thresholds)
    logit_sd = measure_logit_sd(earlier, later, z)
    floor = measure_floor(before, earlier, sd, noise, logit_sd, thresholds, seed)
    measured = Measured(difference, z, later.probability - earlier.probability)
    labels, lesions = track_lesions(change, measured, noise, floor.growth_sd, grid.affine, thresholds)
    return Found(pair.earlier[flair] * brain, pair.later[flair] * brain, change, labels, tuple(lesions), noise, floor)


def _as_float(mask: nib.Nifti1Image) -> nib.Nifti1Image:
    return nib.Nifti1Image(mask_of(mask).astype(np.float32), mask.affine)


def _flags(
    space: HalfWay, correlation: float, overlap: float, noise: PairNoise | None, limits: ChangeThresholds
) -> Flags:
    """Say why a pair is not comparable, by flag."""
    flags: Flags = {}
    if overlap < limits.least_overlap:
        flags["visits_hardly_overlap"] = (
            f"only {overlap:.0%} of the brain lies in both images (expected at least {limits.least_overlap:.0%})"
        )
    if correlation < limits.least_correlation:
        flags["visits_may_be_of_two_people"] = (
            f"the registered images correlate by {correlation:.2f} in the brain (expected at least "
            f"{limits.least_correlation:g}): another person's scan, or a failed registration"
        )
    if space.inconsistency_mm > limits.most_inconsistency_mm:
        flags["visit_registration_inconsistent"] = (
            f"registered forward and back, points are {space.inconsistency_mm:.1f} mm off (expected at most "
            f"{limits.most_inconsistency_mm:g} mm)"
        )
    if noise is not None and noise.white_sd > limits.most_noise:
        flags["visits_differ_in_protocol"] = (
            f"in normal white matter the images differ by {noise.white_sd:.2f} of its level (expected at most "
            f"{limits.most_noise:g}): protocols too different for changes of lesions to be told from noise"
        )
    return flags
