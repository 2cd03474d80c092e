"""Synthetic heads: as arrays on the model's grid for training, or as scans of whole heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.config import SYNTHETIC_SEQUENCES
from bids_cascade.synthesis.anatomy import MARGIN_MM, Anatomy
from bids_cascade.synthesis.config import LesionConfig, SynthesisConfig
from bids_cascade.synthesis.fields import FloatArray
from bids_cascade.synthesis.lesions import PaintedLesions, Patient, paint_lesions
from bids_cascade.synthesis.paint import Painting, paint_head
from bids_cascade.synthesis.scanner import Protocol, Scanner, draw_protocols
from bids_cascade.synthesis.warp import (
    Warp,
    brain_bounds_mm,
    draw_misregistration,
    draw_motion,
    draw_warp,
    head_bounds_mm,
)

SEQUENCES = SYNTHETIC_SEQUENCES
"""BIDS suffixes of the sequences, in the order of the channels."""

_OUTSIDE_MM = -20.0
"""Depth below the brain's surface of all that lies outside the brain's box."""


@dataclass(frozen=True, eq=False)
class TrainingHead:
    """A head as preprocessing would leave it: registered, bias-corrected, on a 1 mm RAS grid around the brain.

    Attributes
    ----------
    channels : (2, X, Y, Z) float32 array
        T1w and FLAIR, not normalised; about 1 in white matter. The surroundings of the brain are kept.
    brain, lesion : (X, Y, Z) bool arrays
    lesion_fraction : (X, Y, Z) float32 array
        Fraction of lesion in each voxel, averaged by the FLAIR's voxels; `lesion` is where raters would draw it.
    tissue : (X, Y, Z) uint8 array
        :class:`~bids_cascade.synthesis.anatomy.Tissue`, lesions or not.
    affine : (4, 4) array
        Voxel to RAS+ mm.
    about : dict
        Label map, patients whose lesions it has, protocols.
    """

    channels: FloatArray
    brain: NDArray[np.bool_]
    lesion: NDArray[np.bool_]
    lesion_fraction: FloatArray
    tissue: NDArray[np.uint8]
    affine: NDArray[np.float64]
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scan:
    """One sequence of a whole head, and its ground truth, on the scan's own grid.

    Attributes
    ----------
    signal : (X, Y, Z) float32 array
        About 1 in white matter.
    lesion, brain : (X, Y, Z) bool arrays
    affine : (4, 4) array
        Voxel to RAS+ mm.
    protocol : Protocol
    white_level : float
        By which a scanner might multiply `signal`.
    """

    signal: FloatArray
    lesion: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    affine: NDArray[np.float64]
    protocol: Protocol
    white_level: float


@dataclass(frozen=True, eq=False)
class SyntheticVisit:
    """The raw scans of a visit.

    Attributes
    ----------
    scans : dict
        By sequence; the head moves between them.
    motion : (4, 4) array
        Maps points of the T1w's world to the FLAIR's, mm.
    about : dict
        Label map, patients whose lesions it has.
    """

    scans: dict[str, Scan]
    motion: NDArray[np.float64]
    about: dict[str, Any] = field(default_factory=dict)


def make_training_head(
    anatomy: Anatomy, patients: Sequence[Patient], seed: int | Sequence[int], config: SynthesisConfig | None = None
) -> TrainingHead:
    """Make a head for training, which needs no preprocessing; equal arguments give equal arrays.

    Parameters
    ----------
    anatomy : Anatomy
    patients : sequence of Patient
        At least one, from whose lesions to draw.
    seed : int or sequence of int
    config : SynthesisConfig, optional

    Raises
    ------
    ValueError
        When there is no patient, or the label map lacks structures.
    """
    config = config or SynthesisConfig()
    rng = np.random.default_rng(seed)
    painting, lesions, warp = _paint(anatomy, patients, config, rng)
    bounds = brain_bounds_mm(anatomy, warp)
    shape, affine = _grid(bounds[0] - MARGIN_MM, bounds[1] + MARGIN_MM)
    voxels = warp.voxels_at(shape, affine)
    moved = warp.voxels_at(shape, draw_misregistration(config.warp, rng) @ affine)
    protocols = draw_protocols(config.acquisition, True, rng)
    t1w, flair = (Scanner(protocol, shape) for protocol in protocols)
    channels = [t1w.back(t1w.acquire(_sample(painting.t1w, voxels), rng))]
    signal = _sample(painting.flair, moved)
    channels.append(flair.back(flair.acquire(signal, rng)))
    fraction = flair.back(flair.blur(_in_box(anatomy, lesions.fraction, moved)))
    return TrainingHead(
        channels=np.stack(channels),
        brain=_brain(anatomy, voxels, rng.uniform(*config.acquisition.brain_margin_mm)),
        lesion=_drawn(fraction, flair.back(flair.blur(signal)), config.lesions, protocols[1].sliced),
        lesion_fraction=fraction,
        tissue=_sample(anatomy.tissue, voxels, order=0),
        affine=affine,
        about=_about(anatomy, lesions) | dict(zip(SEQUENCES, protocols, strict=True)),
    )


def make_visit(
    anatomy: Anatomy, patients: Sequence[Patient], seed: int | Sequence[int], config: SynthesisConfig | None = None
) -> SyntheticVisit:
    """Make the raw scans of a visit: whole heads with skull and scalp; equal arguments give equal scans.

    Parameters and errors are those of :func:`make_training_head`.
    """
    config = config or SynthesisConfig()
    rng = np.random.default_rng(seed)
    painting, lesions, warp = _paint(anatomy, patients, config, rng)
    protocols = draw_protocols(config.acquisition, False, rng)
    motion = draw_motion(config.warp, rng)
    brain, head = brain_bounds_mm(anatomy, warp), head_bounds_mm(anatomy, warp)
    scans = {}
    for sequence, protocol, signal, pose in zip(
        SEQUENCES, protocols, (painting.t1w, painting.flair), (np.eye(4), np.linalg.inv(motion)), strict=True
    ):
        shape, affine = _grid(*_field_of_view(brain, head, protocol, rng))
        voxels = warp.voxels_at(shape, pose @ affine)
        scanner = Scanner(protocol, shape)
        fraction, seen = scanner.blur(_in_box(anatomy, lesions.fraction, voxels)), _sample(signal, voxels)
        flair = seen if sequence == "FLAIR" else _sample(painting.flair, voxels)
        scans[sequence] = Scan(
            signal=scanner.acquire(seen, rng),
            lesion=_drawn(fraction, scanner.blur(flair), config.lesions, protocol.sliced),
            brain=scanner.blur(_brain(anatomy, voxels).astype(np.float32)) >= 0.5,
            affine=scanner.affine(affine),
            protocol=protocol,
            white_level=float(rng.uniform(*config.acquisition.white_level)),
        )
    return SyntheticVisit(scans, motion, _about(anatomy, lesions))


def _drawn(fraction: FloatArray, flair: FloatArray, config: LesionConfig, sliced: bool) -> NDArray[np.bool_]:
    """Return where raters would draw lesion: where it is visible, and its interior, even if that is dark."""
    enough = config.drawn_fraction_sliced if sliced else config.drawn_fraction
    return np.asarray((fraction >= enough) & ((flair >= config.drawn_level) | (fraction >= config.whole_fraction)))


def _paint(
    anatomy: Anatomy, patients: Sequence[Patient], config: SynthesisConfig, rng: np.random.Generator
) -> tuple[Painting, PaintedLesions, Warp]:
    if not patients:
        raise ValueError("there is no lesion mask to draw lesions from")
    lesions = paint_lesions(anatomy, patients, config.lesions, config.lesion_signal, rng)
    painting = paint_head(anatomy, lesions, config, rng)
    return painting, lesions, draw_warp(anatomy, config.warp, rng)


def _grid(
    low_mm: NDArray[np.float64], high_mm: NDArray[np.float64]
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Return shape and affine of the 1 mm RAS grid between two corners."""
    low = np.floor(low_mm)
    x, y, z = (np.ceil(high_mm) - low).astype(int).tolist()
    affine = np.eye(4)
    affine[:3, 3] = low
    return (x, y, z), affine


