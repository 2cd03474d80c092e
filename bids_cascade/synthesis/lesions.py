"""Real lesion shapes from masks, inserted into another head at their own or a new place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_cascade.synthesis.anatomy import (
    DEEP_GREY,
    STRUCTURES,
    WHITE_MATTER,
    Anatomy,
    Box,
    Tissue,
    is_any,
    ventricle_wall,
)
from bids_cascade.synthesis.config import LesionConfig, LesionSignalConfig
from bids_cascade.synthesis.fields import FloatArray, smooth_noise

_PAD = 4
"""Voxels kept around a shape, so that it may grow and fade."""

_N_PROBES = 300
"""Voxels of a shape that are tested at each place."""

_LEFT = [-1.0, 1.0, 1.0]
_PAIRS_MM = {
    "thalamus": (10.3, -15.0, 10.8),
    "caudate": (11.8, 8.0, 11.8),
    "putamen": (22.3, 1.7, 3.6),
    "hippocampus": (21.7, -20.7, -4.3),
    "cerebral white": (24.0, -15.9, 19.6),
    "cerebellum": (21.2, -56.2, -22.9),
    "ventricle": (12.5, -12.5, 17.0),
}
_CENTRES_MM = {
    f"{name} {side}": np.multiply(at, _LEFT if side == "left" else 1)
    for name, at in _PAIRS_MM.items()
    for side in ("left", "right")
}
_CENTRES_MM["brainstem"] = np.array([0.0, -26.6, -20.6])
MASK_CENTRES_MM = np.array([_CENTRES_MM[name] for name in STRUCTURES])
"""Centres, (S, 3) in mm RAS, of the structures in the space of the lesion masks, the MNI space with brains of their own
size: measured on one patient's scan in that space (three label maps registered to it), the sides averaged. Its ratio to
MNI coordinates is 0.87 or so."""

_MNI_SCALE = 0.87
"""By which MNI coordinates are multiplied to lie in the space of the lesion masks."""


@dataclass(frozen=True, eq=False)
class Shape:
    """One lesion of one patient.

    Attributes
    ----------
    depth : (X, Y, Z) float32 array
        Distance to the lesion's surface in voxels of the mask, positive inside.
    centre_mm : (3,) array
        Centre of its box in the masks' space.
    volume_mm3 : float
    """

    depth: FloatArray
    centre_mm: NDArray[np.float64]
    volume_mm3: float


@dataclass(frozen=True, eq=False)
class Patient:
    """The lesions of one mask.

    Attributes
    ----------
    name : str
    axes : (3, 3) array
        Voxel steps of the mask in mm.
    shapes : tuple of Shape
    single : bool
        Whether they are single lesions of many people, to be drawn one by one.
    """

    name: str
    axes: NDArray[np.float64]
    shapes: tuple[Shape, ...]
    single: bool = False


@dataclass(frozen=True, eq=False)
class PaintedLesions:
    """Lesions in the brain's box of an anatomy.

    Attributes
    ----------
    fraction : (X, Y, Z) float32 array
        Fraction of lesion in each voxel.
    flair_gain, t1w_drop : float32 arrays
        Added to the FLAIR signal, and subtracted from the T1w's, relative to white matter; beside a lesion, its faint
        halo.
    patients : tuple of str
        Names of the lesions' patients; most lesions at their own place are the first one's.
    enhanced : bool
        Whether the T1w is one after gadolinium.
    """

    fraction: FloatArray
    flair_gain: FloatArray
    t1w_drop: FloatArray
    patients: tuple[str, ...]
    enhanced: bool = False


def make_patient(mask: NDArray[np.bool_], affine: NDArray[np.float64], name: str) -> Patient:
    """Split a lesion mask into the shapes of its 26-connected lesions.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
        Voxel to RAS+ mm of the masks' space.
    name : str

    Raises
    ------
    ValueError
        When the mask is empty.
    """
    padded: NDArray[np.bool_] = np.pad(mask, _PAD)
    labels, n_lesions = ndimage.label(padded, np.ones((3, 3, 3)))
    if not n_lesions:
        raise ValueError("there is no lesion in it")
    voxel_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
    shapes = []
    for number, bounds in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(slice(part.start - _PAD, part.stop + _PAD) for part in bounds)
        inside = np.asarray(labels[box] == number)
        middle = np.array([(part.start + part.stop - 1) / 2 for part in box]) - _PAD
        shapes.append(Shape(_depth(inside), affine[:3, :3] @ middle + affine[:3, 3], float(inside.sum() * voxel_mm3)))
    return Patient(name, np.asarray(affine[:3, :3], np.float64), tuple(shapes))


def make_single_lesions(
    lesions: Sequence[NDArray[np.integer]], affine: NDArray[np.float64], name: str, most_mm3: float = 5000.0
) -> Patient:
    """Make shapes of single lesions of many people in MNI152 space.

    Parameters
    ----------
    lesions : sequence of (N, 3) int arrays
        The voxels of each lesion.
    affine : (4, 4) array
        Voxel to MNI152 mm.
    name : str
        Of the collection.
    most_mm3 : float
        Larger lesions, shaped by the ventricles they surround, are left out.

    Raises
    ------
    ValueError
        When no lesion is left.
    """
    axes = np.asarray(affine[:3, :3], np.float64) * _MNI_SCALE
    voxel_mm3 = abs(float(np.linalg.det(axes)))
    shapes = []
    for voxels in lesions:
        if not 0 < len(voxels) * voxel_mm3 <= most_mm3:
            continue
        low, high = voxels.min(axis=0), voxels.max(axis=0)
        inside = np.zeros(high - low + 1 + 2 * _PAD, bool)
        inside[tuple((voxels - low + _PAD).T)] = True
        centre_mm = axes @ ((low + high) / 2) + affine[:3, 3] * _MNI_SCALE
        shapes.append(Shape(_depth(inside), centre_mm, len(voxels) * voxel_mm3))
    if not shapes:
        raise ValueError(f"there is no lesion of at most {most_mm3:g} mm3 in it")
    return Patient(name, axes, tuple(shapes), single=True)


def _depth(inside: NDArray[np.bool_]) -> FloatArray:
    """Return the distance to a mask's surface in voxels, positive inside."""
    depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return np.asarray(depth - np.sign(inside - 0.5) * 0.5, np.float32)


