"""A head's T1w and FLAIR signal before acquisition: tissues, lesions, and structures that resemble lesions."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from bids_cascade.synthesis.anatomy import (
    CORTICAL,
    DEEP_GREY,
    FLUID,
    PARENCHYMA,
    Anatomy,
    Tissue,
    box_around,
    is_any,
    ventricle_wall,
)
from bids_cascade.synthesis.config import MimicConfig, Signals, SynthesisConfig, TextureConfig
from bids_cascade.synthesis.fields import FloatArray, smooth_noise
from bids_cascade.synthesis.lesions import PaintedLesions

_LOWEST = 0.02
"""Lowest signal in the head."""


@dataclass(frozen=True, eq=False)
class Painting:
    """Signals relative to white matter on the grid of an anatomy, each (X, Y, Z) float32."""

    t1w: FloatArray
    flair: FloatArray


def paint_head(
    anatomy: Anatomy, lesions: PaintedLesions, config: SynthesisConfig, rng: np.random.Generator
) -> Painting:
    """Draw the contrasts of a head and paint it.

    Parameters
    ----------
    anatomy : Anatomy
    lesions : PaintedLesions
        In the brain's box.
    config : SynthesisConfig
    rng : numpy.random.Generator
    """
    t1w = _draw_table(config.t1w, config.texture, rng)[anatomy.tissue]
    flair = _draw_table(config.flair, config.texture, rng)[anatomy.tissue]
    for volume in (t1w, flair):
        _texture_outside(anatomy, volume, config.texture, rng)
    t1w_brain, flair_brain = t1w[anatomy.box], flair[anatomy.box]
    _texture(anatomy, t1w_brain, flair_brain, config.texture, rng)
    _mimics(anatomy, t1w_brain, flair_brain, config.mimics, rng)
    if lesions.enhanced:
        enhanced = is_any(anatomy.brain_tissue, (Tissue.CHOROID_PLEXUS, Tissue.SINUS, Tissue.VESSEL))
        t1w_brain += rng.uniform(*config.mimics.enhanced_gain) * enhanced
    flair_brain += lesions.flair_gain
    t1w_brain -= lesions.t1w_drop
    return Painting(np.maximum(t1w, _LOWEST, out=t1w), np.maximum(flair, _LOWEST, out=flair))


def _draw_table(signals: Signals, texture: TextureConfig, rng: np.random.Generator) -> FloatArray:
    """Draw a sequence's signal of each tissue, as a lookup table."""
    contrast = rng.random()
    table = np.zeros(256, np.float32)
    for name, (low, high) in asdict(signals).items():
        place = texture.contrast_fraction * contrast + (1 - texture.contrast_fraction) * rng.random()
        table[Tissue[name.upper()]] = low + place * (high - low)
    return table


def _texture_outside(anatomy: Anatomy, volume: FloatArray, config: TextureConfig, rng: np.random.Generator) -> None:
    """Add texture outside the brain, in place."""
    outside = anatomy.tissue >= Tissue.EYE
    uneven = smooth_noise(rng, volume.shape, config.outside_spacing_mm)
    volume[outside] *= np.maximum(0.2, 1 + rng.uniform(*config.outside_sd) * uneven[outside])


def _texture(
    anatomy: Anatomy, t1w: FloatArray, flair: FloatArray, config: TextureConfig, rng: np.random.Generator
) -> None:
    """Add texture to the brain, in place."""
    tissue, shape = anatomy.brain_tissue, t1w.shape
    brain = is_any(tissue, PARENCHYMA)
    for volume, regional_sd, fine_sd in (
        (t1w, config.t1w_regional_sd, config.t1w_fine_sd),
        (flair, config.flair_regional_sd, config.flair_fine_sd),
    ):
        uneven = rng.uniform(*regional_sd) * smooth_noise(rng, shape, config.regional_spacing_mm)
        uneven += rng.uniform(*fine_sd) * smooth_noise(rng, shape, config.fine_spacing_mm)
        volume += uneven * brain
    _folia(anatomy, t1w, flair, config, rng)
    uneven = smooth_noise(rng, shape, config.csf_spacing_mm)
    flair += rng.uniform(*config.cortex_sd) * uneven * is_any(tissue, CORTICAL)
    nuclei, uneven = is_any(tissue, DEEP_GREY), smooth_noise(rng, shape, config.deep_grey_spacing_mm)
    for volume in (t1w, flair):
        volume += rng.uniform(*config.deep_grey_sd) * uneven * nuclei
    flair += rng.uniform(*config.csf_sd) * np.maximum(0, -uneven) * is_any(tissue, FLUID)


def _folia(
    anatomy: Anatomy, t1w: FloatArray, flair: FloatArray, config: TextureConfig, rng: np.random.Generator
) -> None:
    """Paint the folia as stripes from left to right across the cerebellum, in place."""
    cerebellum = is_any(anatomy.brain_tissue, (Tissue.CEREBELLAR_WHITE, Tissue.CEREBELLAR_CORTEX))
    if not cerebellum.any():
        return
    box = box_around(cerebellum, 0)
    inside = cerebellum[box]
    _, y, z = np.ogrid[tuple(slice(n) for n in inside.shape)]
    angle = rng.uniform(0, np.pi)
    along = (y * np.cos(angle) + z * np.sin(angle)).astype(np.float32)
    bent = along + 3 * smooth_noise(rng, inside.shape, 12)
    stripes = np.sin(2 * np.pi / rng.uniform(*config.folia_period_mm) * bent) * inside
    t1w[box] += rng.uniform(*config.folia_gain) * stripes
    flair[box] -= rng.uniform(*config.folia_gain) * stripes


