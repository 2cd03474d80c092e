"""The noise floor of a pair: what the method calls between the earlier visit and a copy of it, scanned again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bids_cascade.change.detection import Lesions
from bids_cascade.change.tracking import KINDS, TrackedLesion

N_COPIES = 1
"""A copy takes as long as the pair itself, and one copy tells little about rare false calls; synthetic pairs measure
them."""
_FEWEST_LESIONS = 5


@dataclass(frozen=True)
class Copy:
    """The findings between a visit and a copy of it.

    Attributes
    ----------
    kinds : tuple of str
        Of the lesions.
    called_mm3 : float
        Called change of the total lesion volume.
    masks_mm3 : float
        Difference of the masks' volumes.
    growths : tuple of float
        Called change of volume of each lesion of both, as a fraction of its mean volume to the power of 2/3.
    """

    kinds: tuple[str, ...]
    called_mm3: float
    masks_mm3: float
    growths: tuple[float, ...]


@dataclass(frozen=True)
class NoiseFloor:
    """The calls where nothing has changed.

    Attributes
    ----------
    n_copies : int
    calls : dict of str to float
        Mean number of lesions called new, enlarging, shrinking and resolved, a copy.
    false_ml : float
        Mean absolute called change of the total lesion volume, a copy.
    volume_sd_ml : float
        Standard deviation of the masks' total lesion volume, between visit and copy.
    growth_sd : float or None
        Of a lesion's volume as it is called, in mm^3 at 1 mm^3; it grows with the volume to the power of 2/3, as
        surfaces do. None where there are too few lesions to say so.
    """

    n_copies: int
    calls: dict[str, float]
    false_ml: float
    volume_sd_ml: float
    growth_sd: float | None


def judge_copy(earlier: Lesions, copy: Lesions, lesions: Sequence[TrackedLesion], voxel_mm3: float) -> Copy:
    """Return the findings between a visit and its copy.

    Parameters
    ----------
    earlier, copy : Lesions
    lesions : sequence of TrackedLesion
        From one to the other.
    voxel_mm3 : float
    """
    both = [lesion for lesion in lesions if lesion.before_mm3 and lesion.after_mm3]
    return Copy(
        kinds=tuple(lesion.kind for lesion in lesions),
        called_mm3=sum(lesion.change_mm3 for lesion in lesions),
        masks_mm3=voxel_mm3 * float(copy.mask.sum() - earlier.mask.sum()),
        growths=tuple(lesion.change_mm3 / ((lesion.before_mm3 + lesion.after_mm3) / 2) ** (2 / 3) for lesion in both),
    )


def floor_of(copies: Sequence[Copy]) -> NoiseFloor:
    """Sum up at least one copy."""
    growths = np.array([growth for copy in copies for growth in copy.growths])
    return NoiseFloor(
        n_copies=len(copies),
        calls={
            kind: sum(copy.kinds.count(kind) for copy in copies) / len(copies) for kind in KINDS if kind != "stable"
        },
        false_ml=float(np.mean([abs(copy.called_mm3) for copy in copies])) / 1000,
        volume_sd_ml=float(np.sqrt(np.mean([copy.masks_mm3**2 for copy in copies]))) / 1000,
        growth_sd=float(np.sqrt(np.mean(growths**2))) if growths.size >= _FEWEST_LESIONS else None,
    )