def mask_space_to_voxels(anatomy: Anatomy) -> NDArray[np.float64]:
    """Return the affine, (4, 4), that aligns the masks' space with an anatomy: least squares of structures' centres.

    Raises
    ------
    ValueError
        When the label map lacks most of the structures.
    """
    known = np.asarray(np.isfinite(anatomy.centres).all(axis=1))
    if known.sum() < 8:
        raise ValueError(f"only {known.sum()} of {len(known)} structures are in it; lesions can't be laid over it")
    design = np.column_stack([MASK_CENTRES_MM[known], np.ones(known.sum())])
    solution, *_ = np.linalg.lstsq(design, anatomy.centres[known], rcond=None)
    affine = np.eye(4)
    affine[:3] = solution.T
    return affine


def paint_lesions(
    anatomy: Anatomy,
    patients: Sequence[Patient],
    places: LesionConfig,
    signal: LesionSignalConfig,
    rng: np.random.Generator,
) -> PaintedLesions:
    """Paint lesions into an anatomy: most of one patient's, some of others', some at new places and along ventricles.

    Parameters
    ----------
    anatomy : Anatomy
    patients : sequence of Patient
        At least one, from whose lesions to draw.
    places, signal : LesionConfig, LesionSignalConfig
    rng : numpy.random.Generator

    Returns
    -------
    PaintedLesions
    """
    canvas = _Canvas(anatomy, places, signal, rng)
    if rng.random() < places.none_fraction:
        return canvas.finish(())
    pools = [patient for patient in patients if patient.single]
    whole = [patient for patient in patients if not patient.single]
    if pools and (not whole or rng.random() < places.single_fraction):
        return _paint_singles(canvas, pools[int(rng.integers(len(pools)))], places, rng)
    order = rng.permutation(len(whole))
    n_others = min(int(rng.integers(places.n_other_patients[0], places.n_other_patients[1] + 1)), len(whole) - 1)
    used = [whole[index] for index in order[: 1 + n_others]]
    fractions = [rng.uniform(*places.kept), *(rng.uniform(*places.other_fraction) for _ in range(n_others))]
    for patient, kept in zip(used, fractions, strict=True):
        mirrored = rng.random() < 0.5
        for lesion in patient.shapes:
            if rng.random() < kept:
                canvas.keep(lesion, patient.axes, mirrored)
    pool = [(lesion, patient.axes) for patient in used for lesion in patient.shapes]
    for _ in range(int(rng.integers(places.n_moved[0], places.n_moved[1] + 1))):
        canvas.move(*pool[rng.integers(len(pool))])
    if rng.random() < places.band_fraction:
        canvas.line()
    return canvas.finish(tuple(patient.name for patient in used))


