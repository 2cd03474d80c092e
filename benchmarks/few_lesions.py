"""Real scans with few lesions or none: labelled scans whose large lesions, or all, are replaced by white matter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.filling import fill_lesions
from bids_cascade.anatomy.structures import Structure
from bids_cascade.cascade.normalisation import normalise
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.lesions.components import TOUCHING, remove_small_lesions
from bids_cascade.synthesis.head import SEQUENCES

LARGEST_KEPT_MM3 = 250.0
"""Lesions below it are kept: 0.5 to 2 ml of each patient at hand, a load that no scan at hand has by itself."""

_MARGIN = 2
"""Voxels around a lesion that are replaced, too, beside the white matter that filling takes: edges are blurred."""

_WHITE = (0.87, 1.13)
"""Normalised intensities of white matter, in each sequence."""

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
    """Return normalised channels (C, X, Y, Z), voxels of 1 mm, with white matter in place of lesions and a margin."""
    replaced = ndimage.binary_dilation(lesion, TOUCHING, _MARGIN)
    white = brain & np.all((channels > _WHITE[0]) & (channels < _WHITE[1]), axis=0)
    structures = np.where(white, Structure.WHITE_MATTER + 1, 0).astype(np.uint8)
    return np.stack([fill_lesions(channel, replaced, structures, (1.0, 1.0, 1.0))[0] for channel in channels])