def _field_of_view(
    brain: NDArray[np.float64], head: NDArray[np.float64], protocol: Protocol, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of a scan: all of the head across, and below the brain as far as scans of its kind go."""
    low, high = head[0] - 8, head[1] + 8
    low[2] = max(head[0, 2], brain[0, 2] - (rng.uniform(2, 15) if protocol.sliced else rng.uniform(15, 60)))
    if protocol.sliced:
        high[2] = brain[1, 2] + rng.uniform(3, 12)
    return low, high


def _sample(volume: NDArray[Any], voxels: FloatArray, order: int = 1) -> NDArray[Any]:
    return np.asarray(ndimage.map_coordinates(volume, voxels, output=volume.dtype, order=order, mode="nearest"))


def _in_box(anatomy: Anatomy, volume: FloatArray, voxels: FloatArray) -> FloatArray:
    """Sample a map of the brain's box; 0 outside it."""
    inside = voxels - anatomy.corner.astype(np.float32)[:, None, None, None]
    return np.asarray(ndimage.map_coordinates(volume, inside, np.float32, order=1), np.float32)


def _brain(anatomy: Anatomy, voxels: FloatArray, margin_mm: float = 0.0) -> NDArray[np.bool_]:
    inside = voxels - anatomy.corner.astype(np.float32)[:, None, None, None]
    depth = anatomy.brain_depth_mm.astype(np.float32)
    return np.asarray(ndimage.map_coordinates(depth, inside, np.float32, order=1, cval=_OUTSIDE_MM) > -margin_mm)


def _about(anatomy: Anatomy, lesions: PaintedLesions) -> dict[str, Any]:
    return {"label_map": anatomy.name, "lesion_masks": list(lesions.patients)}