def _paint_singles(canvas: _Canvas, pool: Patient, places: LesionConfig, rng: np.random.Generator) -> PaintedLesions:
    """Paint single lesions into an anatomy, each at its own place: few or many, as many small as large ones."""
    low, high = np.log(places.n_single)
    for index in rng.integers(len(pool.shapes), size=round(float(np.exp(rng.uniform(low, high))))):
        scale = rng.uniform(*places.single_scale)
        canvas.keep(pool.shapes[index], pool.axes * scale, rng.random() < 0.5)
    return canvas.finish((pool.name,))


class _Canvas:
    """The brain's box of an anatomy, onto which lesions are drawn one by one."""

    def __init__(
        self, anatomy: Anatomy, places: LesionConfig, signal: LesionSignalConfig, rng: np.random.Generator
    ) -> None:
        self.anatomy, self.places, self.signal, self.rng = anatomy, places, signal, rng
        self.to_voxels = mask_space_to_voxels(anatomy)
        self.to_voxels[:3, 3] -= anatomy.corner
        self.tissue, self.from_ventricle_mm = anatomy.brain_tissue, anatomy.from_ventricle_mm
        self.zones = _zones(anatomy)
        shape = self.tissue.shape
        self.fraction, self.flair_gain, self.t1w_drop = (np.zeros(shape, np.float32) for _ in range(3))
        self.ripple = smooth_noise(rng, shape, places.ripple_spacing_mm)
        self.texture = smooth_noise(rng, shape, signal.texture_spacing_mm)
        self.mean_gain, self.mean_drop = rng.uniform(*signal.flair_gain), rng.uniform(*signal.t1w_drop)
        self.texture_sd, self.hole_fraction = rng.uniform(*signal.flair_texture), rng.uniform(*signal.hole_fraction)
        self.halo = rng.uniform(*signal.halo_gain), rng.uniform(*signal.halo_mm)
        self.enhanced = rng.random() < signal.enhanced_fraction
        self.enhancing = rng.uniform(*signal.enhancing) if self.enhanced else 0.0

    def keep(self, lesion: Shape, axes: NDArray[np.float64], mirrored: bool) -> None:
        """Draw a lesion at its own place, or at the nearby one of several where it fits best."""
        mirror = np.diag([-1.0 if mirrored else 1.0, 1.0, 1.0])
        centre = self.to_voxels[:3, :3] @ mirror @ lesion.centre_mm + self.to_voxels[:3, 3]
        centre = centre + self.rng.normal(0, self.places.shift_mm, 3)
        turn = _rotation(self.rng.uniform(*self.places.rotation_deg, 3))
        linear = self.to_voxels[:3, :3] @ mirror @ turn @ self._stretch() @ axes
        offsets = self.rng.uniform(-1, 1, (self.places.n_tries, 3)) * self.places.search_mm
        offsets[0] = 0
        cost = self.places.shift_cost_mm * np.linalg.norm(offsets, axis=1)
        self._draw_best(lesion, linear, centre + offsets, cost)

    def move(self, lesion: Shape, axes: NDArray[np.float64]) -> None:
        """Draw a lesion with a random rotation in a random zone; do nothing if it is too large or small to move."""
        zone = int(self.rng.choice(len(self.zones), p=self.places.zone_fractions))
        low, high = self.places.moved_volume_mm3 if zone < 3 else self.places.infratentorial_volume_mm3
        if not low <= lesion.volume_mm3 <= high or not len(self.zones[zone]):
            return
        turn = draw_turn(self.rng)
        chosen = self.rng.choice(self.zones[zone], self.places.n_tries)
        centres = np.stack(np.unravel_index(chosen, self.tissue.shape), axis=1).astype(float)
        self._draw_best(lesion, turn @ self._stretch() @ axes, centres, np.zeros(len(centres)))

    def line(self) -> None:
        """Draw bands along parts of the lateral ventricles' walls, wider at the horns."""
        places, rng = self.places, self.rng
        box, near_mm, horn = ventricle_wall(self.anatomy)
        patchy = smooth_noise(rng, near_mm.shape, places.band_spacing_mm) + rng.uniform(*places.band_extent)
        width_mm = (rng.uniform(*places.band_mm) + rng.uniform(*places.band_cap_mm) * horn) * np.clip(patchy, 0, 1.3)
        # Where there is no band, no halo either.
        depth = np.where(width_mm > 0, width_mm + 0.5 - near_mm, np.float32(-_PAD)).astype(np.float32)
        self._colour(box, depth, self.tissue[box] == Tissue.WHITE)

    def finish(self, patients: tuple[str, ...]) -> PaintedLesions:
        """Return the drawn lesions, with the names of their patients."""
        return PaintedLesions(self.fraction, self.flair_gain, self.t1w_drop, patients, self.enhanced)

    def _stretch(self) -> NDArray[np.float64]:
        return np.diag(self.rng.uniform(*self.places.scale, 3))

    def _draw_best(
        self, lesion: Shape, linear: NDArray[np.float64], centres: NDArray[np.float64], cost: NDArray[np.float64]
    ) -> None:
        """Draw a lesion where it fits best for the cost, if enough of it lies in tissue that may hold it."""
        allowed = self._allowed()
        within = np.argwhere(lesion.depth > 0)
        probes = within[:: max(1, len(within) // _N_PROBES)] - (np.array(lesion.depth.shape) - 1) / 2
        if self.rng.random() < self.places.contact_fraction:
            centres = centres - self._gaps(*self._look(probes @ linear.T, centres))
        at, inside = self._look(probes @ linear.T, centres)
        around = self.tissue[tuple(at)]
        fits = (allowed[around] & inside).mean(axis=1)
        # Parts in a ventricle are cut off at little cost: the rest then lies along its wall, as periventricular lesions
        # do.
        cut_off = (around == Tissue.LATERAL_VENTRICLE).mean(axis=1)
        best = int((fits + self.places.ventricle_tolerance * cut_off - cost).argmax())
        if fits[best] >= self.places.smallest_fit:
            self._draw(lesion, linear, centres[best], allowed)

    def _look(
        self, steps: NDArray[np.float64], centres: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the voxels, (3, tries, probes), of probes around each centre, and which are in the box."""
        points = np.rint(steps[None] + centres[:, None]).astype(np.int64)
        inside = np.asarray(((points >= 0) & (points < self.tissue.shape)).all(axis=2))
        return np.moveaxis(np.where(inside[..., None], points, 0), 2, 0), inside

    def _gaps(self, at: NDArray[np.int64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the vectors, (tries, 3), from a lateral ventricle's wall to the lesions that nearly touch it."""
        distance = np.where(inside, self.from_ventricle_mm[tuple(at)], np.inf).astype(np.float64)
        nearest = distance.argmin(axis=1)
        rows = np.arange(len(nearest))
        gap_mm = distance[rows, nearest] - 1
        place = np.clip(at[:, rows, nearest], 1, np.array(self.tissue.shape)[:, None] - 2)
        slope = np.zeros((len(rows), 3))
        for axis, step in enumerate(np.eye(3, dtype=int)):
            after, before = (self.from_ventricle_mm[tuple(place + sign * step[:, None])] for sign in (1, -1))
            slope[:, axis] = after.astype(np.float64) - before
        slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-6)
        nearly = (gap_mm > 0) & (gap_mm <= self.places.contact_reach_mm)
        return np.asarray(np.where(nearly, gap_mm, 0)[:, None] * slope)

    def _allowed(self) -> NDArray[np.bool_]:
        """Return for each tissue whether this lesion may be in it."""
        allowed = np.zeros(256, bool)
        allowed[list(WHITE_MATTER)] = True
        allowed[Tissue.CORTEX] = self.rng.random() < self.places.cortex_fraction
        allowed[list(DEEP_GREY)] = self.rng.random() < self.places.deep_grey_fraction
        return allowed

    def _draw(
        self, lesion: Shape, linear: NDArray[np.float64], centre: NDArray[np.float64], allowed: NDArray[np.bool_]
    ) -> None:
        """Add a lesion: `linear` maps steps in the shape's voxels to steps in the box's."""
        laid = lay_shape(lesion, linear, centre, self.tissue.shape)
        if laid is None:
            return
        box, depth, volume_mm3 = laid
        radius_mm = np.cbrt(volume_mm3 * 3 / (4 * np.pi))
        ripple_mm = min(self.rng.uniform(*self.places.ripple_mm), radius_mm / 2)
        depth += self.rng.uniform(*self.places.grow_mm) + ripple_mm * self.ripple[box]
        may = allowed[self.tissue[box]]
        relative_gain = gain_by_size(volume_mm3, self.signal.small_mm3, self.signal.small_gain)
        self._colour(box, depth, may, relative_gain)

    def _colour(self, box: Box, depth: FloatArray, may: NDArray[np.bool_], relative_gain: float = 1.0) -> None:
        """Blend a lesion of this depth (mm below its surface) into the maps where tissue may hold it."""
        signal, rng = self.signal, self.rng
        gain = rng.normal(self.mean_gain * relative_gain, signal.flair_gain_sd * relative_gain)
        gain = max(signal.flair_gain_smallest, gain)
        drop = self.mean_drop * rng.uniform(*signal.t1w_drop_spread)
        fraction = np.clip(0.5 + depth / rng.uniform(*self.places.edge_mm), 0, 1) * may
        flair = gain * (1 + self.texture_sd * self.texture[box])
        if rng.random() < self.hole_fraction:
            drop = rng.uniform(*signal.hole_t1w_drop)
            if rng.random() < signal.cavity_fraction:
                core = np.clip(depth - signal.cavity_depth_mm, 0, 1)
                flair = flair + core * (rng.uniform(*signal.cavity_flair_gain) - flair)
        t1w_drop: FloatArray | np.float32 = np.float32(drop)
        if self.enhancing and rng.random() < self.enhancing:
            rim = np.clip(signal.ring_mm - depth, 0, 1) if rng.random() < signal.ring_fraction else np.float32(1)
            t1w_drop = drop - rim * np.float32(drop + rng.uniform(*signal.enhancement))
        halo_gain, halo_mm = self.halo
        halo = (halo_gain * np.clip(1 + depth / halo_mm, 0, 1) * may).astype(np.float32)
        self._blend(self.flair_gain, box, fraction, flair, halo)
        self._blend(self.t1w_drop, box, fraction, t1w_drop, halo / np.float32(2))
        self.fraction[box] = np.maximum(self.fraction[box], fraction)

    def _blend(
        self, target: FloatArray, box: Box, fraction: FloatArray, value: FloatArray | np.float32, halo: FloatArray
    ) -> None:
        """Blend a new lesion into the maps; its halo brightens no cavity."""
        below = target[box]
        below = np.where(below < 0, below, np.maximum(below, halo))
        target[box] = below + fraction * (value - below)


def draw_turn(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw any rotation or mirrored rotation, (3, 3)."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(turn)


def gain_by_size(volume_mm3: float, small_mm3: tuple[float, float], small_gain: float) -> float:
    """Return a lesion's usual FLAIR gain relative to a large one's: `small_gain` up to the first volume, then more."""
    return float(np.interp(np.log(volume_mm3), np.log(small_mm3), (small_gain, 1.0)))


def lay_shape(
    lesion: Shape, linear: NDArray[np.float64], centre: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[Box, FloatArray, float] | None:
    """Resample a lesion into a 1 mm volume.

    Parameters
    ----------
    lesion : Shape
    linear : (3, 3) array
        Maps steps in the shape's voxels to steps in the volume's.
    centre : (3,) array
        Voxel of the volume on which the shape's centre comes to lie.
    shape : tuple of int
        Of the volume.

    Returns
    -------
    box : tuple of slice
        Part of the volume that the lesion and its surroundings cover.
    depth : float32 array
        In this box, mm below the lesion's surface, negative outside.
    volume_mm3 : float
        Of the lesion.

    None if the lesion would lie outside the volume.
    """
    half = np.abs(linear) @ (np.array(lesion.depth.shape) / 2)
    low = np.maximum(0, np.floor(centre - half)).astype(int)
    high = np.minimum(shape, np.ceil(centre + half) + 1).astype(int)
    if (high <= low).any():
        return None
    box: Box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))  # type: ignore[assignment]
    inverse = np.linalg.inv(linear)
    offset = inverse @ (low - centre) + (np.array(lesion.depth.shape) - 1) / 2
    depth = ndimage.affine_transform(
        lesion.depth, inverse, offset, tuple(high - low), np.float32, order=1, mode="constant", cval=-_PAD
    )
    growth = abs(float(np.linalg.det(linear)))
    return box, depth * np.float32(np.cbrt(growth)), growth * np.count_nonzero(lesion.depth > 0)


def _rotation(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation by these angles about X, Y and Z, (3, 3)."""
    return np.asarray(Rotation.from_euler("xyz", degrees, degrees=True).as_matrix())


def _zones(anatomy: Anatomy) -> list[NDArray[np.int64]]:
    """Return the flat indices in the brain's box at the ventricles, below the cortex, between, and infratentorial."""
    tissue = anatomy.brain_tissue
    white = tissue == Tissue.WHITE
    near_ventricle = anatomy.from_ventricle_mm < 5
    near_cortex = anatomy.from_cortex_mm < 3
    infratentorial = is_any(tissue, (Tissue.BRAINSTEM, Tissue.CEREBELLAR_WHITE))
    masks = (
        white & near_ventricle,
        white & near_cortex & ~near_ventricle,
        white & ~near_cortex & ~near_ventricle,
        infratentorial,
    )
    return [np.flatnonzero(mask) for mask in masks]
