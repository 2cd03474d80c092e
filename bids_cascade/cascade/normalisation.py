"""Intensity normalisation by normal tissue, independent of scanner and lesion load.

A mixture of three Gaussians (fluid, grey and white matter) is fitted to the sequences together, by expectation
maximisation that ignores the least likely voxels [1]_: lesions, vessels and remains of the skull. Normalised white
matter is 1 in every sequence.

This refers to the white matter furthest from grey: of the voxels that are white matter with all their neighbours, those
brighter in T1w than half of them. The unit is the median distance from it of the brain's voxels, except those that are
bright in FLAIR; 0 lies four units below, about where fluid is in T1w and FLAIR. So the surroundings of the brain, 0,
look like fluid.

In FLAIR alone, grey and white matter differ too little for a mixture. There, smooth voxels in the inner half of the
brain that are not as dark as fluid are white matter; its level is from the darker third of the half of them with the
most similar intensities (the shorth [2]_). On 36 scans that have a T1w, real and synthetic, this level was off by 0.04
(standard deviation; 1 is the distance of white matter from fluid).

Where there is a T1w, the FLAIR's level is the mean of both, whose errors have different causes: those of the first are
what the T1w's field or a contrast agent brightens, those of the second how little grey matter differs from white.

References
----------
.. [1] Aït-Ali L. S. et al., STREM: a robust multidimensional parametric method to segment MS lesions in MRI, MICCAI
   2005, 409-416 (trimmed likelihood: Neykov N. et al., Computational Statistics and Data Analysis 52 (2007) 299-308).
.. [2] Andrews D. F. et al., Robust Estimates of Location: Survey and Advances, Princeton 1972.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatArray = NDArray[np.float64]

FLUID, GREY, WHITE = 0, 1, 2

_FEWEST_VOXELS, _MOST_VOXELS = 1000, 60_000
_TRIMMED = 0.10
"""Fraction of the voxels that are ignored; 50 ml of lesions are 4 % of a brain, vessels and the brain's rim as much."""

_MAX_ITERATIONS = 60
_TOLERANCE = 1e-3
_SMALLEST_SD = 0.01
_FURTHEST_SD = 2.5
_FEWEST_CORE = 500
_BRIGHT = 2.5
_UNITS_TO_ZERO = 4.0
_DEEP = 0.5
"""Outer fraction of the brain in which FLAIR alone is not searched for white matter."""

_FLUID_FRACTION = 0.15
"""Largest fraction of the brain that may be fluid, dark in FLAIR."""

_SMOOTH, _SHORTEST, _WITHIN = 0.5, 0.5, 0.3
"""White matter in FLAIR alone: the smoothest voxels, those most alike among them, and the quantile of these."""

_AT_ONCE = 8192
"""Voxels to classify at once: they stay in the cache."""

_RANGE = (-0.5, 4.5)
"""Normalised intensities are clipped to this range; vessels and non-brain lie beyond."""

_START_QUANTILES = {"T1w": (0.08, 0.38, 0.78), "FLAIR": (0.06, 0.65, 0.45)}
"""Where fluid, grey and white matter lie among a sequence's sorted intensities, to start from."""

_START_FRACTIONS = (0.15, 0.45, 0.40)


@dataclass(frozen=True, eq=False)
class Tissues:
    """Normal tissue in the intensities of a visit's sequences: fluid, grey and white matter, or other K classes.

    Attributes
    ----------
    levels : (C, K) array
        Intensity of each class in each sequence.
    sds : (C, K) array
        Spread of each.
    fractions : (K,) array
        Fraction of the brain that each is.
    """

    levels: FloatArray
    sds: FloatArray
    fractions: FloatArray


