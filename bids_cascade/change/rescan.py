"""Simulates a repeated scan of an unchanged visit: moved, with new noise, and segmented again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bids_cascade.change.matching import FloatArray
from bids_cascade.change.noise import PairNoise, smooth_slightly
from bids_cascade.change.visit import FinishedVisit
from bids_cascade.config import LesionRule
from bids_cascade.imaging.channels import stack_channels
from bids_cascade.imaging.grid import Grid, grid_of, resample
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.lesions.visit import find_lesions
from bids_cascade.synthesis.fields import smooth_noise

if TYPE_CHECKING:
    from bids_cascade.cascade.ensemble import Ensemble

Segmenter = Callable[[Mapping[str, nib.Nifti1Image], nib.Nifti1Image], tuple[nib.Nifti1Image, nib.Nifti1Image]]
"""Finds lesions in scans (by sequence, in one world) and a brain mask: returns probability and mask."""

_MOST_MM, _MOST_DEG = 3.0, 3.0
"""Along and about each axis: people lie in the scanner within some millimetres and degrees of their previous
position."""
_COARSE_MM, _FIELD_MM = 10.0, 60.0
"""Distances between the knots of noise that spreads over a lesion, and of the rest of a bias field."""
_PROBE_MM = 48.0
"""Edge of the block of noise on which the effect of interpolation and smoothing is measured."""
_CUBE_VOXELS, _LEFT_IN_CUBE = 125, 0.85
"""Fraction of coarse noise that remains in the mean over a cube; of fine noise almost nothing remains."""


@dataclass(frozen=True)
class Residue:
    """The difference of two visits where nothing has changed.

    Attributes
    ----------
    noise : PairNoise
        Of FLAIR.
    sds, field_sds : dict of str to float
        By sequence, in white matter, whose level is 1: standard deviation of the difference, and of the smooth field
        that was taken from it.
    units : dict of str to float
        By sequence: a difference of 1 in the scan's own intensities.
    """

    noise: PairNoise
    sds: dict[str, float]
    field_sds: dict[str, float]
    units: dict[str, float]


def scan_again(
    visit: FinishedVisit, residue: Residue, segment: Segmenter, rng: np.random.Generator, edge_mm: float
) -> FinishedVisit:
    """Return a visit moved, with noise and a field as much as two visits differ by, and segmented again.

    Parameters
    ----------
    visit : FinishedVisit
    residue : Residue
    segment : callable
    rng : numpy.random.Generator
    edge_mm : float
        Of the voxels on which `residue` was measured, after slight smoothing.
    """
    motion = draw_motion(rng)
    brain = resample(visit.brain, grid_of(visit.brain), 0, motion)
    scans = {}
    for name, scan in visit.scans.items():
        grid = grid_of(scan)
        values = data_of(resample(scan, grid, 1, motion))
        noise = _draw_noise(grid, residue, name, rng, edge_mm) * np.float32(residue.units[name])
        noisy = np.where(values > 0, (values + noise).clip(np.float32(1e-3 * residue.units[name])), np.float32(0))
        scans[name] = nib.Nifti1Image(noisy.astype(np.float32), scan.affine)
    return FinishedVisit(scans, brain, *segment(scans, brain))


def draw_motion(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a rigid transform, (4, 4), about the origin."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-_MOST_DEG, _MOST_DEG, 3), degrees=True).as_matrix()
    motion[:3, 3] = rng.uniform(-_MOST_MM, _MOST_MM, 3)
    return motion


def segment_again(
    ensemble: Ensemble,
    rule: LesionRule,
    scans: Mapping[str, nib.Nifti1Image],
    brain: nib.Nifti1Image,
    *,
    half: bool = False,
) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """Run a model on a visit's finished scans, as the participant level does on those that it has preprocessed.

    Parameters
    ----------
    ensemble : Ensemble
    rule : LesionRule
    scans : mapping of str to nibabel.Nifti1Image
        Bias-corrected, by sequence, in one world.
    brain : nibabel.Nifti1Image
    half : bool
        Compute in half precision.

    Returns
    -------
    probability, mask : nibabel.Nifti1Image
        On the grid of the first scan.
    """
    from bids_cascade.cascade.engine import lesion_probability
    from bids_cascade.cascade.ensemble import segment_by_ensemble

    config = ensemble.config
    channels, inside, _ = stack_channels(
        scans, [None] * len(scans), brain, config.voxel_size_mm, config.sequences, config.normalisation
    )
    volumes = segment_by_ensemble(ensemble, channels, mask_of(inside), partial(lesion_probability, half=half))
    reference = next(iter(scans.values()))
    probability, mask = find_lesions(nib.Nifti1Image(volumes.final, inside.affine), grid_of(reference), np.eye(4), rule)
    return nib.Nifti1Image(probability, reference.affine), nib.Nifti1Image(mask.astype(np.uint8), reference.affine)


def _draw_noise(grid: Grid, residue: Residue, name: str, rng: np.random.Generator, edge_mm: float) -> FloatArray:
    """Return noise on a scan's grid that is as strong on smoothed voxels of `edge_mm` as it was measured there."""
    coarse = min(1.0, residue.noise.sd_of_mean(_CUBE_VOXELS) / _LEFT_IN_CUBE)
    fine_sd = np.sqrt(1 - coarse**2) * residue.sds[name] / seen_sd(grid, rng, edge_mm)
    sizes_mm = voxel_sizes(grid.affine)
    total = np.float32(fine_sd) * rng.standard_normal(grid.shape, dtype=np.float32)
    for sd, spacing_mm in ((coarse * residue.sds[name], _COARSE_MM), (residue.field_sds[name], _FIELD_MM)):
        total += np.float32(sd) * smooth_noise(rng, grid.shape, spacing_mm / sizes_mm)
    return total


def seen_sd(grid: Grid, rng: np.random.Generator, edge_mm: float) -> float:
    """Return the standard deviation that independent noise of 1 on a grid has on smoothed voxels of `edge_mm`."""
    sizes_mm = voxel_sizes(grid.affine)
    shape = np.ceil(_PROBE_MM / sizes_mm).astype(int)
    block = nib.Nifti1Image(rng.standard_normal(shape, dtype=np.float32), np.diag([*sizes_mm, 1.0]))
    n = int((_PROBE_MM - 8) / edge_mm)
    affine = np.diag([edge_mm, edge_mm, edge_mm, 1.0])
    affine[:3, 3] = 4 - edge_mm * rng.uniform(0, 1, 3)
    return float(smooth_slightly(data_of(resample(block, Grid((n, n, n), affine), 1)), edge_mm).std())
