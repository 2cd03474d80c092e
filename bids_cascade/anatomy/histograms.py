"""Likelihoods of intensities in each structure, estimated from the visit itself.

A structure's intensities are modelled by a joint histogram of all sequences. It assumes no distribution, so it also
fits partial volume, choroid plexus, and scans with hardly any contrast between grey and white matter. Starting from
the atlas, histograms are computed and smoothed and voxels classified in turns (classification expectation
maximisation [1]_).

References
----------
.. [1] Celeux G., Govaert G., A classification EM algorithm for clustering and two stochastic versions, Computational
   Statistics and Data Analysis 14 (1992) 315-332.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.structures import FLUID, Structure

_BINS = 64
_RANGE = (-0.5, 1.8)
"""Range of normalised intensities; only vessels and lesions are outside."""
_SMOOTHING_BINS = 1.0
_ROUNDS = 6
_MOST_VOXELS = 150_000
_SURELY_FLUID = 0.4
"""Normalised intensity below which a voxel is fluid if all sequences agree: white matter is 1, and grey matter is at
least 0.6 in T1w, and brighter in FLAIR. With 0.5, cortex beside sulci became fluid."""
_RAREST = 1e-6
"""Added to all frequencies, so that intensities not seen in a structure are not impossible."""


def structure_likelihoods(
    channels: NDArray[np.floating], priors: NDArray[np.floating], learnt_from: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the likelihood of each voxel's intensities in each structure, (S, N).

    All fluid shares one histogram: that of small ventricles alone would include the tissue around them. During the
    estimation, fluid and tissue are separated by intensity alone, so that ventricles larger than the atlas's don't
    distort the histogram of white matter. What is dark in all sequences is fluid from the start: once in the histogram
    of a tissue, it would stay there.

    Parameters
    ----------
    channels : (C, N) array
        Normalised.
    priors : (S, N) array
        Prior probability of each structure; they need not sum to 1.
    learnt_from : (N,) bool array
        Voxels of normal tissue.

    Raises
    ------
    ValueError
        When there are no voxels of normal tissue.
    """
    sample = np.flatnonzero(learnt_from)
    if not sample.size:
        raise ValueError("there is no voxel of normal tissue to measure intensities in")
    sample = sample[:: max(1, len(sample) // _MOST_VOXELS)]
    bins = _bins(channels)
    known, weights = bins[sample], np.asarray(priors[:, sample], np.float32)
    dark = (channels[:, sample] < _SURELY_FLUID).all(axis=0)
    structure = np.where(dark, FLUID[0], weights.argmax(axis=0))
    for _ in range(_ROUNDS):
        histograms = _histograms(known, structure, len(priors), len(channels))
        structure = np.where(dark, FLUID[0], _sort(weights, histograms[:, known]))
    return np.asarray(histograms[:, bins])


def _sort(priors: NDArray[np.float32], likelihoods: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the structure of each voxel (N,): fluid by intensity alone, tissue by intensity and atlas."""
    tissue = [structure for structure in Structure if structure not in FLUID]
    wet = likelihoods[FLUID[0]] > likelihoods[tissue].max(axis=0)
    score = priors * likelihoods
    return np.where(wet, FLUID[0], np.array(tissue)[score[tissue].argmax(axis=0)])


def _bins(channels: NDArray[np.floating]) -> NDArray[np.intp]:
    """Return the bin of each voxel (N,) in the joint histogram of all channels (C, N)."""
    low, high = _RANGE
    bins = np.zeros(channels.shape[1], np.intp)
    for channel in channels:
        bins *= _BINS
        bins += ((channel.astype(np.float32) - low) * (_BINS / (high - low))).clip(0, _BINS - 1).astype(np.intp)
    return bins


def _histograms(
    bins: NDArray[np.intp], structure: NDArray[np.intp], n_structures: int, n_channels: int
) -> NDArray[np.float32]:
    """Return the smoothed histogram of each structure, (S, B), from the bin and structure of voxels (N,)."""
    n_bins = _BINS**n_channels
    counts = np.bincount(structure * n_bins + bins, minlength=n_structures * n_bins).reshape(n_structures, n_bins)
    counts[list(FLUID)] = counts[list(FLUID)].sum(axis=0)
    shape = (n_structures, *(_BINS,) * n_channels)
    smooth = ndimage.gaussian_filter(
        counts.reshape(shape).astype(np.float32), (0, *(_SMOOTHING_BINS,) * n_channels), mode="nearest"
    ).reshape(n_structures, n_bins)
    return np.asarray(smooth / np.maximum(smooth.sum(axis=1, keepdims=True), 1) + _RAREST, np.float32)
