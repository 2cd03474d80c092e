"""A whole-head T1w and FLAIR scan of an invented patient whose lesions are known exactly.

The brain is the MNI152 template that nilearn ships (T1, grey- and white-matter maps, 1 mm), shrunk to a common size and
warped by seed. That template has no head, so skull, scalp, face and neck are added as simple shells, enough to make
brain extraction a real task. It serves demonstrations and tests, and says nothing about accuracy on patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.synthesis.fields import smooth_noise

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]

WHITE = 500.0
"""Intensity of white matter in the scans, before the bias field."""

T1W_SIGNAL = {"white": 1.0, "grey": 0.74, "csf": 0.22, "lesion": 0.70, "fat": 1.55, "muscle": 0.5, "marrow": 0.6}
FLAIR_SIGNAL = {"white": 1.0, "grey": 1.16, "csf": 0.18, "lesion": 1.48, "fat": 0.75, "muscle": 0.45, "marrow": 0.3}
"""Signals relative to white matter; brain and lesions as measured on 3 T scans of a patient, the rest by eye."""

_HEAD_LOW_MM = np.array([-92.0, -124.0, -110.0])
_HEAD_SIZE_MM = np.array([184, 222, 210])
_BRAIN_SCALE = 0.92  # the template holds 1.9 l, far more than most people's brain
_WARP_MM = 2.0
_COARSE_MM = 2
_BONE_MM = (2.5, 8.5)  # from the brain's smoothed surface: fluid, then bone, then scalp
_SCALP_MM = 14.0


@dataclass(frozen=True)
class Phantom:
    """Two scans of one head, and their ground truth.

    Attributes
    ----------
    t1w, flair : Nifti1Image
        int16 scans, each on its own grid.
    t1w_lesions, flair_lesions : Nifti1Image
        uint8 masks of the lesions on the grids of the two scans.
    t1w_brain : Nifti1Image
        uint8 mask of the brain on the grid of the T1w.
    t1w_to_flair : ndarray, shape (4, 4)
        Rigid motion between the scans: maps a point of the T1w's world to the FLAIR's, mm RAS.
    """

    t1w: nib.Nifti1Image
    flair: nib.Nifti1Image
    t1w_lesions: nib.Nifti1Image
    flair_lesions: nib.Nifti1Image
    t1w_brain: nib.Nifti1Image
    t1w_to_flair: NDArray[np.float64]


@dataclass(frozen=True)
class _Head:
    """Maps of one head on a 1 mm RAS grid, each of shape (X, Y, Z) with values 0 to 1."""

    brain: FloatArray
    white: FloatArray
    grey: FloatArray
    csf: FloatArray
    fat: FloatArray
    muscle: FloatArray
    marrow: FloatArray


def make_phantom(
    seed: int = 0,
    lesion_volumes_mm3: tuple[float, ...] = (2000, 1300, 900, 600, 400, 250, 160, 110, 80, 60, 45, 30),
    t1w_voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    flair_voxel_mm: tuple[float, float, float] = (1.0, 1.0, 3.0),
    noise: float = 0.025,
    bias: float = 0.15,
) -> Phantom:
    """Make the scans of one invented patient; equal arguments give equal voxels.

    Parameters
    ----------
    seed : int
        Determines the shape of head and brain, the places of the lesions, motion, bias fields and noise.
    lesion_volumes_mm3 : tuple of float
        One lesion for each; shapes are irregular, so the true volumes differ by some 10 %, those of small ones by up to
        half.
    t1w_voxel_mm, flair_voxel_mm : tuple of float
        Voxel sizes along X, Y, Z; thick slices average over their thickness.
    noise : float
        Standard deviation of the (Rician) noise relative to white matter.
    bias : float
        Standard deviation of the logarithm of the smooth bias field.

    Returns
    -------
    Phantom

    Raises
    ------
    ValueError
        The white matter has no room for so many or so large lesions.
    """
    rng = np.random.default_rng(seed)
    head = _make_head(rng)
    lesions = _make_lesions(rng, head, lesion_volumes_mm3)
    still, motion = np.eye(4), _small_motion(rng)
    scans = []
    for signal, voxel_mm, moved in ((T1W_SIGNAL, t1w_voxel_mm, still), (FLAIR_SIGNAL, flair_voxel_mm, motion)):
        clean, affine = _scan(_paint(head, lesions, signal), voxel_mm, moved)
        scans.append(_to_image(_degrade(rng, clean, noise, bias), affine, np.int16))
    return Phantom(
        t1w=scans[0],
        flair=scans[1],
        t1w_lesions=_scan_mask(lesions, t1w_voxel_mm, still),
        flair_lesions=_scan_mask(lesions, flair_voxel_mm, motion),
        t1w_brain=_scan_mask(head.brain, t1w_voxel_mm, still),
        t1w_to_flair=motion,
    )


def _make_head(rng: np.random.Generator) -> _Head:
    """Return the tissues of a head: the template, shrunk and warped, in shells of bone, muscle and fat."""
    t1, grey, white = _warped_template(rng)
    brain = ndimage.gaussian_filter((t1 > 0.1).astype(np.float32), 0.5)
    coarse_surface = _surface_distance(brain)
    surface = _refine(coarse_surface)
    thickness = 1 + 0.15 * smooth_noise(rng, brain.shape, spacing=50)
    fluid, bone = _BONE_MM[0] * thickness, _BONE_MM[1] * thickness
    outside_bone = surface > bone
    depth = _refine(_skin_depth(coarse_surface))
    grey, white = np.clip(grey, 0, 1) * brain, np.clip(white, 0, 1) * brain
    fraction = np.maximum(grey + white, 1)
    grey, white = grey / fraction, white / fraction
    return _Head(
        brain=brain,
        white=white,
        grey=grey,
        csf=np.where(surface < fluid, 1 - white - grey, 0).astype(np.float32),
        fat=_soften(outside_bone & (depth > 0) & (depth < 5.0)),
        muscle=_soften(outside_bone & (depth >= 5.0)),
        marrow=_soften((surface > fluid + 2.0) & (surface < bone - 2.0)),
    )


def _template() -> tuple[nib.Nifti1Image, nib.Nifti1Image, nib.Nifti1Image]:
    """Return the T1, grey-matter and white-matter maps (0 to 1, 1 mm) that the nilearn wheel carries."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    loaders = (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    t1, grey, white = (load(resolution=1) for load in loaders)
    return t1, grey, white


