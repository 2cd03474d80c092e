"""How often a voxel of the template is lesion over a cohort, in one pass over the visits' masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.anatomy.template import BUILT_IN, template_image
from bids_cascade.derivatives.names import derivative_path
from bids_cascade.errors import BadDataError
from bids_cascade.imaging.grid import grid_of
from bids_cascade.imaging.images import load_mask, mask_of
from bids_cascade.visit_key import VisitKey


@dataclass(frozen=True, eq=False)
class LesionFrequency:
    """The lesion frequency map of a cohort.

    Attributes
    ----------
    fraction : (X, Y, Z) float32 array
        Fraction of the participants with lesion in each voxel of the template.
    n_participants : int
        Each has the same weight, which its visits share.
    n_visits : int
    """

    fraction: NDArray[np.float32]
    n_participants: int
    n_visits: int


def template_masks(out_dir: Path, keys: Iterable[VisitKey]) -> dict[str, list[Path]]:
    """Return the lesion masks in the template's space, by participant."""
    masks: dict[str, list[Path]] = {}
    for key in keys:
        path = derivative_path(out_dir, key, "mask", ".nii.gz", space=BUILT_IN, label="L")
        if path.is_file():
            masks.setdefault(key.participant, []).append(path)
    return masks


def lesion_frequency(masks: Iterable[Sequence[Path]]) -> LesionFrequency | None:
    """Average masks over participants, with two images in memory at a time.

    Parameters
    ----------
    masks : iterable of sequence of Path
        Of each participant, one a visit at least.

    Returns
    -------
    LesionFrequency or None
        None without any participant.

    Raises
    ------
    BadDataError, ReadWriteError
        A mask can't be read, or is not on the template's grid.
    """
    grid = grid_of(template_image())
    total = np.zeros(grid.shape, np.float64)
    n_participants = n_visits = 0
    for paths in masks:
        for path in paths:
            total[_mask(path, grid.shape)] += 1 / len(paths)
        n_participants += 1
        n_visits += len(paths)
    if not n_participants:
        return None
    return LesionFrequency((total / n_participants).astype(np.float32), n_participants, n_visits)


def _mask(path: Path, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    image: nib.Nifti1Image = load_mask(path)
    if image.shape != shape:
        raise BadDataError(f"{path} has {image.shape} voxels; expected {shape}: run the participant level again")
    return mask_of(image)
