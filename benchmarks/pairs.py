"""Visits of one synthetic patient at two times: lesions that appear, grow, shrink and vanish, seen by two scanners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.synthesis.anatomy import MARGIN_MM, Anatomy
from bids_cascade.synthesis.config import SynthesisConfig
from bids_cascade.synthesis.fields import FloatArray
from bids_cascade.synthesis.lesions import PaintedLesions, Patient, paint_lesions
from bids_cascade.synthesis.paint import paint_head
from bids_cascade.synthesis.scanner import Protocol, Scanner
from bids_cascade.synthesis.warp import Warp, brain_bounds_mm, draw_motion, draw_warp

Fate = Literal["stays", "appears", "grows", "shrinks", "vanishes"]

_TOUCHING = np.ones((3, 3, 3), bool)
_MOST_MM3 = 2000
"""Of a lesion that comes or goes between two visits."""
_OF_LARGE: dict[Fate, Fate] = {"appears": "grows", "vanishes": "shrinks"}


@dataclass(frozen=True, eq=False)
class PairVisit:
    """One visit's scans as preprocessing would leave them: on one 1 mm RAS grid, in a pose of their own.

    Attributes
    ----------
    channels : (2, X, Y, Z) float32 array
        T1w and FLAIR; about 1 in white matter.
    brain : (X, Y, Z) bool array
    fraction : (X, Y, Z) float32 array
        How much of each voxel is lesion.
    affine : (4, 4) array
        Voxel to RAS+ mm of this visit's world.
    """

    channels: FloatArray
    brain: NDArray[np.bool_]
    fraction: FloatArray
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """Visits of one head at two times, and what is true about them.

    Attributes
    ----------
    visits : tuple of PairVisit
    late : tuple of bool
        Whether a visit is of the later time.
    poses : tuple of (4, 4) arrays
        Map points of a visit's world to the first one's, mm.
    fates : dict of int to Fate
        By the lesion's number in `numbers`.
    numbers : (X, Y, Z) int32 array
        Lesions, whatever becomes of them, on the grid of the first visit.
    volumes_mm3 : dict of int to (float, float)
        True volumes at both times, by number.
    about : dict
    """

    visits: tuple[PairVisit, ...]
    late: tuple[bool, ...]
    poses: tuple[NDArray[np.float64], ...]
    fates: dict[int, Fate]
    numbers: NDArray[np.int32]
    volumes_mm3: dict[int, tuple[float, float]]
    about: dict[str, Any] = field(default_factory=dict)


def make_series(
    anatomy: Anatomy,
    patients: Sequence[Patient],
    plan: Sequence[tuple[bool, tuple[Protocol, Protocol]]],
    chances: Mapping[Fate, float],
    seed: int | Sequence[int],
    config: SynthesisConfig | None = None,
) -> Series:
    """Make visits of one head; equal arguments give equal arrays.

    Parameters
    ----------
    anatomy : Anatomy
    patients : sequence of Patient
        Whose lesions to draw from.
    plan : sequence of (bool, pair of Protocol)
        Of each visit: whether it is of the later time, and the protocols of T1w and FLAIR.
    chances : mapping of Fate to float
        Of a lesion.
    seed : int or sequence of int
    config : SynthesisConfig, optional
    """
    config = config or SynthesisConfig()
    rng = np.random.default_rng(seed)
    lesions = paint_lesions(anatomy, patients, config.lesions, config.lesion_signal, rng)
    numbers, n = ndimage.label(lesions.fraction >= 0.5, _TOUCHING)
    sizes = np.bincount(numbers.ravel(), minlength=n + 1)[1:]
    fates = _draw_fates(sizes.tolist(), chances, rng)
    both = [_only(lesions, _extent(numbers, fates, late, rng)) for late in (False, True)]
    warp, paint_seed = draw_warp(anatomy, config.warp, rng), int(rng.integers(2**31))
    maps = []
    for one in both:
        painting = paint_head(anatomy, one, config, np.random.default_rng(paint_seed))
        maps.append((painting.t1w, painting.flair, one.fraction))
    poses = [np.eye(4), *(np.asarray(np.linalg.inv(draw_motion(config.warp, rng))) for _ in plan[1:])]
    visits = [
        _acquire(anatomy, warp, maps[late], pose, protocols, rng)
        for (late, protocols), pose in zip(plan, poses, strict=True)
    ]
    volumes = [ndimage.sum(one.fraction, numbers, range(1, n + 1)) for one in both]
    inside = _in_box(anatomy, warp.voxels_at(_shape(visits[0]), visits[0].affine))
    return Series(
        tuple(visits),
        tuple(late for late, _ in plan),
        tuple(poses),
        fates=fates,
        numbers=ndimage.map_coordinates(numbers, inside, np.int32, order=0),
        volumes_mm3={one: (float(volumes[0][one - 1]), float(volumes[1][one - 1])) for one in fates},
        about={"label_map": anatomy.name, "lesion_masks": list(lesions.patients)},
    )


def _draw_fates(sizes: Sequence[int], chances: Mapping[Fate, float], rng: np.random.Generator) -> dict[int, Fate]:
    """Draw what becomes of each lesion; those too large to come or go at once grow and shrink instead."""
    names, weights = list(chances), np.array(list(chances.values()))
    fates: dict[int, Fate] = {}
    for number, size in enumerate(sizes, start=1):
        fate = names[rng.choice(len(names), p=weights / weights.sum())]
        fates[number] = _OF_LARGE.get(fate, fate) if size > _MOST_MM3 else fate
    return fates


def _extent(
    numbers: NDArray[np.int32], fates: Mapping[int, Fate], late: bool, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return where lesions may be at a visit: all but what is not there yet, or no longer."""
    gone, small = ("vanishes", "shrinks") if late else ("appears", "grows")
    without = np.isin(numbers, [one for one, fate in fates.items() if fate == gone])
    extent = ~ndimage.binary_dilation(without, _TOUCHING, iterations=3)
    extent |= (numbers > 0) & ~without
    for one, box in enumerate(ndimage.find_objects(numbers), start=1):
        if fates[one] == small:
            own = numbers[box] == one
            depth = ndimage.distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1, 1:-1]
            kept = depth > np.quantile(depth[own], rng.uniform(0.2, 0.7))
            extent[box] &= ~own | kept
    return np.asarray(extent)


