"""Structures of a head, from the atlas's warped priors and the likelihoods of each voxel's intensities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.histograms import structure_likelihoods
from bids_cascade.anatomy.structures import FLUID, Structure
from bids_cascade.anatomy.ventricles import extend_to_walls, tell_fluid_apart
from bids_cascade.cascade.normalisation import FLUID as FLUID_TISSUE
from bids_cascade.cascade.normalisation import WHITE as WHITE_TISSUE
from bids_cascade.cascade.normalisation import Tissues, find_tissues

_MIXTURES: dict[Structure, tuple[float, float, float]] = {
    **dict.fromkeys(FLUID, (1.0, 0.0, 0.0)),
    Structure.LATERAL_VENTRICLES: (0.9, 0.1, 0.0),  # the choroid plexus is grey
    Structure.CORTEX: (0.0, 1.0, 0.0),
    Structure.DEEP_GREY: (0.0, 0.6, 0.4),
    Structure.WHITE_MATTER: (0.0, 0.05, 0.95),
    Structure.CEREBELLUM: (0.0, 0.6, 0.4),
    Structure.BRAINSTEM: (0.0, 0.2, 0.8),
}
"""Fractions of each structure that look like fluid, grey matter and white matter."""

_LESION_MAY_BE = (Structure.WHITE_MATTER, Structure.DEEP_GREY, Structure.CEREBELLUM, Structure.BRAINSTEM)
TOLD_BY_T1W = (FLUID_TISSUE, WHITE_TISSUE)
"""Tissues that a T1w image separates from the others."""
TOLD_BY_FLAIR = (FLUID_TISSUE,)
"""The same for FLAIR alone."""
_FLOOR = 1e-4
"""Added to every prior, so that structures are possible where the atlas has none."""
_FLUID_FLOOR = 1e-3
"""The same for sulcal fluid: outside the atlas, fluid does not belong to a ventricle."""
_FLUID_REACH_MM = 8.0
_FLUID_REACH_WEIGHT = 0.2
_SMALLEST_ISLAND = {
    Structure.CORTEX: 200,
    Structure.LATERAL_VENTRICLES: 20,
    Structure.CEREBELLUM: 200,
    Structure.BRAINSTEM: 200,
}
"""Least volume, in voxels of 1 mm, of an island that is kept: a gyrus and the end of a horn are larger."""
_RIM_VOXELS, _MAY_BE_CORTEX = 2, 0.2
_TOWARDS_WHITE = 0.65
"""Fraction of the way in T1w from cortex (darkened by sulcal fluid) to white matter where a voxel is half of each."""
_UNSURE_OF_CORTEX, _TOWARDS_WHITE_UNSURE = 0.4, 0.5
"""Prior of cortex below which less than this fraction suffices: there, it is more often the rim of a lesion."""
_IN_VENTRICLE, _SLIT = 0.5, 0.35
"""Prior of lateral ventricle, and fraction of the way from white matter to its fluid, from which a voxel is a slit."""
_FAR_LIKELIER = 3.0
"""Ratio of scores from which a voxel is cortex and not white matter. Mixed voxels look like cortex, whose histogram
they widen: without it, 2 to 5 times as much white matter was labelled cortex as cortex white matter, in six heads."""
_SLIT_LOOKS_LIKE = (Structure.CORTEX, Structure.DEEP_GREY, Structure.WHITE_MATTER)
_VENTRICLE = Structure.LATERAL_VENTRICLES + 1
_TOUCHING = np.ones((3, 3, 3), bool)
STRUCTURES_TOLD_BY = ("T1w", "FLAIR")
"""Sequences whose tissue intensities are known."""
_FLUID_TO_TISSUE = (0.3, 0.7)
"""Range of normalised FLAIR in which voxels mix fluid and tissue: white matter is 1, fluid about 0."""
_MIXED_LEVELS = {"T1w": (0.2, 0.45, 0.7, 0.95), "FLAIR": (0.0, 0.5, 1.1, 1.0)}
"""Normalised intensities of fluid, of voxels that mix it with grey matter, of grey and of white matter, to start
from. Without a class of its own, the mixed voxels of a brain with much fluid were taken for its grey matter: 0.4 in T1w
instead of 0.75 in a synthetic head; with it, seven such heads and five real visits have grey matter at 0.71 to 0.77."""
_SPREAD = 1.3
"""Factor on the spread of a tissue, for noise and for voxels that the mixture's trimming leaves out."""


def widen_fluid(priors: NDArray[np.floating], voxel_mm: Sequence[float]) -> NDArray[np.float32]:
    """Extend the prior of each fluid (S, X, Y, Z) by some millimetres, for ventricles larger than the atlas's.

    Voxels with intensities of tissue don't change; those with intensities of fluid get the nearest fluid structure.
    """
    wide = np.array(priors, np.float32)
    for structure in FLUID:
        sigmas = [_FLUID_REACH_MM / size for size in voxel_mm]
        wide[structure] += _FLUID_REACH_WEIGHT * ndimage.gaussian_filter(wide[structure], sigmas)
    return wide


