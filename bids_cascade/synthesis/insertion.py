"""Inserts lesions into real scans: texture, cortex and artefacts are real, and the lesions' outlines are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.synthesis.config import Range
from bids_cascade.synthesis.fields import FloatArray, smooth_noise
from bids_cascade.synthesis.lesions import Patient, draw_turn, gain_by_size, lay_shape

_EVEN_T1W, _EVEN_FLAIR = 0.25, 0.3
"""Largest deviation of white matter from its level, 1, at the place of an inserted lesion."""


@dataclass(frozen=True)
class InsertionConfig:
    """The inserted lesions. Intensities are normalised: white matter is 1, fluid about 0."""

    n: Range = (4.0, 60.0)  # drawn by its logarithm
    volume_mm3: Range = (3.0, 1500.0)
    scale: Range = (0.4, 1.1)  # of each lesion along each axis
    from_edge_mm: float = 4.0  # of the brain mask
    from_lesion_mm: float = 3.0  # those that the scan has
    flair_gain: Range = (0.5, 0.9)  # mean of a scan's large lesions; medians of real 1 mm scans are .53 to .89
    flair_gain_sd: float = 0.10
    flair_gain_smallest: float = 0.2
    small_gain: float = 0.6  # see LesionSignalConfig
    small_mm3: Range = (15.0, 400.0)
    texture: Range = (0.05, 0.2)  # sd within a lesion, relative to its gain
    texture_spacing_mm: float = 3.0
    t1w_drop: Range = (0.0, 0.35)
    edge_mm: Range = (0.8, 2.0)
    psf_mm: float = 0.6  # sd of the point spread within slices
    slice_fill: float = 0.35  # sd of the point spread across slices, in slices
    drawn_fraction: float = 0.45  # of lesion in a voxel from which it is labelled
    least_peak: float = 0.6  # of that fraction; a lesion too small for the scan's point spread is left out


def insert_lesions(
    channels: NDArray[np.floating],
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    pool: Patient,
    slice_mm: float,
    rng: np.random.Generator,
    config: InsertionConfig | None = None,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Insert single lesions into the white matter of a scan.

    Parameters
    ----------
    channels : (2, X, Y, Z) array
        Normalised T1w and FLAIR, 1 mm RAS; not changed.
    brain, lesion : (X, Y, Z) bool arrays
        The scan's own lesions, which are not changed.
    pool : Patient
        Shapes to draw from.
    slice_mm : float
        Distance of the FLAIR's slices, across which lesions are blurred; taken to be axial.
    rng : numpy.random.Generator
    config : InsertionConfig, optional

    Returns
    -------
    channels : (2, X, Y, Z) float32 array
    lesion : (X, Y, Z) bool array
        The scan's own lesions and the inserted ones.
    """
    config = config or InsertionConfig()
    t1w, flair = np.array(channels, np.float32)
    fraction, gain, drop = (np.zeros(brain.shape, np.float32) for _ in range(3))
    spread = (config.psf_mm, config.psf_mm, max(config.psf_mm, config.slice_fill * slice_mm if slice_mm > 2 else 0.0))
    places = np.flatnonzero(_white_matter(t1w, flair, brain, lesion, config))
    shapes = [shape for shape in pool.shapes if config.volume_mm3[0] <= shape.volume_mm3 <= config.volume_mm3[1]]
    if not len(places) or not shapes:
        return np.stack([t1w, flair]), lesion.copy()
    mean_gain, mean_drop = rng.uniform(*config.flair_gain), rng.uniform(*config.t1w_drop)
    low, high = np.log(config.n)
    for _ in range(round(float(np.exp(rng.uniform(low, high))))):
        shape = shapes[rng.integers(len(shapes))]
        stretch = np.diag([*rng.uniform(*config.scale, 2), rng.uniform(*config.scale) * max(1.0, slice_mm / 3)])
        linear = stretch @ draw_turn(rng) @ pool.axes
        centre = np.array(np.unravel_index(rng.choice(places), brain.shape), np.float64)
        laid = lay_shape(shape, linear, centre, brain.shape)
        if laid is None:
            continue
        box, depth, volume_mm3 = laid
        own = np.clip(0.5 + depth / rng.uniform(*config.edge_mm), 0, 1).astype(np.float32)
        own = ndimage.gaussian_filter(own, spread, mode="constant")
        relative = gain_by_size(volume_mm3, config.small_mm3, config.small_gain)
        own_gain = max(config.flair_gain_smallest, relative * rng.normal(mean_gain, config.flair_gain_sd))
        own_drop = mean_drop * rng.uniform(0.3, 1.7)
        if own.max() < config.least_peak:
            continue
        for target, value in ((gain, own_gain), (drop, own_drop)):
            target[box] = np.maximum(target[box], own * np.float32(value))
        fraction[box] = np.maximum(fraction[box], own)
    uneven = 1 + rng.uniform(*config.texture) * smooth_noise(rng, brain.shape, config.texture_spacing_mm)
    free = brain & ~lesion
    flair += gain * uneven * free
    t1w -= drop * free
    return np.stack([t1w, flair]), lesion | (free & (fraction >= config.drawn_fraction))


def _white_matter(
    t1w: FloatArray, flair: FloatArray, brain: NDArray[np.bool_], lesion: NDArray[np.bool_], config: InsertionConfig
) -> NDArray[np.bool_]:
    """Return where a lesion may have its centre."""
    white = (np.abs(t1w - 1) < _EVEN_T1W) & (np.abs(flair - 1) < _EVEN_FLAIR)
    white &= ndimage.distance_transform_edt(brain) > config.from_edge_mm
    if lesion.any():
        white &= ndimage.distance_transform_edt(~lesion) > config.from_lesion_mm
    return np.asarray(white)


def single_lesions(patients: Sequence[Patient]) -> Patient | None:
    """Return the first collection of single lesions; None if there is none."""
    return next((patient for patient in patients if patient.single), None)