def _warped_template(rng: np.random.Generator) -> list[FloatArray]:
    """Return the template's volumes on the head's grid, shrunk to a common brain size and warped."""
    volumes = _template()
    shape = tuple(_HEAD_SIZE_MM)
    box = _brain_box(volumes[0], shape)
    sources = [(w + _WARP_MM * smooth_noise(rng, w.shape, spacing=40))[box] / _BRAIN_SCALE for w in _grid_mm(shape, 1)]
    warped = []
    for volume in volumes:
        voxels = np.stack([mm - np.float32(origin) for mm, origin in zip(sources, volume.affine[:3, 3], strict=True)])
        sampled = np.zeros(shape, np.float32)
        sampled[box] = ndimage.map_coordinates(np.asarray(volume.dataobj, np.float32), voxels, order=1)
        warped.append(sampled)
    return warped


def _brain_box(t1: nib.Nifti1Image, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of the head's grid that the brain may reach when shrunk and warped."""
    box = ndimage.find_objects((np.asarray(t1.dataobj) > 0).astype(np.int8))[0]
    margin_mm = 4 * _WARP_MM
    low = [_BRAIN_SCALE * (s.start + o) - margin_mm for s, o in zip(box, t1.affine[:3, 3], strict=True)]
    high = [_BRAIN_SCALE * (s.stop + o) + margin_mm for s, o in zip(box, t1.affine[:3, 3], strict=True)]
    start = np.maximum(0, np.floor(low - _HEAD_LOW_MM)).astype(int)
    stop = np.minimum(shape, np.ceil(high - _HEAD_LOW_MM)).astype(int)
    return tuple(slice(a, b) for a, b in zip(start, stop, strict=True))


def _grid_mm(shape: tuple[int, ...], step_mm: int) -> list[FloatArray]:
    """Return the x, y and z of each voxel of a grid over the head in mm, each of shape `shape`."""
    lines = [(low + step_mm * np.arange(n)).astype(np.float32) for low, n in zip(_HEAD_LOW_MM, shape, strict=True)]
    return list(np.meshgrid(*lines, indexing="ij"))


def _refine(coarse: FloatArray) -> FloatArray:
    """Return a map of the coarse grid on the head's grid."""
    return np.asarray(ndimage.zoom(coarse, _COARSE_MM, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def _distance_mm(mask: BoolArray) -> FloatArray:
    """Return how deep inside the mask each voxel of the head's grid lies, to a voxel or two."""
    coarse = mask[::_COARSE_MM, ::_COARSE_MM, ::_COARSE_MM]
    return _refine(ndimage.distance_transform_edt(coarse, sampling=_COARSE_MM).astype(np.float32))


def _surface_distance(brain: FloatArray) -> FloatArray:
    """Return the distance in mm outside the brain's surface without its sulci, on the coarse grid."""
    inside = brain[::_COARSE_MM, ::_COARSE_MM, ::_COARSE_MM] > 0.5
    closing_mm = 16
    grown = ndimage.distance_transform_edt(~inside, sampling=_COARSE_MM) < closing_mm
    hull = (ndimage.distance_transform_edt(grown, sampling=_COARSE_MM) > closing_mm) | inside
    distance = ndimage.distance_transform_edt(~hull, sampling=_COARSE_MM)
    return np.asarray(ndimage.gaussian_filter(distance, 1), dtype=np.float32)


def _skin_depth(surface: FloatArray) -> FloatArray:
    """Return the depth in mm below the skin (0 in air) of skull, face and neck together, on the coarse grid."""
    x, y, z = _grid_mm(surface.shape, _COARSE_MM)
    face = (x / 58) ** 2 + ((y - 30) / 62) ** 2 + ((z + 75) / 62) ** 2 < 1
    neck = ((x / 55) ** 2 + ((y + 40) / 58) ** 2 < 1) & (z < -30)
    head = (surface < _SCALP_MM) | face | neck
    # The neck extends below the field of view: without the padding, its cut would look like skin.
    padded = np.pad(head, ((1, 1), (1, 1), (0, 1)))
    padded = np.pad(padded, ((0, 0), (0, 0), (10, 0)), mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=_COARSE_MM)[1:-1, 1:-1, 10:-1]
    return np.asarray(depth, dtype=np.float32)


def _soften(mask: BoolArray) -> FloatArray:
    """Return a mask with edges about a millimetre wide."""
    return np.asarray(ndimage.gaussian_filter(mask.astype(np.float32), 0.6), dtype=np.float32)


def _make_lesions(rng: np.random.Generator, head: _Head, volumes_mm3: tuple[float, ...]) -> FloatArray:
    """Return the fraction of lesion in each voxel of the head: irregular ellipsoids in white matter that don't touch.

    Half of them lie near the ventricles, as in multiple sclerosis.
    """
    z_mm = _HEAD_LOW_MM[2] + np.arange(head.white.shape[2])
    cerebrum = np.broadcast_to(z_mm > -5, head.white.shape)
    deep = _distance_mm(head.brain > 0.5) > 22
    from_ventricle_mm = _distance_mm(~(deep & (head.csf > 0.6) & cerebrum))
    allowed = (head.white > 0.9) & cerebrum & (from_ventricle_mm > 2)
    ripple = 0.15 * smooth_noise(rng, head.white.shape, spacing=6)
    lesions = np.zeros_like(head.white)
    for i, volume_mm3 in enumerate(sorted(volumes_mm3, reverse=True)):
        reach_mm = 2 * np.cbrt(volume_mm3)
        near = from_ventricle_mm < 4 + 0.4 * reach_mm
        places = np.argwhere(allowed & near if i % 2 == 0 else allowed & (from_ventricle_mm > 12))
        box, fraction = _place_lesion(rng, head.white, lesions, places, ripple, volume_mm3)
        lesions[box] = np.maximum(lesions[box], fraction)
    return lesions


def _place_lesion(
    rng: np.random.Generator,
    white: FloatArray,
    lesions: FloatArray,
    places: NDArray[np.int64],
    ripple: FloatArray,
    volume_mm3: float,
) -> tuple[tuple[slice, ...], FloatArray]:
    """Return box and lesion fraction of the draw, of 20, with most white matter that touches no lesion."""
    best: tuple[float, tuple[slice, ...], FloatArray] | None = None
    for centre in rng.choice(places, 20):
        box, fraction = _ellipsoid(rng, centre, volume_mm3, ripple)
        wide = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in box)
        in_white = float((fraction * white[box]).sum() / fraction.sum())
        if not lesions[wide].any() and (best is None or in_white > best[0]):
            best = in_white, box, fraction * np.minimum(1, 1.5 * white[box])
    if best is None:
        message = f"no room for a lesion of {volume_mm3:g} mm^3: ask for fewer or smaller lesions"
        raise ValueError(message)
    return best[1], best[2]


def _ellipsoid(
    rng: np.random.Generator, centre: NDArray[np.int64], volume_mm3: float, ripple: FloatArray
) -> tuple[tuple[slice, ...], FloatArray]:
    """Return a box of the head's grid and the fraction (0 to 1, soft over 1.5 mm) of a random ellipsoid in it."""
    elongation = np.array([rng.uniform(1.2, 1.9), 1.0, rng.uniform(0.8, 1.0)])
    semi_axes_mm = elongation * np.cbrt(3 * volume_mm3 / (4 * np.pi) / elongation.prod())
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    reach = int(np.ceil(1.6 * semi_axes_mm.max())) + 2
    box = tuple(slice(max(0, c - reach), min(n, c + reach + 1)) for c, n in zip(centre, ripple.shape, strict=True))
    offsets = np.mgrid[box] - centre[:, None, None, None]
    radius = np.linalg.norm(np.tensordot(rotation / semi_axes_mm[:, None], offsets, axes=1), axis=0) + ripple[box]
    return box, np.clip(0.5 + (1 - radius) * semi_axes_mm.min() / 1.5, 0, 1).astype(np.float32)


def _small_motion(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a rigid motion, (4, 4), of up to 3 mm along and 3 degrees about each axis."""
    x, y, z = np.radians(rng.uniform(-3, 3, 3))
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    motion = np.eye(4)
    motion[:3, :3] = about_x @ about_y @ about_z
    motion[:3, 3] = rng.uniform(-3, 3, 3)
    return motion


def _paint(head: _Head, lesions: FloatArray, signal: dict[str, float]) -> FloatArray:
    """Return the noise-free image of the head, shape (X, Y, Z), with white matter at :data:`WHITE`."""
    healthy = sum(getattr(head, tissue) * value for tissue, value in signal.items() if tissue != "lesion")
    return np.asarray(WHITE * (healthy * (1 - lesions) + signal["lesion"] * lesions), dtype=np.float32)


def _scan(
    volume: FloatArray, voxel_mm: tuple[float, float, float], motion: NDArray[np.float64]
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Return a head map as acquired after `motion`, and the scan's affine.

    Each voxel is the mean of samples about 1 mm apart across it.
    """
    parts = np.maximum(1, np.round(voxel_mm)).astype(int)
    shape = np.floor(_HEAD_SIZE_MM / voxel_mm).astype(int)
    step = np.asarray(voxel_mm) / parts
    fine = np.diag([*step, 1.0])
    fine[:3, 3] = _HEAD_LOW_MM
    head_from_world = np.linalg.inv(_head_affine()) @ np.linalg.inv(motion)
    sampled = _resample(volume, head_from_world @ fine, tuple(shape * parts))
    for axis, n in enumerate(parts):
        split = (*sampled.shape[:axis], shape[axis], n, *sampled.shape[axis + 1 :])
        sampled = sampled.reshape(split).mean(axis=axis + 1)
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = _HEAD_LOW_MM + step * (parts - 1) / 2
    return sampled, affine


def _head_affine() -> NDArray[np.float64]:
    """Return the affine, (4, 4), of the head's 1 mm grid."""
    affine = np.eye(4)
    affine[:3, 3] = _HEAD_LOW_MM
    return affine


def _resample(volume: FloatArray, to_voxel: NDArray[np.float64], shape: tuple[int, ...]) -> FloatArray:
    """Return `volume` sampled linearly at the voxels that `to_voxel` maps each index of `shape` to."""
    if np.allclose(to_voxel, np.eye(4)) and shape == volume.shape:
        return volume
    # The nearest mode continues the neck where motion moves it below the head's grid.
    sampled = ndimage.affine_transform(
        volume, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1, mode="nearest"
    )
    return np.asarray(sampled, dtype=np.float32)


def _scan_mask(
    volume: FloatArray, voxel_mm: tuple[float, float, float], motion: NDArray[np.float64]
) -> nib.Nifti1Image:
    """Return, on the grid of a scan, the voxels that are at least half full of what `volume` maps."""
    fraction, affine = _scan(volume, voxel_mm, motion)
    return _to_image(fraction >= 0.5, affine, np.uint8)


def _degrade(rng: np.random.Generator, clean: FloatArray, noise: float, bias: float) -> FloatArray:
    """Return a scan with a smooth bias field and Rician noise."""
    field = np.exp(bias * smooth_noise(rng, clean.shape, spacing=max(clean.shape) / 2))
    real, imaginary = (noise * WHITE * rng.standard_normal(clean.shape, dtype=np.float32) for _ in range(2))
    return np.asarray(np.hypot(clean * field + real, imaginary), dtype=np.float32)


def _to_image(data: NDArray[Any], affine: NDArray[np.float64], dtype: type[np.generic]) -> nib.Nifti1Image:
    """Return a NIfTI image in scanner coordinates, in mm."""
    rounded = np.rint(data) if np.issubdtype(dtype, np.integer) else data
    image = nib.Nifti1Image(rounded.astype(dtype), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return image