def find_structures(
    channels: NDArray[np.floating],
    priors: NDArray[np.floating],
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    *,
    with_t1w: bool = True,
) -> NDArray[np.uint8]:
    """Label each brain voxel with the structure whose prior times likelihood is highest.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        T1w and FLAIR, or whichever exists, normalised.
    priors : (S, X, Y, Z) array
        Probability of each :class:`~bids_cascade.anatomy.structures.Structure`.
    brain : (X, Y, Z) bool array
    lesion : (X, Y, Z) bool array
        Voxels whose intensities are not used: they are never fluid or cortex, which the atlas can't place that finely.
    with_t1w : bool
        Whether T1w is among the channels. Otherwise, FLAIR identifies fluid, and the atlas all else.

    Returns
    -------
    (X, Y, Z) uint8 array
        :class:`~bids_cascade.anatomy.structures.Structure` + 1; 0 outside the brain.

    Raises
    ------
    ValueError
        When the shapes differ, or the whole brain is lesion.
    """
    expected = {"channels": (len(channels), *brain.shape), "priors": (len(Structure), *brain.shape)}
    for (name, shape), array in zip(expected.items(), (channels, priors), strict=True):
        if array.shape != shape:
            raise ValueError(f"expected {name} {shape} for this brain mask, found {array.shape}")
    inside, diseased = priors[:, brain] + np.float32(_FLOOR), lesion[brain]
    inside[Structure.SULCAL_FLUID] += np.float32(_FLUID_FLOOR)
    if with_t1w:
        fits = structure_likelihoods(channels[:, brain], inside, ~diseased)
    else:
        fluid = tissue_likelihoods(channels, brain, ("FLAIR",))[FLUID_TISSUE][brain]
        fits = np.stack([fluid if structure in FLUID else 1 - fluid for structure in Structure])
    rim = ndimage.binary_dilation(lesion, iterations=_RIM_VOXELS) & (priors[Structure.CORTEX] < _MAY_BE_CORTEX)
    # The rim that a lesion mask misses looks like grey matter: there, intensity only separates fluid from tissue.
    around, solid = rim[brain], [structure for structure in Structure if structure not in FLUID]
    likeliest = fits[solid][:, around].max(axis=0)
    score = inside * fits
    for structure in Structure:
        if structure in solid:
            score[structure, around] = inside[structure, around] * likeliest
        score[structure, diseased] = inside[structure, diseased] if structure in _LESION_MAY_BE else 0
    structures = np.zeros(brain.shape, np.uint8)
    structures[brain] = (_likeliest(score) if with_t1w else score.argmax(axis=0)) + 1
    tell_fluid_apart(structures, priors, lesion)
    if with_t1w:
        extend_to_walls(structures, channels[0], lesion)
        _settle_beside(structures, channels, priors, lesion)
    _remove_islands(structures)
    return structures


def _likeliest(score: NDArray[np.floating]) -> NDArray[np.integer]:
    """Return the structure of each voxel (N,) with the highest score (S, N), cortex only where it is far likelier."""
    likeliest = score.argmax(axis=0)
    mixed = _FAR_LIKELIER * score[Structure.WHITE_MATTER] > score[Structure.CORTEX]
    return np.where((likeliest == Structure.CORTEX) & mixed, Structure.WHITE_MATTER, likeliest)


def _settle_beside(
    structures: NDArray[np.uint8],
    channels: NDArray[np.floating],
    priors: NDArray[np.floating],
    lesion: NDArray[np.bool_],
) -> None:
    """Decide, in place, on mixed voxels beside lesions by T1w and atlas: one of them may decide on a lesion's location.

    Where cortex and white matter mix, too much is labelled cortex, and a lesion one voxel away seems to touch it. Slits
    of a ventricle, no voxel of which is mostly fluid, are labelled as tissue.
    """
    beside = ndimage.binary_dilation(lesion, iterations=_RIM_VOXELS) & ~lesion
    ventricle, cortex, white = (
        (structures == structure + 1) & ~lesion
        for structure in (Structure.LATERAL_VENTRICLES, Structure.CORTEX, Structure.WHITE_MATTER)
    )
    if cortex.any() and white.any():
        towards = _fraction(channels[:1], cortex, white)
        least = np.where(priors[Structure.CORTEX] < _UNSURE_OF_CORTEX, _TOWARDS_WHITE_UNSURE, _TOWARDS_WHITE)
        structures[cortex & beside & (towards > least)] = Structure.WHITE_MATTER + 1
    if ventricle.any() and white.any():
        slit = (_fraction(channels, white, ventricle) > _SLIT) & (priors[Structure.LATERAL_VENTRICLES] > _IN_VENTRICLE)
        solid = np.isin(structures, [structure + 1 for structure in _SLIT_LOOKS_LIKE])
        structures[slit & beside & solid & ndimage.binary_dilation(ventricle, _TOUCHING)] = _VENTRICLE


