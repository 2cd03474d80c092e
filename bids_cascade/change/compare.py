"""Compares two finished visits: their changed lesions, or why they can't be compared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.change.detection import Change, Lesions, find_change
from bids_cascade.change.floor import N_COPIES, NoiseFloor, floor_of, judge_copy
from bids_cascade.change.halfway import HalfWay, halfway_grid, register_visits
from bids_cascade.change.matching import BoolArray, FloatArray, MatchedPair, match_visits, robust_sd
from bids_cascade.change.noise import PairNoise, gradient_per_mm, measure_noise, smooth_slightly
from bids_cascade.change.rescan import Residue, Segmenter, scan_again
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.change.tracking import Measured, TrackedLesion, track_lesions
from bids_cascade.change.visit import FinishedVisit
from bids_cascade.errors import BadDataError
from bids_cascade.imaging.grid import Grid, resample
from bids_cascade.imaging.images import data_of, mask_of

EDGE_MM = 1.0
"""Of the half-way grid's voxels, to which thresholds in voxels refer."""
_MASK_FROM = 0.5
_FEWEST_VOXELS = 10_000

Flags = dict[str, str]


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
    """The findings in a pair.

    Attributes
    ----------
    earlier, later : (X, Y, Z) float32 array
        FLAIR, matched; white matter is 1, and 0 outside the brain of both.
    change : Change
    labels : (X, Y, Z) int32 array
    lesions : tuple of TrackedLesion
    noise : PairNoise
    growth_sd : float
        Noise by which growth was judged, see :func:`bids_cascade.change.tracking.track_lesions`.
    floor : NoiseFloor or None
        None if it was not measured.
    """

    earlier: FloatArray
    later: FloatArray
    change: Change
    labels: NDArray[np.int32]
    lesions: tuple[TrackedLesion, ...]
    noise: PairNoise
    growth_sd: float
    floor: NoiseFloor | None = None

    @property
    def difference(self) -> FloatArray:
        """Later less earlier FLAIR."""
        return self.later - self.earlier


def compare_visits(
    earlier: FinishedVisit,
    later: FinishedVisit,
    thresholds: ChangeThresholds | None = None,
    seed: int = 0,
    segment: Segmenter | None = None,
) -> Comparison:
    """Compare two visits of one participant in the space half-way between them.

    Parameters
    ----------
    earlier, later : FinishedVisit
        With the same sequences.
    thresholds : ChangeThresholds, optional
    seed : int
        Of registration and noise floor.
    segment : callable, optional
        Segments a visit as both were segmented: needed to measure the noise floor.

    Returns
    -------
    Comparison
        In a pair with `flags`, no change is called: the findings are only for inspection, or None.

    Raises
    ------
    BadDataError
        When the images don't overlap.
    ValueError
        When an image has no tissue to match.
    """
    thresholds = thresholds or ChangeThresholds()
    pair, evidence = _look(earlier, later, thresholds, seed)
    if evidence is None:
        return pair
    floor = None
    if segment and not pair.flags:
        floor = _floor(earlier, evidence, thresholds, seed, segment)
        if floor is None:
            return replace(pair, flags={"visit_cannot_be_compared_with_itself": _NO_COPY})
    growth_sd = max(thresholds.growth_sd, (floor and floor.growth_sd) or 0.0)
    labels, lesions = evidence.track(growth_sd, pair.grid, thresholds)
    before, after = (side * evidence.brain for side in (evidence.pair.earlier, evidence.pair.later))
    findings = Found(
        before[evidence.flair],
        after[evidence.flair],
        evidence.change,
        labels,
        tuple(lesions),
        evidence.noise,
        growth_sd,
        floor,
    )
    return replace(pair, result=findings)


def _floor(
    earlier: FinishedVisit, evidence: _Evidence, thresholds: ChangeThresholds, seed: int, segment: Segmenter
) -> NoiseFloor | None:
    """Compare the earlier visit with copies of it; None if one can't be compared."""
    rng = np.random.default_rng(seed)
    copies = []
    for _ in range(N_COPIES):
        copy = scan_again(earlier, evidence.residue(), segment, rng, EDGE_MM)
        try:
            pair, again = _look(earlier, copy, thresholds, seed, both_ways=False)
        except (ValueError, BadDataError):
            return None
        if pair.flags or again is None:
            return None
        _, lesions = again.track(thresholds.growth_sd, pair.grid, thresholds)
        copies.append(judge_copy(*again.lesions, lesions, pair.grid.voxel_volume_mm3))
    return floor_of(copies)


