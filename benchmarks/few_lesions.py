"""Real scans with few lesions or none: labelled scans whose large lesions, or all, are replaced by white matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.cascade.normalisation import normalise
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.lesions.components import TOUCHING, remove_small_lesions
from bids_cascade.synthesis.head import SEQUENCES

LARGEST_KEPT_MM3 = 250.0
"""Lesions below it are kept: 0.5 to 2 ml of each patient at hand, a load that no scan at hand has by itself."""

_MARGIN = 2
"""Voxels around a lesion that are replaced, too: raters draw inside the blurred edge."""

_WHITE = (0.87, 1.13)
"""Normalised intensities of white matter, in each sequence."""

_REACH = 4.0
"""Standard deviation in voxels of the weights by which white matter in the neighbourhood is averaged."""

_NOISE_SMOOTHNESS = 0.7
"""Standard deviation in voxels of the Gaussian that makes noise as smooth as that of scans interpolated to 1 mm."""

Volume = NDArray[np.float32]
BoolVolume = NDArray[np.bool_]


def fewer_lesions(visit: LabelledVisit) -> Iterator[tuple[str, LabelledVisit]]:
    """Yield a visit of voxels of 1 mm with its small lesions alone, and without any, each with a name of its kind."""
    channels = np.asarray(visit.channels, np.float32)
    small = visit.lesion & ~remove_small_lesions(visit.lesion, 1.0, LARGEST_KEPT_MM3)
    for kind, kept in (("few lesions", small), ("no lesion", np.zeros_like(small))):
        filled = fill_with_white_matter(channels, visit.brain, visit.lesion & ~kept)
        edge = ndimage.binary_dilation(kept, TOUCHING)
        filled[:, edge] = channels[:, edge]
        yield kind, replace(visit, channels=normalise(filled, visit.brain, SEQUENCES), lesion=kept)


def fill_with_white_matter(channels: Volume, brain: BoolVolume, lesion: BoolVolume) -> Volume:
    """Return normalised channels (C, X, Y, Z) whose lesions, and a margin, look like the white matter around them."""
    replaced = ndimage.binary_dilation(lesion, TOUCHING, _MARGIN)
    white = brain & ~replaced & np.all((channels > _WHITE[0]) & (channels < _WHITE[1]), axis=0)
    weights = ndimage.gaussian_filter(white.astype(np.float32), _REACH)
    inside, rng = ndimage.binary_erosion(white, TOUCHING), np.random.default_rng(0)
    filled = channels.copy()
    for number, channel in enumerate(channels):
        total = ndimage.gaussian_filter(channel * white, _REACH)
        level = np.divide(total, weights, out=np.ones_like(total), where=weights > 1e-3)
        noise = ndimage.gaussian_filter(rng.standard_normal(channel.shape, np.float32), _NOISE_SMOOTHNESS)
        noise *= 1.4826 * np.median(np.abs(channel - level)[inside]) / noise.std()
        filled[number][replaced] = (level + noise)[replaced]
    return filled