def _mimics(
    anatomy: Anatomy, t1w: FloatArray, flair: FloatArray, config: MimicConfig, rng: np.random.Generator
) -> None:
    """Paint the bright structures that radiologists don't count as lesions, in place."""
    tissue = anatomy.brain_tissue
    if rng.random() < config.lining_fraction:
        flair += _lining(anatomy, config, rng)
    if rng.random() > config.septum_fraction:
        septum = tissue == Tissue.SEPTUM
        flair[septum] = 1 + 0.3 * (flair[septum] - 1)
    flair[tissue == Tissue.INSULA] += rng.uniform(*config.insula_gain)
    uneven = smooth_noise(rng, tissue.shape, config.limbic_spacing_mm)
    flair += rng.uniform(*config.limbic_gain) * anatomy.limbic * np.clip(0.7 + 0.5 * uneven, 0, 1.5)
    if rng.random() < config.tract_fraction:
        flair += rng.uniform(*config.tract_gain) * anatomy.tract.astype(np.float32)
    if rng.random() < config.stem_fraction:
        flair += _stem(anatomy, config, rng)
    uneven = smooth_noise(rng, tissue.shape, 4)
    flair += config.choroid_spread * uneven * (tissue == Tissue.CHOROID_PLEXUS)
    if rng.random() < config.flow_fraction:
        flair += _flow(anatomy, config, rng)
    if rng.random() < config.vessel_fraction:
        vessels = _vessels(anatomy, config, rng)
        flair += rng.uniform(*config.vessel_flair_gain) * vessels
        t1w += rng.uniform(*config.vessel_t1w_gain) * vessels
    if rng.random() < config.dirty_fraction:
        flair += _dirty_white(anatomy, config, rng)


def _lining(anatomy: Anatomy, config: MimicConfig, rng: np.random.Generator) -> FloatArray:
    """Return the FLAIR gain of the lateral ventricles' lining: thin, patchy, thicker at the horns."""
    box, near_mm, horn = ventricle_wall(anatomy)
    white = is_any(anatomy.brain_tissue[box], (Tissue.WHITE, Tissue.CAUDATE))
    patchy = np.clip(0.7 + 0.5 * smooth_noise(rng, near_mm.shape, 14), 0, 1.3)
    width_mm = (rng.uniform(*config.lining_mm) + rng.uniform(*config.cap_mm) * horn) * patchy
    gain = np.zeros(anatomy.brain_tissue.shape, np.float32)
    gain[box] = rng.uniform(*config.lining_gain) * np.clip(width_mm + 1 - near_mm, 0, 1) * white
    return gain


def _flow(anatomy: Anatomy, config: MimicConfig, rng: np.random.Generator) -> FloatArray:
    """Return the FLAIR gain of fluid that moves, and of its streaks along the phase direction."""
    blobs = np.clip(smooth_noise(rng, anatomy.flow.shape, config.flow_spacing_mm) - 0.5, 0, 1) * anatomy.flow
    gain = (rng.uniform(*config.flow_gain) * blobs).astype(np.float32)
    if rng.random() < config.flow_smear_fraction:
        axis = int(rng.integers(2))
        smeared = ndimage.uniform_filter1d(blobs, int(config.flow_smear_mm), axis=axis, output=np.float32)
        brain = is_any(anatomy.brain_tissue, PARENCHYMA)
        gain += rng.uniform(*config.flow_smear_gain) * smeared / max(float(smeared.max()), 1e-6) * brain
    return gain


def _stem(anatomy: Anatomy, config: MimicConfig, rng: np.random.Generator) -> FloatArray:
    """Return the FLAIR gain of midbrain and pons, alike on both sides."""
    gain = np.zeros(anatomy.stem.shape, np.float32)
    known = np.isfinite(anatomy.stem)
    if not known.any():
        return gain
    box = box_around(known, 0)
    blobs = smooth_noise(rng, anatomy.stem[box].shape, config.stem_spacing_mm)
    blobs = (blobs + blobs[::-1]) / np.sqrt(2)
    fading = np.exp(-anatomy.stem[box].astype(np.float32) / config.stem_reach_mm)
    gain[box] = rng.uniform(*config.stem_gain) * np.clip(0.3 + blobs, 0, 1.5) * fading
    return gain


def _vessels(anatomy: Anatomy, config: MimicConfig, rng: np.random.Generator) -> FloatArray:
    """Return the fraction of vessel in each voxel: tubes around the curves on which two smooth fields are both zero."""
    tissue, spacing = anatomy.brain_tissue, config.vessel_spacing_mm
    first, second = (smooth_noise(rng, tissue.shape, spacing) for _ in range(2))
    # A field of this spacing changes by about 2.2 standard deviations over it.
    from_curve_mm = np.hypot(first, second) * (spacing / 2.2)
    tube = np.clip(rng.uniform(*config.vessel_radius_mm) + 0.5 - from_curve_mm, 0, 1)
    held = is_any(tissue, (Tissue.SULCAL_CSF, Tissue.VESSEL, Tissue.CORTEX, Tissue.INSULA, Tissue.WHITE))
    in_white = np.where(tissue == Tissue.WHITE, np.float32(0.5), np.float32(1))
    return np.asarray(tube * held * in_white, np.float32)


def _dirty_white(anatomy: Anatomy, config: MimicConfig, rng: np.random.Generator) -> FloatArray:
    """Return the FLAIR gain of dirty white matter: broad and faint, mostly near the ventricles."""
    tissue = anatomy.brain_tissue
    cloud = np.clip(0.6 + 0.6 * smooth_noise(rng, tissue.shape, config.dirty_spacing_mm), 0, 1)
    fading = np.exp(-anatomy.from_ventricle_mm.astype(np.float32) / config.dirty_reach_mm)
    return np.asarray(rng.uniform(*config.dirty_gain) * cloud * fading * (tissue == Tissue.WHITE), np.float32)
