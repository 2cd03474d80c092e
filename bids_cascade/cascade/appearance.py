"""Augmentation of training crops: contrast, bias field, noise and sharpness vary as between scanners and protocols.

Billot et al. 2023 (doi 10.1016/j.media.2023.102789) and Isensee et al. 2021 (doi 10.1038/s41592-020-01008-z) show that
networks trained on images of varied contrast, bias field, noise and resolution do better at unseen sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FloatVolume = NDArray[np.float32]
Range = tuple[float, float]


@dataclass(frozen=True)
class AppearanceConfig:
    """Ranges of the augmentation, drawn independently for each sequence of a crop.

    Attributes
    ----------
    contrast : float
        Largest factor by which differences from white matter (1) are multiplied or divided: one factor for brighter
        intensities and another for darker ones.
    field, field_wavelength : float, pair of float
        Largest amplitude of the bias field, and its wavelength in voxels of the grid.
    noise_chance, noise_sd : float
        Probability of noise, and its largest standard deviation in voxels of the grid (white matter is 1).
    blur_chance, blur_sd, slice_sd : float
        Probability of blur, and its largest standard deviation in voxels: along all axes, or, in half of the blurred
        crops, along one of them, as in thick slices.
    """

    contrast: float = 1.3
    field: float = 0.06
    field_wavelength: Range = (80.0, 250.0)
    noise_chance: float = 0.5
    noise_sd: float = 0.06
    blur_chance: float = 0.3
    blur_sd: float = 0.7
    slice_sd: float = 1.4


def vary_appearance(
    views: Sequence[FloatVolume],
    covered: Sequence[FloatVolume],
    scales: Sequence[int],
    before: int,
    rng: np.random.Generator,
    config: AppearanceConfig = AppearanceConfig(),
) -> list[FloatVolume]:
    """Return a crop's views with another contrast, bias field, noise and sharpness, consistent over the scales.

    Parameters
    ----------
    views : sequence of (C, X, Y, Z) float32 arrays
        The crop at each scale. A voxel is the mean of the grid's voxels within it, which are 0 outside the brain.
    covered : sequence of (1, X, Y, Z) float32 arrays
        The fraction of each voxel that is brain.
    scales : sequence of int
        Edge of a voxel of each view, in voxels of the grid.
    before : int
        Margin of a view before the crop, in voxels of its own scale.
    rng : Generator
    config : AppearanceConfig

    Returns
    -------
    list of (C, X, Y, Z) float32 arrays
        Still 0 outside the brain.
    """
    n_channels = len(views[0])
    varied = [np.empty_like(view) for view in views]
    for channel in range(n_channels):
        brighter, darker = np.exp(rng.uniform(-1, 1, 2) * np.log(config.contrast))
        wave = rng.normal(size=3)
        wave *= 2 * np.pi / rng.uniform(*config.field_wavelength) / np.linalg.norm(wave)
        amplitude, phase = rng.uniform(0, config.field), rng.uniform(0, 2 * np.pi)
        noise_sd = rng.uniform(0, config.noise_sd) * (rng.random() < config.noise_chance)
        blur = _draw_blur(config, rng)
        for view, part, scale, out in zip(views, covered, scales, varied, strict=True):
            volume = change_contrast(view[channel], part[0], brighter, darker)
            volume *= 1 + amplitude * np.sin(_phase(volume.shape, scale, before, wave) + phase)
            volume = blur_brain(volume, part[0], blur / scale)
            if noise_sd:
                noise = rng.standard_normal(volume.shape, np.float32)
                volume += part[0] * noise * np.float32(noise_sd / scale**1.5)
            out[channel] = volume
    return varied


def change_contrast(volume: FloatVolume, covered: FloatVolume, brighter: float, darker: float) -> FloatVolume:
    """Scale the differences of brighter and of darker voxels from white matter (1), each by a factor of its own.

    In a voxel that is only partly brain, the level of white matter is `covered`.
    """
    excess = volume - covered
    return np.asarray(covered + excess * np.where(excess > 0, np.float32(brighter), np.float32(darker)), np.float32)


def blur_brain(volume: FloatVolume, covered: FloatVolume, sd: NDArray[np.float64]) -> FloatVolume:
    """Blur along each axis by a standard deviation in voxels, without mixing in the background."""
    if (sd < 0.2).all():  # neighbours hardly mix
        return volume
    sd = np.where(sd < 0.2, 0, sd)
    weight = ndimage.gaussian_filter(covered, sd, truncate=3)
    blurred = ndimage.gaussian_filter(volume, sd, truncate=3)
    return np.asarray(np.divide(blurred * covered, weight, out=np.zeros_like(volume), where=weight > 1e-6))


def _draw_blur(config: AppearanceConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw standard deviations of the blur along the axes, in voxels of the grid; mostly 0."""
    if rng.random() >= config.blur_chance:
        return np.zeros(3)
    if rng.random() < 0.5:
        return np.full(3, rng.uniform(0, config.blur_sd))
    return np.where(np.arange(3) == rng.integers(3), rng.uniform(0, config.slice_sd), 0.0)


def _phase(shape: Sequence[int], scale: int, before: int, wave: NDArray[np.float64]) -> FloatVolume:
    """Return the phase of a plane wave at a view's voxels, relative to the crop's first voxel of the grid."""
    x, y, z = (k * ((np.arange(size) - before) * scale + (scale - 1) / 2) for k, size in zip(wave, shape, strict=True))
    return np.asarray(x[:, None, None] + y[:, None] + z, np.float32)
