"""The simplest baseline: all voxels brighter than a threshold on FLAIR are lesion.

Preprocessing, smallest lesion, cavities and the interpolation to the scans' grids are those of the cascade; only the
two networks are replaced by one number, chosen on the cascade's training participants.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.config import CascadeConfig, LesionRule, needed_sequences
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.files import write_json
from bids_cascade.derivatives.names import bids_uri, derivative_path, sidecar_path
from bids_cascade.evaluation.threshold import best_threshold, dice_by_threshold
from bids_cascade.imaging.grid import grid_of, resample
from bids_cascade.imaging.images import data_of, load_image, save_image
from bids_cascade.imaging.registration import read_itk_transform
from bids_cascade.lesions.rule import mask_above
from bids_cascade.training.prepare import Prepared

_LOGGER = logging.getLogger(__name__)

THRESHOLDS = tuple(round(1 + 0.03 * step, 2) for step in range(4, 71))
"""Candidate levels; white matter is 1."""

_DEFAULT = 1.6


def choose_flair_threshold(curves: Mapping[str, NDArray[np.float64]], training: Sequence[Prepared]) -> float:
    """Return the level with the highest mean Dice over the visits of the training part that have a lesion.

    Parameters
    ----------
    curves : mapping of str to (T,) array
        By name of the visit, see :func:`flair_curve`.
    training : sequence of Prepared
    """
    with_lesion = [visit for visit in training if visit.data.lesion.any()]
    return best_threshold(THRESHOLDS, [curves[visit.name] for visit in with_lesion], _DEFAULT)


def flair_curve(visit: Prepared, config: CascadeConfig) -> NDArray[np.float64]:
    """Return the Dice that each of :data:`THRESHOLDS` gives a visit on the model's grid, as (T,)."""
    return dice_by_threshold(
        _flair(visit, config), visit.data.lesion, THRESHOLDS, _rule(config), config.voxel_volume_mm3
    )


def write_flair_masks(
    prepared: Prepared, threshold: float, config: CascadeConfig, bids_dir: Path, cascade_dir: Path, out_dir: Path
) -> None:
    """Write a visit's masks of bright FLAIR on the grids of its FLAIR and, if there is one, T1w image.

    Parameters
    ----------
    prepared : Prepared
    threshold : float
        Level from which a voxel is lesion; white matter is 1.
    config : CascadeConfig
    bids_dir : Path
        Root of the raw dataset.
    cascade_dir, out_dir : Path
        Roots of the derivatives: that of the cascade, whose registrations are reused, and that of the masks.
    """
    visit = prepared.visit
    first, *_ = needed_sequences(config.sequences, visit.absent)
    bright = nib.Nifti1Image(_flair(prepared, config), prepared.affine)
    for space in dict.fromkeys((first, config.candidate_sequence)):
        raw = visit.images[space].path
        grid = grid_of(load_image(raw))
        moved = data_of(resample(bright, grid, 1, _to_first(visit, space, first, cascade_dir)))
        mask = mask_above(threshold, moved, _rule(config), grid.voxel_volume_mm3)
        path = derivative_path(out_dir, visit, "mask", ".nii.gz", space=space, label="L")
        sidecar = {
            "Description": f"{config.candidate_sequence} at least as bright as a threshold, inside the brain",
            "Type": "Lesion",
            "Sources": [bids_uri(visit.images[config.candidate_sequence].path, bids_dir)],
            "SpatialReference": bids_uri(raw, bids_dir),
            "Threshold": threshold,
            "ThresholdUnits": "level at which normal-appearing white matter is 1",
            "MinLesionVolume": config.min_lesion_volume_mm3,
            "MinLesionVolumeUnits": "mm^3",
        }
        write_json(sidecar, sidecar_path(path))
        save_image(mask, grid.affine, path, np.uint8)


def _rule(config: CascadeConfig) -> LesionRule:
    """Return the cascade's rule without its peak, which is a probability."""
    return replace(config.rule, peak_probability=0.0)


def _flair(visit: Prepared, config: CascadeConfig) -> NDArray[np.float32]:
    """Return the levels of FLAIR on the model's grid, (X, Y, Z); 0 outside the brain."""
    return np.asarray(visit.data.channels[config.sequences.index(config.candidate_sequence)], np.float32)


def _to_first(visit: Visit, space: str, first: str, cascade_dir: Path) -> NDArray[np.float64] | None:
    """Read the transform from an image's world to the first image's from the cascade's outputs."""
    if space == first:
        return None
    path = derivative_path(cascade_dir, visit, "xfm", ".txt", from_=space, to=first, mode="image")
    return np.asarray(np.linalg.inv(read_itk_transform(path)), np.float64)