def _look(
    earlier: FinishedVisit, later: FinishedVisit, thresholds: ChangeThresholds, seed: int, *, both_ways: bool = True
) -> tuple[Comparison, _Evidence | None]:
    """Register two visits and find the changes, unless they can't be compared at all."""
    sequences = [name for name in earlier.scans if name in later.scans]
    first = sequences[0]
    scans = earlier.scans[first], later.scans[first]
    space = register_visits(*scans, earlier.brain, later.brain, seed, both_ways=both_ways)
    grid = halfway_grid(space, earlier.brain, later.brain, EDGE_MM)
    sides = [_Side(visit, grid, to_own, sequences) for visit, to_own in _both(earlier, later, space)]
    brain = sides[0].brain & sides[1].brain
    overlap = float(brain.sum() / max(1, min(side.brain.sum() for side in sides)))
    if brain.sum() < _FEWEST_VOXELS:
        return Comparison(space, grid, 0.0, overlap, _flags(space, 0.0, overlap, None, thresholds)), None
    lesions = tuple(Lesions(side.probability * brain, side.mask & brain) for side in sides)
    possible = np.logical_or.reduce(
        [side.mask | (side.probability >= thresholds.least_probability) for side in lesions]
    )
    pair = match_visits(sides[0].channels, sides[1].channels, brain, possible, EDGE_MM, sequences)
    correlation = float(np.corrcoef(pair.earlier[0][brain], pair.later[0][brain])[0, 1])
    flags = _flags(space, correlation, overlap, None, thresholds)
    if flags or not pair.white.any():
        return Comparison(space, grid, correlation, overlap, flags or {"no_white_matter": _NO_WHITE}), None
    evidence = _weigh(pair, (lesions[0], lesions[1]), sides[0].channels, brain, sequences, thresholds)
    return Comparison(
        space, grid, correlation, overlap, _flags(space, correlation, overlap, evidence.noise, thresholds)
    ), evidence


_NO_COPY = (
    "the earlier visit could not be compared with a copy of it, moved and with the noise of this pair: what would be "
    "called between the two can't be told from noise"
)
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


@dataclass(frozen=True, eq=False)
class _Evidence:
    """The evidence of a pair, on its grid.

    Attributes
    ----------
    pair : MatchedPair
    lesions : pair of Lesions
        Of the earlier and the later visit.
    unmatched : (C, X, Y, Z) float32 array
        The earlier visit's scans in their own intensities.
    brain : (X, Y, Z) bool array
    sequences : list of str
    change : Change
    measured : Measured
    noise : PairNoise
    """

    pair: MatchedPair
    lesions: tuple[Lesions, Lesions]
    unmatched: FloatArray
    brain: BoolArray
    sequences: list[str]
    change: Change
    measured: Measured
    noise: PairNoise

    @property
    def flair(self) -> int:
        """Index of the FLAIR's channel."""
        return self.sequences.index("FLAIR")

    def track(
        self, growth_sd: float, grid: Grid, thresholds: ChangeThresholds
    ) -> tuple[NDArray[np.int32], list[TrackedLesion]]:
        """See :func:`bids_cascade.change.tracking.track_lesions`."""
        return track_lesions(self.change, self.measured, self.noise, growth_sd, grid.affine, thresholds)

    def residue(self) -> Residue:
        """Return the difference of the visits where nothing has changed."""
        white, sds, units = self.pair.white, {}, {}
        for name, before, after, own in zip(
            self.sequences, self.pair.earlier, self.pair.later, self.unmatched, strict=True
        ):
            sds[name] = robust_sd(smooth_slightly(after - before, EDGE_MM)[white])
            units[name] = robust_sd(own[white]) / max(robust_sd(before[white]), 1e-6)
        return Residue(self.noise, sds, dict(zip(self.sequences, self.pair.field_sds, strict=True)), units)


def _weigh(
    pair: MatchedPair,
    lesions: tuple[Lesions, Lesions],
    unmatched: FloatArray,
    brain: BoolArray,
    sequences: list[str],
    thresholds: ChangeThresholds,
) -> _Evidence:
    flair = sequences.index("FLAIR")
    before, after = (smooth_slightly(scans[flair], EDGE_MM) for scans in (pair.earlier, pair.later))
    gradient = gradient_per_mm((before + after) / 2, EDGE_MM)
    difference = (after - before) * brain
    noise, sd = measure_noise(difference, gradient, pair.usual, pair.white, EDGE_MM)
    z = difference / sd
    change = find_change(*lesions, difference, z, noise, thresholds)
    measured = Measured(difference, z, lesions[1].probability - lesions[0].probability)
    return _Evidence(pair, lesions, unmatched, brain, sequences, change, measured, noise)


def _as_float(mask: nib.Nifti1Image) -> nib.Nifti1Image:
    return nib.Nifti1Image(mask_of(mask).astype(np.float32), mask.affine)


def _flags(
    space: HalfWay, correlation: float, overlap: float, noise: PairNoise | None, limits: ChangeThresholds
) -> Flags:
    """Return why a pair is not comparable, by flag."""
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
    if noise is not None and noise.shift_mm > limits.most_edge_noise_mm:
        flags["visits_differ_in_resolution"] = (
            f"at edges the images differ as if moved by {noise.shift_mm:.2f} mm (expected at most "
            f"{limits.most_edge_noise_mm:g} mm): voxels or protocols too different, or a visit was distorted or scaled"
        )
    if noise is not None and noise.white_sd > limits.most_noise:
        flags["visits_differ_in_protocol"] = (
            f"in normal white matter the images differ by {noise.white_sd:.2f} of its level (expected at most "
            f"{limits.most_noise:g}): protocols too different to distinguish lesion changes from noise"
        )
    return flags
