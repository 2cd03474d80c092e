"""Grids of voxels in world space, and images resampled onto them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.processing import resample_from_to
from numpy.typing import NDArray

from bids_cascade.imaging.images import mask_of

_INTEGER_TOLERANCE = 1e-2
_PARALLEL = 1e-12
_PLANES = 16
"""Planes of a grid whose points are computed at once."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxels in world space.

    Attributes
    ----------
    shape : tuple of int
        (X, Y, Z).
    affine : (4, 4) ndarray of float64
        Voxel to RAS+ mm.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of a voxel in mm^3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


def grid_of(image: nib.Nifti1Image) -> Grid:
    """Return the grid of a 3D image."""
    x, y, z = image.shape
    return Grid((x, y, z), np.asarray(image.affine, dtype=np.float64))


def in_ras_order(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Return an image with its axes in the order and direction nearest to RAS+, under its own file name.

    Results computed from images in this order don't depend on the order in which their voxels are stored.
    """
    turned: nib.Nifti1Image = nib.as_closest_canonical(image)
    if turned is not image and (name := image.get_filename()):
        turned.set_filename(name)
    return turned


def in_order_of(data: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Turn voxels (X, Y, Z) from the order nearest to RAS+ into the one that an affine stores them in."""
    return np.asarray(apply_orientation(data, ornt_transform(io_orientation(np.eye(4)), io_orientation(affine))))


def model_grid(reference: nib.Nifti1Image, mask: nib.Nifti1Image, voxel_size_mm: float, margin_mm: float) -> Grid:
    """Return an isotropic grid around a mask, along the reference's own axes in the order nearest to RAS.

    Voxel centres are whole multiples of `voxel_size_mm` away from the reference's first voxel, so that a reference with
    this voxel size needs no interpolation.

    Parameters
    ----------
    reference, mask : nibabel.Nifti1Image
        On the same grid; the mask has a voxel that is not 0.
    voxel_size_mm : float
        Edge of the new voxels.
    margin_mm : float
        Distance kept between the mask and the grid's edge.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    canonical = nib.as_closest_canonical(nib.Nifti1Image(mask_of(mask).astype(np.uint8), reference.affine))
    box = _not_zero(np.asarray(canonical.dataobj), 0)
    if not box[0].stop:
        raise ValueError("the mask is empty, so there is no grid around it")
    sizes_mm = voxel_sizes(canonical.affine)
    first, end = np.array([edge.start for edge in box]), np.array([edge.stop for edge in box])
    start = np.floor(((first - 0.5) * sizes_mm - margin_mm) / voxel_size_mm)
    stop = np.ceil(((end - 0.5) * sizes_mm + margin_mm) / voxel_size_mm)
    # The nearest rotation, so that the voxels are cubes even when the reference is sheared.
    u, _, v = np.linalg.svd(canonical.affine[:3, :3] / sizes_mm)
    affine = np.eye(4)
    affine[:3, :3] = u @ v * voxel_size_mm
    affine[:3, 3] = canonical.affine[:3, 3] + affine[:3, :3] @ start
    x, y, z = (stop - start + 1).astype(int).tolist()
    return Grid((x, y, z), affine)


def resample(
    image: nib.Nifti1Image, grid: Grid, order: int, fixed_to_moving: NDArray[np.float64] | None = None
) -> nib.Nifti1Image:
    """Bring an image onto a grid by nearest neighbour or linear interpolation.

    A point up to half a voxel beyond the image's outermost voxel centres takes the nearest value, any other outside the
    image is 0. Voxels that fall onto voxels are copied. The result does not depend on the order in which either stores
    its axes.

    Parameters
    ----------
    image : nibabel.Nifti1Image
        (X, Y, Z).
    grid : Grid
        Where to.
    order : {0, 1}
        Nearest neighbour or linear.
    fixed_to_moving : (4, 4) ndarray, optional
        Maps points of the grid's world to the image's world, in mm; identity by default.

    Returns
    -------
    nibabel.Nifti1Image
        On `grid`, of the image's data type.

    Raises
    ------
    ValueError
        If `order` is neither 0 nor 1.
    """
    if order not in (0, 1):
        raise ValueError(f"order must be 0 or 1, not {order}")
    affine = image.affine if fixed_to_moving is None else np.linalg.inv(fixed_to_moving) @ image.affine
    data, to_voxels = np.asarray(image.dataobj), np.linalg.inv(affine) @ grid.affine
    if _maps_voxel_onto_voxel(to_voxels, grid.shape):
        return _image(_copy(data, to_voxels, grid.shape), grid)
    axes, own_axes = io_orientation(image.affine), io_orientation(grid.affine)
    data, affine = apply_orientation(data, axes), affine @ inv_ornt_aff(axes, data.shape)
    x, y, z = (grid.shape[np.flatnonzero(own_axes[:, 0] == axis)[0]] for axis in range(3))
    turned = Grid((x, y, z), grid.affine @ inv_ornt_aff(own_axes, grid.shape))
    return _image(in_order_of(_resample(data, affine, turned, order), grid.affine), grid)


def fraction_inside(
    image: nib.Nifti1Image, mask: nib.Nifti1Image, fixed_to_moving: NDArray[np.float64] | None = None
) -> float:
    """Return the fraction of a mask's voxels that lie inside an image's field of view (0 for an empty mask).

    Parameters
    ----------
    image, mask : Nifti1Image
    fixed_to_moving : (4, 4) array, optional
        Transform from the mask's world to the image's, in RAS+ mm; None for the same world.
    """
    voxels = mask_of(mask)
    if not voxels.any():
        return 0.0
    transform = np.eye(4) if fixed_to_moving is None else fixed_to_moving
    to_voxels = np.linalg.inv(image.affine) @ transform @ mask.affine
    return float(_inside(to_voxels, voxels.shape, image.shape)[voxels].mean())


def _resample(data: NDArray[Any], affine: NDArray[np.float64], grid: Grid, order: int) -> NDArray[Any]:
    """Interpolate an image; `affine` maps its voxels to the grid's world."""
    to_voxels = np.linalg.inv(affine) @ grid.affine
    result = np.zeros(grid.shape, data.dtype)
    part = _not_zero(data, 1)  # a few lesions in a head: zeros need no interpolation
    corner = from_matvec(np.eye(3), [edge.start for edge in part])
    data, affine, to_voxels = data[part], affine @ corner, np.linalg.inv(corner) @ to_voxels
    box = _box_around(to_voxels, grid.shape, data.shape)
    shape = tuple(edge.stop - edge.start for edge in box)
    if not data.size or not all(shape):
        return result
    start = from_matvec(np.eye(3), [edge.start for edge in box])
    if order == 0 and np.all(data == data.flat[0]):  # a field of view: its voxels need not be located
        values = data.flat[0]
    elif order == 0:
        moved = nib.Nifti1Image(data, affine, dtype=data.dtype)
        values = resample_from_to(moved, (shape, grid.affine @ start), order=0, mode="nearest").dataobj
    else:
        values = _interpolate(data, to_voxels @ start, shape)
        values = np.rint(values) if data.dtype.kind in "iu" else values
    result[box] = np.where(_inside(to_voxels @ start, shape, data.shape), values, 0)
    return result


def _image(data: NDArray[Any], grid: Grid) -> nib.Nifti1Image:
    image = nib.Nifti1Image(data, grid.affine, dtype=data.dtype)
    image.header.set_xyzt_units("mm")
    return image


def _not_zero(data: NDArray[Any], margin: int) -> tuple[slice, ...]:
    """Return the part of an image that is not 0, with a margin in voxels; empty if all is 0."""
    voxels, part = data != 0, []
    for axis, size in enumerate(data.shape):
        indices = np.flatnonzero(voxels.any(axis=tuple(other for other in range(3) if other != axis)))
        start, stop = (indices[0] - margin, indices[-1] + 1 + margin) if len(indices) else (0, 0)
        part.append(slice(max(0, int(start)), min(int(stop), size)))
    return tuple(part)


def _box_around(
    to_voxels: NDArray[np.float64], shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """Return the part of a grid of `shape` that holds an image; `to_voxels` maps grid voxels to the image's."""
    corners = np.array(list(product(*((-0.5, n - 0.5) for n in image_shape))))
    on_grid = apply_affine(np.linalg.inv(to_voxels), corners)
    starts = np.clip(np.floor(on_grid.min(axis=0)).astype(int), 0, shape)
    stops = np.clip(np.ceil(on_grid.max(axis=0)).astype(int) + 1, 0, shape)
    return tuple(slice(a, b) for a, b in zip(starts.tolist(), stops.tolist(), strict=True))


def _inside(to_voxels: NDArray[np.float64], shape: tuple[int, ...], image_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which grid points, mapped by `to_voxels`, lie within the outer faces of an image's voxels."""
    i, j, k = np.ogrid[tuple(slice(n) for n in shape)]
    # Along the first axis, the grid points inside are one interval, since an image is convex.
    first, last = np.zeros((1, *shape[1:])), np.full((1, *shape[1:]), shape[0] - 1.0)
    for row, size in zip(to_voxels, image_shape, strict=False):
        rest = row[1] * j + row[2] * k + row[3]
        low, high = -0.5 - 1e-6 - rest, size - 0.5 + 1e-6 - rest
        if abs(row[0]) < _PARALLEL:
            last = np.where((low <= 0) & (high >= 0), last, -1)
        else:
            ends = low / row[0], high / row[0]
            first, last = np.maximum(first, np.minimum(*ends)), np.minimum(last, np.maximum(*ends))
    return np.asarray((i >= first) & (i <= last))


def _interpolate(data: NDArray[Any], to_voxels: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate linearly at grid points, mapped by `to_voxels`, in half of scipy's time.

    Beyond the outermost voxels' centres, the nearest value is taken.
    """
    import torch  # levels that only read results don't need it

    # Where -1 and 1 are an axis's first and last voxel, axes in reverse.
    scale = 2 / np.maximum(np.array(data.shape) - 1, 1)
    linear = torch.from_numpy((to_voxels[:3, :3] * scale[:, None])[::-1].astype(np.float32))
    shift = torch.from_numpy((to_voxels[:3, 3] * scale - 1)[::-1].astype(np.float32))
    i, j, k = (torch.arange(size)[:, None] * column for size, column in zip(shape, linear.T, strict=True))
    source = torch.from_numpy(np.require(data, np.float32, ["C", "W"]))[None, None]
    values = np.empty(shape, np.float32)
    for start in range(0, len(i), _PLANES):
        part = slice(start, start + _PLANES)
        places = i[part, None, None] + (j[:, None] + (k + shift))
        sampled = torch.nn.functional.grid_sample(
            source, places[None], mode="bilinear", padding_mode="border", align_corners=True
        )
        values[part] = sampled[0, 0].numpy()
    return values


def _maps_voxel_onto_voxel(to_voxels: NDArray[np.float64], shape: tuple[int, ...]) -> bool:
    """Whether axes only swap and flip, by whole voxels, with less than 0.01 voxel of drift over the grid."""
    linear = to_voxels[:3, :3]
    rounded = np.rint(linear)
    if not np.all(np.abs(rounded).sum(axis=0) == 1) or not np.all(np.abs(rounded).sum(axis=1) == 1):
        return False
    drift = np.abs(linear - rounded) @ np.asarray(shape)
    shift = np.abs(to_voxels[:3, 3] - np.rint(to_voxels[:3, 3]))
    return bool(np.max(drift + shift) < _INTEGER_TOLERANCE)


def _copy(data: NDArray[Any], to_voxels: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[Any]:
    """Copy, crop and pad with 0; `to_voxels` maps voxels onto voxels."""
    signs = np.rint(to_voxels[:3, :3]).astype(int)
    source_axes = np.abs(signs).argmax(axis=0).tolist()
    backwards = [axis for axis, source_axis in enumerate(source_axes) if signs[source_axis, axis] < 0]
    turned = np.flip(data.transpose(source_axes), backwards)
    target, source = [], []
    for axis, source_axis in enumerate(source_axes):
        length = turned.shape[axis]
        offset = int(np.rint(to_voxels[source_axis, 3]))
        first = length - 1 - offset if axis in backwards else offset
        start, stop = max(0, -first), max(0, -first, min(shape[axis], length - first))
        target.append(slice(start, stop))
        source.append(slice(start + first, stop + first))
    result = np.zeros(shape, dtype=data.dtype)
    result[tuple(target)] = turned[tuple(source)]
    return result
