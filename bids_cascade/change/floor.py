"""The noise floor of a pair: what the method calls between the earlier visit and a perturbed copy of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.change.detection import Lesions, find_change
from bids_cascade.change.matching import BoolArray, FloatArray, robust_sd
from bids_cascade.change.noise import PairNoise
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.change.tracking import kind_of
from bids_cascade.lesions.components import TOUCHING

N_COPIES = 3
"""Perturbed copies of each visit; more take time and say little more of calls that hardly ever happen."""

_LEAST_P = 1e-3
_FINE_VOXELS, _COARSE_VOXELS = 1.0, 4.0
"""Standard deviations of the weights that smooth the noise of single voxels, and that which spreads over a lesion."""
_CUBE_VOXELS, _LEFT_IN_CUBE = 125, 0.85
"""Of coarse noise so much is left in the mean over a cube; of fine noise, next to nothing."""
_FEWEST_VOXELS = 30


@dataclass(frozen=True)
class NoiseFloor:
    """What is called where nothing has changed.

    Attributes
    ----------
    n_copies : int
    calls : dict of str to float
        Mean number of lesions called new, enlarging, shrinking and resolved, a copy.
    volume_sd_ml : float
        Standard deviation of the change of the whole lesion volume.
    growth_sd : float
        Of a lesion's change of volume, in mm^3 at 1 mm^3; it grows with the volume to the power of 2/3, as surfaces do.
    logit_sd : float
        By how much the logit of the probability of lesion differs in lesions whose FLAIR is the same at both visits.
    """

    n_copies: int
    calls: dict[str, float]
    volume_sd_ml: float
    growth_sd: float
    logit_sd: float


def measure_floor(
    flair: FloatArray,
    lesions: Lesions,
    sd: FloatArray,
    noise: PairNoise,
    logit_sd: float,
    thresholds: ChangeThresholds,
    seed: int = 0,
) -> NoiseFloor:
    """Compare a visit with perturbed copies of itself.

    A copy is moved by what registration has left in this pair, and gets this pair's noise, as fine and as coarse as
    it is there, in the image and in the logit of the probability; its mask follows its probability.

    Parameters
    ----------
    flair : (X, Y, Z) float32 array
        Matched, slightly smoothed, on a grid of 1 mm.
    lesions : Lesions
    sd : (X, Y, Z) float32 array
        Of the noise of the pair's difference, voxel by voxel.
    noise : PairNoise
    logit_sd : float
    thresholds : ChangeThresholds
    seed : int
    """
    rng = np.random.default_rng(seed)
    calls = dict.fromkeys(("new", "enlarging", "shrinking", "resolved"), 0)
    relative, totals = [], []
    for _ in range(N_COPIES):
        step, copy = _perturbed(flair, lesions, noise, logit_sd, rng)
        change = find_change(lesions, copy, step, step / sd, noise, thresholds)
        regions, n = ndimage.label(change.before | change.after, TOUCHING)
        before, after = (np.bincount(regions[mask], minlength=n + 1)[1:] for mask in (change.before, change.after))
        for size_before, size_after in zip(before.tolist(), after.tolist(), strict=True):
            kind = kind_of(size_before, size_after, 0.0, thresholds)
            if kind in calls:
                calls[kind] += 1
        grown = (before > 0) & (after > 0)
        relative.append((after - before)[grown] / ((after + before)[grown] / 2) ** (2 / 3))
        totals.append(float((after - before).sum()) / 1000)
    every = np.concatenate(relative)
    return NoiseFloor(
        n_copies=N_COPIES,
        calls={name: count / N_COPIES for name, count in calls.items()},
        volume_sd_ml=float(np.sqrt(np.mean(np.square(totals)))),
        growth_sd=float(np.sqrt(np.mean(every**2))) if every.size else 0.0,
        logit_sd=logit_sd,
    )


def measure_logit_sd(earlier: Lesions, later: Lesions, z: FloatArray, default: float = 1.0) -> float:
    """Return by how much the logit of the probability differs where both visits have lesion and FLAIR is the same."""
    unchanged = earlier.mask & later.mask & (np.abs(z) < 1)
    if np.count_nonzero(unchanged) < _FEWEST_VOXELS:
        return default
    return robust_sd(logit(later.probability[unchanged]) - logit(earlier.probability[unchanged]))


def logit(probability: NDArray[np.floating]) -> FloatArray:
    """Return the logarithm of the odds of probabilities, which are first brought to at least 0.001 from 0 and 1."""
    p = np.clip(probability, _LEAST_P, 1 - _LEAST_P)
    return np.asarray(np.log(p / (1 - p)), np.float32)


def _perturbed(
    flair: FloatArray, lesions: Lesions, noise: PairNoise, logit_sd: float, rng: np.random.Generator
) -> tuple[FloatArray, Lesions]:
    """Return a copy's difference from the original, and its lesions; they change around lesions only."""
    direction = rng.standard_normal(3)
    shift = noise.shift_mm * direction / np.linalg.norm(direction)
    moved = flair + _moved(flair, shift)
    coarse = min(1.0, noise.sd_of_mean(_CUBE_VOXELS) / _LEFT_IN_CUBE)
    fine = np.float32(np.sqrt(1 - coarse**2))
    noisy = fine * _smooth_normal(flair.shape, _FINE_VOXELS, rng)
    noisy += np.float32(coarse) * _smooth_normal(flair.shape, _COARSE_VOXELS, rng)
    moved += np.float32(noise.white_sd) * noisy
    odds = logit(lesions.probability)
    odds = odds + _moved(odds, shift) + np.float32(logit_sd) * _smooth_normal(odds.shape, _FINE_VOXELS, rng)
    probability = np.where(lesions.probability > _LEAST_P, 1 / (1 + np.exp(-odds)), np.float32(0)).astype(np.float32)
    mask = probability >= _threshold(lesions)
    return moved - flair, replace(lesions, probability=probability, mask=mask & _near(lesions.mask))


def _moved(volume: FloatArray, shift: NDArray[np.float64]) -> FloatArray:
    """Return by how much a volume changes when it is moved by a small part of a voxel, to first order."""
    total = np.zeros_like(volume)
    for step, along in zip(shift.tolist(), np.gradient(volume), strict=True):
        total += np.float32(step) * along
    return total


def _smooth_normal(shape: tuple[int, ...], reach: float, rng: np.random.Generator) -> FloatArray:
    """Return noise of standard deviation 1 whose neighbours are alike."""
    white = rng.standard_normal(shape, dtype=np.float32)
    smoothed = ndimage.gaussian_filter(white, reach, mode="wrap", truncate=3)
    return np.asarray(smoothed / smoothed.std(), np.float32)


def _threshold(lesions: Lesions) -> float:
    """Return the probability at which the mask ends."""
    return float(lesions.probability[lesions.mask].min()) if lesions.mask.any() else 0.5


def _near(mask: BoolArray) -> BoolArray:
    return np.asarray(ndimage.binary_dilation(mask, TOUCHING, iterations=3))