def _only(lesions: PaintedLesions, extent: NDArray[np.bool_]) -> PaintedLesions:
    """Return the lesions within an extent, whose edge fades."""
    soft = ndimage.gaussian_filter(extent.astype(np.float32), 0.5)
    soft *= extent
    return replace(
        lesions,
        fraction=lesions.fraction * soft,
        flair_gain=lesions.flair_gain * soft,
        t1w_drop=lesions.t1w_drop * soft,
    )


def _acquire(
    anatomy: Anatomy,
    warp: Warp,
    maps: tuple[FloatArray, FloatArray, FloatArray],
    pose: NDArray[np.floating],
    protocols: tuple[Protocol, Protocol],
    rng: np.random.Generator,
) -> PairVisit:
    """Scan a head that lies in a pose: `pose` maps points of the visit's world to the head's."""
    bounds = brain_bounds_mm(anatomy, warp)
    corners = np.array([[x, y, z] for x in bounds[:, 0] for y in bounds[:, 1] for z in bounds[:, 2]])
    moved = corners @ np.linalg.inv(pose)[:3, :3].T + np.linalg.inv(pose)[:3, 3]
    low = np.floor(moved.min(axis=0) - MARGIN_MM)
    x, y, z = np.ceil(moved.max(axis=0) + MARGIN_MM - low).astype(int).tolist()
    affine = np.eye(4)
    affine[:3, 3] = low
    voxels = warp.voxels_at((x, y, z), pose @ affine)
    channels = []
    for protocol, signal in zip(protocols, maps[:2], strict=True):
        scanner = Scanner(protocol, (x, y, z))
        seen = ndimage.map_coordinates(signal, voxels, np.float32, order=1, mode="nearest")
        channels.append(scanner.back(scanner.acquire(seen, rng)))
    inside = _in_box(anatomy, voxels)
    depth_mm = ndimage.map_coordinates(anatomy.brain_depth_mm.astype(np.float32), inside, order=1, cval=-20.0)
    fraction = ndimage.map_coordinates(maps[2], inside, np.float32, order=1)
    return PairVisit(np.stack(channels), depth_mm > 0, fraction, affine)


def _in_box(anatomy: Anatomy, voxels: FloatArray) -> FloatArray:
    """Return voxels of the label map in the brain's box."""
    return voxels - anatomy.corner.astype(np.float32)[:, None, None, None]


def _shape(visit: PairVisit) -> tuple[int, int, int]:
    x, y, z = visit.brain.shape
    return x, y, z