def _fraction(channels: NDArray[np.floating], start: NDArray[np.bool_], end: NDArray[np.bool_]) -> NDArray[np.floating]:
    """Return how far each voxel (X, Y, Z) is on the way from one tissue's median to another's, mean of all channels."""
    ways = []
    for channel in channels:
        low, high = np.median(channel[start]), np.median(channel[end])
        ways.append((channel - low) / (high - low) if high != low else np.zeros_like(channel))
    return np.asarray(np.mean(ways, axis=0))


def _remove_islands(structures: NDArray[np.uint8]) -> None:
    """Relabel small islands of cortex, lateral ventricle, cerebellum and brainstem as white matter, in place.

    The rim of a lesion that its mask misses looks like cortex, perivascular spaces look like a ventricle, and choroid
    plexus with contrast agent is brighter than any tissue and most similar to the vessels of the cerebellum.
    """
    for structure, smallest in _SMALLEST_ISLAND.items():
        islands, n = ndimage.label(structures == structure + 1)
        small = np.bincount(islands.ravel(), minlength=n + 1) < smallest
        small[0] = False
        structures[small[islands]] = Structure.WHITE_MATTER + 1


def tissue_likelihoods(
    channels: NDArray[np.floating], sample: NDArray[np.bool_], sequences: Sequence[str], *, mixed: bool = True
) -> NDArray[np.float32]:
    """Return the likelihoods of fluid, grey and white matter at each voxel, (3, X, Y, Z), scaled to sum to 1.

    Gaussians are fitted to the voxels of `sample`. FLAIR alone does not separate the tissues: voxels darker than midway
    between white matter and fluid are then fluid, and all others grey or white matter.

    Parameters
    ----------
    channels : (C, X, Y, Z) array
        Normalised.
    sample : (X, Y, Z) bool array
    sequences : sequence of str
        Of the channels.
    mixed : bool
        Whether voxels that mix fluid and grey matter have a Gaussian of their own, and count as half of each. A
        template, which is an average, has too little fluid to tell them from it.

    Raises
    ------
    ValueError
        When neither T1w nor FLAIR is among the sequences, or there are too few voxels.
    """
    told_by = [index for index, name in enumerate(sequences) if name in STRUCTURES_TOLD_BY]
    if not told_by:
        raise ValueError(f"tissues are known in T1w and FLAIR, not in {', '.join(sequences)}")
    if "T1w" not in sequences:
        dark, bright = _FLUID_TO_TISSUE
        tissue = ((channels[told_by[0]] - dark) / (bright - dark)).clip(0, 1)
        return np.stack([1 - tissue, tissue / 2, tissue / 2]).astype(np.float32)
    names = [sequences[index] for index in told_by]
    start = np.array([_MIXED_LEVELS[name] for name in names]) if mixed else None
    tissues = find_tissues(channels[told_by], sample, names, start)
    densities = np.stack([_log_density(channels[told_by], tissues, kind) for kind in range(tissues.levels.shape[1])])
    densities -= densities.max(axis=0)
    np.exp(densities, out=densities)
    densities /= densities.sum(axis=0)
    if not mixed:
        return densities
    fluid, between, grey, white = densities
    return np.stack([fluid + between / 2, grey + between / 2, white])


def _log_density(channels: NDArray[np.floating], tissues: Tissues, kind: int) -> NDArray[np.float32]:
    total = np.zeros(channels.shape[1:], np.float32)
    for channel, levels, sds in zip(channels, tissues.levels, tissues.sds, strict=True):
        sd = sds[kind] * _SPREAD
        away = (channel - np.float32(levels[kind])) / np.float32(sd)
        if kind == 0:  # nothing is darker than fluid
            np.maximum(away, 0, out=away)
        total -= np.float32(0.5) * away**2 + np.float32(np.log(sd))
    return total


def agreement(
    likelihoods: NDArray[np.floating],
    priors: NDArray[np.floating],
    brain: NDArray[np.bool_],
    tissues: Sequence[int] = TOLD_BY_T1W,
) -> float:
    """Return the agreement of tissue by intensity with the atlas: their correlation over the brain's voxels.

    The correlations of the given tissues are averaged.

    Parameters
    ----------
    likelihoods : (3, X, Y, Z) array
        From :func:`tissue_likelihoods`.
    priors : (S, X, Y, Z) array
    brain : (X, Y, Z) bool array
    tissues : sequence of int
        :data:`TOLD_BY_T1W`, or :data:`TOLD_BY_FLAIR` without T1w.

    Returns
    -------
    float
        0 if there is nothing to compare.
    """
    inside = priors[:, brain]
    correlations = []
    for tissue in tissues:
        expected = sum(mixture[tissue] * inside[structure] for structure, mixture in _MIXTURES.items())
        correlations.append(_correlation(np.asarray(expected), likelihoods[tissue][brain]))
    return float(np.mean(correlations))


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    if a.size < 2 or not (a.std() > 0 and b.std() > 0):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