def find_tissues(
    channels: NDArray[np.floating],
    brain: NDArray[np.bool_],
    sequences: Sequence[str],
    start: NDArray[np.floating] | None = None,
) -> Tissues:
    """Fit fluid, grey and white matter to a visit's T1w and FLAIR intensities.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        T1w and FLAIR, bias-corrected, on one grid, in any unit.
    brain : (X, Y, Z) bool array
    sequences : sequence of str
        Of the channels, in their order: T1w and FLAIR.
    start : (C, K) array, optional
        Intensities of other classes to fit instead, where they are about known.

    Raises
    ------
    ValueError
        When the shapes differ, a sequence is neither T1w nor FLAIR, the brain has fewer than 1000 voxels, or a
        sequence is constant in it.
    """
    values = _sampled(channels, brain, sequences)
    low, high = np.percentile(values, (2, 98), axis=0)
    if not (high > low).all():
        raise ValueError(f"{', '.join(np.array(sequences)[high <= low])} is constant over the brain")
    scaled = (values - low) / (high - low)
    if start is None:
        quantiles = [np.quantile(scaled[:, i], _START_QUANTILES[name]) for i, name in enumerate(sequences)]
        means, fractions = np.array(quantiles).T, np.array(_START_FRACTIONS)
    else:
        means, fractions = (start.T - low) / (high - low), np.full(start.shape[1], 1 / start.shape[1])
    means, covariances, fractions = _fit(scaled, means, fractions)
    spread = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    return Tissues(
        levels=means.T * (high - low)[:, None] + low[:, None], sds=spread.T * (high - low)[:, None], fractions=fractions
    )


def normalise(
    channels: NDArray[np.floating], brain: NDArray[np.bool_], sequences: Sequence[str]
) -> NDArray[np.float32]:
    """Scale a visit's sequences so that 1 is normal-appearing white matter and 0 is four units below it.

    Unlike a z-score over the brain, neither depends on the lesions.

    Parameters and errors are those of :func:`find_scale`.

    Returns
    -------
    (C, X, Y, Z) float32 array
        Between -0.5 and 4.5 in the brain, exactly 0 outside it.
    """
    white, unit = find_scale(channels, brain, sequences)
    scaled = np.zeros(channels.shape, np.float32)
    for channel, target, level, step in zip(channels, scaled, white, unit, strict=True):
        target[brain] = (1 + (channel[brain] - level) / (_UNITS_TO_ZERO * step)).clip(*_RANGE)
    return scaled


def find_scale(
    channels: NDArray[np.floating], brain: NDArray[np.bool_], sequences: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Return the intensity of normal-appearing white matter and the unit of distance from it, (C,) each.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        Bias-corrected, on one grid, in any unit.
    brain : (X, Y, Z) bool array
    sequences : sequence of str
        Of the channels, in their order. Tissues are found in T1w and FLAIR, or in the only one of them.

    Raises
    ------
    ValueError
        When the shapes differ, neither T1w nor FLAIR is among the sequences, the brain has fewer than 1000 voxels, or a
        sequence is constant in it.
    """
    if channels.shape != (len(sequences), *brain.shape):
        raise ValueError(
            f"expected channels {(len(sequences), *brain.shape)} for {', '.join(sequences)} and this brain mask, found "
            f"{channels.shape}"
        )
    told_by = [index for index, name in enumerate(sequences) if name in _START_QUANTILES]
    if not told_by:
        raise ValueError(f"tissues are known in T1w and FLAIR, not in {', '.join(sequences)}")
    inside = np.array([channel[brain] for channel in channels])
    zero = _white_levels(channels, inside, brain, sequences)
    away = np.abs(inside - zero[:, None])
    # Lesions, the brightest voxels in FLAIR, are ignored.
    bright = np.zeros(away.shape[1], bool)
    if "FLAIR" in sequences:
        flair = sequences.index("FLAIR")
        bright = (inside[flair] > zero[flair]) & (away[flair] > _BRIGHT * np.median(away[flair]))
    unit = np.array(
        [np.median(distances[~bright]) for distances in away], np.float64
    )  # axis=1 takes five times as long
    # If more than half of the brain has one intensity, as in phantoms.
    unit = np.where(unit > 0, unit, away.mean(axis=1))
    if not (unit > 0).all():
        raise ValueError(f"{', '.join(np.array(sequences)[~(unit > 0)])} is constant over the brain")
    return zero, unit


def _white_levels(
    channels: NDArray[np.floating], inside: NDArray[np.floating], brain: NDArray[np.bool_], sequences: Sequence[str]
) -> FloatArray:
    """Return the intensity of normal-appearing white matter (C,), given the brain's voxels (C, N), too."""
    if "T1w" not in sequences:
        core = _smooth_core(channels[sequences.index("FLAIR")], brain)
        return np.array([np.quantile(channel[core], _WITHIN) for channel in inside], np.float64)
    core = _white_core(channels, inside, brain, sequences)
    levels = np.array([np.median(channel[core]) for channel in inside], np.float64)
    if "FLAIR" in sequences:
        flair = sequences.index("FLAIR")
        by_flair = np.quantile(inside[flair][_smooth_core(channels[flair], brain)], _WITHIN)
        levels[flair] = (levels[flair] + by_flair) / 2
    return levels


def _white_core(
    channels: NDArray[np.floating], inside: NDArray[np.floating], brain: NDArray[np.bool_], sequences: Sequence[str]
) -> NDArray[np.bool_]:
    """Return which of the brain's voxels (N,) are the white matter furthest from grey, by T1w and FLAIR."""
    told_by = [index for index, name in enumerate(sequences) if name in _START_QUANTILES]
    tissues = find_tissues(channels[told_by], brain, [sequences[index] for index in told_by])
    white = np.zeros(brain.shape, bool)
    white[brain] = _classify(inside[told_by], tissues) == WHITE
    core = _eroded(white)[brain]
    if np.count_nonzero(core) < _FEWEST_CORE:
        core = white[brain] if white.any() else _usual_white(inside[told_by[0]], sequences[told_by[0]])
    t1w = inside[sequences.index("T1w")]
    core &= t1w >= np.median(t1w[core])
    return core


def _smooth_core(flair: NDArray[np.floating], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the brain's voxels (N,) are white matter, by FLAIR alone."""
    values = flair[brain].astype(np.float64)
    _check_brain(values)
    values /= np.abs(values).max()  # squares of large numbers would overflow
    depth = ndimage.distance_transform_edt(brain)[brain]
    filled = np.full(brain.shape, np.median(values), np.float32)
    filled[brain] = values
    smoothed = ndimage.gaussian_filter(filled, 1.0)
    slope = ndimage.gaussian_gradient_magnitude(smoothed, 1.0)[brain]
    likely: NDArray[np.bool_] = (depth > np.quantile(depth, _DEEP)) & (values > np.quantile(values, _FLUID_FRACTION))
    if not likely.any():
        return np.ones(len(values), bool)
    likely &= slope <= np.quantile(slope[likely], _SMOOTH)
    low, high = _shortest_interval(smoothed[brain][likely])
    within: NDArray[np.bool_] = (smoothed[brain] >= low) & (smoothed[brain] <= high)
    return likely & within


def _shortest_interval(values: NDArray[np.floating]) -> tuple[float, float]:
    """Return the ends of the shortest interval that holds half of the values."""
    ordered = np.sort(values)
    n = max(int(len(ordered) * _SHORTEST), 1)
    widths = ordered[n:] - ordered[:-n]
    first = int(widths.argmin()) if len(widths) else 0
    return float(ordered[first]), float(ordered[min(first + n, len(ordered) - 1)])


def _check_brain(values: NDArray[np.floating]) -> None:
    """Raise ValueError unless the brain's intensities (N,) are enough, and more than one."""
    if len(values) < _FEWEST_VOXELS:
        raise ValueError(f"the brain has {len(values)} voxels; at least 1000 are needed to tell its tissues apart")
    low, high = np.percentile(values, (2, 98))
    if not high > low:
        raise ValueError("FLAIR is constant over the brain")


def _classify(values: NDArray[np.floating], tissues: Tissues) -> NDArray[np.int8]:
    """Return the most likely tissue of voxels (C, N); -1 for those unlike all of them."""
    rarity = np.log(tissues.sds).sum(axis=0) - np.log(tissues.fractions)
    kinds = np.empty(values.shape[1], np.int8)
    for start in range(0, len(kinds), _AT_ONCE):
        chunk = values[:, start : start + _AT_ONCE]
        best, like_any = np.full(chunk.shape[1], np.inf), np.zeros(chunk.shape[1], bool)
        for kind in (FLUID, GREY, WHITE):
            away = (chunk - tissues.levels[:, kind, None]) / tissues.sds[:, kind, None]
            np.square(away, out=away)
            like_any |= away.max(axis=0) <= _FURTHEST_SD**2
            score = 0.5 * away.sum(axis=0) + rarity[kind]
            kinds[start : start + _AT_ONCE][score < best] = kind
            np.minimum(best, score, out=best)
        kinds[start : start + _AT_ONCE][~like_any] = -1
    return kinds


def _usual_white(values: NDArray[np.floating], sequence: str) -> NDArray[np.bool_]:
    """Return the tenth of the voxels (N,) that is usually white matter by rank, for scans without any tissue found."""
    usual = np.quantile(values, _START_QUANTILES[sequence][WHITE])
    away = np.abs(values.astype(np.float64) - usual)
    near: NDArray[np.bool_] = away <= np.quantile(away, 0.1)
    return near


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask whose six neighbours are in it, too."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        along, result = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        result[1:] &= along[:-1]
        result[:-1] &= along[1:]
        result[[0, -1]] = False
    return inner


def _sampled(channels: NDArray[np.floating], brain: NDArray[np.bool_], sequences: Sequence[str]) -> FloatArray:
    """Return the intensities (N, C) of evenly spread brain voxels."""
    if channels.shape != (len(sequences), *brain.shape):
        raise ValueError(
            f"expected channels {(len(sequences), *brain.shape)} for {', '.join(sequences)} and this brain mask, found "
            f"{channels.shape}"
        )
    unknown = set(sequences) - set(_START_QUANTILES)
    if unknown:
        raise ValueError(f"tissues are known in T1w and FLAIR, not in {', '.join(sorted(unknown))}")
    inside = np.flatnonzero(brain)
    if len(inside) < _FEWEST_VOXELS:
        raise ValueError(f"the brain has {len(inside)} voxels; at least 1000 are needed to tell its tissues apart")
    # A step that shares no factor with the grid's edges would miss no plane; a fixed random draw misses none either.
    if len(inside) > _MOST_VOXELS:
        inside = np.random.default_rng(0).choice(inside, _MOST_VOXELS, replace=False)
    return channels.reshape(len(sequences), -1)[:, inside].T.astype(np.float64)


def _fit(values: FloatArray, means: FloatArray, fractions: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return means (K, C), covariances (K, C, C) and fractions (K,) by trimmed expectation maximisation."""
    n_channels = values.shape[1]
    pairs = np.triu_indices(n_channels)
    moments = np.column_stack([np.ones(len(values)), values, values[:, pairs[0]] * values[:, pairs[1]]])
    covariances = np.stack([np.eye(n_channels) * 0.1**2] * len(means))
    for _ in range(_MAX_ITERATIONS):
        each = [_polynomial(*parameters, pairs) for parameters in zip(means, covariances, fractions, strict=True)]
        densities = np.exp(np.array(each) @ moments.T) + 1e-300
        likelihood = densities.sum(axis=0)
        kept = likelihood >= np.quantile(likelihood, _TRIMMED)
        sums = (densities * (kept / likelihood)) @ moments
        totals = np.maximum(sums[:, 0], 1e-9)
        averages = sums / totals[:, None]
        before, means = means, averages[:, 1 : 1 + n_channels]
        for covariance, mean, squares in zip(covariances, means, averages[:, 1 + n_channels :], strict=True):
            covariance[pairs] = squares
            covariance.T[pairs] = squares
            covariance -= np.outer(mean, mean)
        covariances += np.eye(n_channels) * _SMALLEST_SD**2
        fractions = totals / totals.sum()
        if np.abs(means - before).max() < _TOLERANCE:
            break
    return means, covariances, fractions


def _polynomial(
    mean: FloatArray, covariance: FloatArray, fraction: float, pairs: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> FloatArray:
    """Return a Gaussian's log density as the coefficients of 1, of the channels and of the products of two of them."""
    precision = np.linalg.inv(covariance)
    constant = np.log(fraction) - 0.5 * (np.linalg.slogdet(covariance)[1] + mean @ precision @ mean)
    quadratic = np.where(pairs[0] == pairs[1], 0.5, 1.0) * precision[pairs]
    return np.concatenate([[constant], precision @ mean, -quadratic])
