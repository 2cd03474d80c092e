"""Warps from one person's head to another's: the place in the label map of each voxel of a new grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_cascade.synthesis.anatomy import Anatomy
from bids_cascade.synthesis.config import WarpConfig
from bids_cascade.synthesis.fields import FloatArray, along_axes, linear_weights, smooth_noise

_LATTICE_MM = 6
"""Spacing at which the warp is computed; it is linear between."""

_REACH_MM = 160
"""Half the edge of the cube around the brain over which the elastic part is defined."""


@dataclass(frozen=True, eq=False)
class Warp:
    """Maps points of a new head's world, mm RAS with the brain's centre at 0, to voxels of a label map.

    Attributes
    ----------
    linear : (3, 3) array
    centre : (3,) array
        Voxel of the label map that is mapped to 0.
    elastic : (3, L, L, L) float32 array
        Displacement in voxels on a lattice of points 6 mm apart, centred at 0.
    """

    linear: NDArray[np.float64]
    centre: NDArray[np.float64]
    elastic: FloatArray

    def voxels_at(self, shape: tuple[int, int, int], affine: NDArray[np.float64]) -> FloatArray:
        """Return the place in the label map of each voxel of a grid.

        Parameters
        ----------
        shape : tuple of int
            (X, Y, Z) of the grid.
        affine : (4, 4) array
            Its voxels to the new head's world, in mm; about 1 mm a voxel.

        Returns
        -------
        (3, X, Y, Z) float32 array
        """
        coarse = [np.arange(0, n + _LATTICE_MM, _LATTICE_MM) for n in shape]
        lattice = np.stack(np.meshgrid(*coarse, indexing="ij"))
        lattice_voxels = self._lattice_voxels(lattice, affine)
        weights = [linear_weights(np.arange(n) / _LATTICE_MM, len(c)) for n, c in zip(shape, coarse, strict=True)]
        return np.stack([along_axes(axis_voxels, weights) for axis_voxels in lattice_voxels])

    def _lattice_voxels(self, lattice: NDArray[np.int64], affine: NDArray[np.float64]) -> FloatArray:
        world = np.tensordot(affine[:3, :3], lattice, axes=1) + affine[:3, 3, None, None, None]
        place = world / _LATTICE_MM + (self.elastic.shape[1] - 1) / 2
        moved = np.stack(
            [ndimage.map_coordinates(component, place, order=1, mode="nearest") for component in self.elastic]
        )
        rigid = np.tensordot(self.linear, world, axes=1) + self.centre[:, None, None, None]
        return np.asarray(rigid + moved, np.float32)


def draw_warp(anatomy: Anatomy, config: WarpConfig, rng: np.random.Generator) -> Warp:
    """Draw a new head's shape and pose: mirrored or not, turned, scaled, sheared and bent."""
    turn = Rotation.from_euler("xyz", rng.uniform(*config.rotation_deg, 3), degrees=True).as_matrix()
    stretch = np.diag(1 / rng.uniform(*config.scale, 3))
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = rng.uniform(*config.shear, 3)
    mirror = np.diag([-1.0 if rng.random() < config.flip_fraction else 1.0, 1.0, 1.0])
    spacing = rng.uniform(*config.elastic_spacing_mm) / _LATTICE_MM
    size = 2 * _REACH_MM // _LATTICE_MM + 1
    sd = rng.uniform(*config.elastic_sd_mm)
    elastic = np.stack([sd * smooth_noise(rng, (size, size, size), spacing) for _ in range(3)])
    return Warp(mirror @ stretch @ shear @ turn, _brain_centre(anatomy), elastic)


def draw_motion(config: WarpConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the rigid motion between two scans of a visit, (4, 4), mm."""
    return _rigid(rng.uniform(*config.motion_deg, 3), rng.uniform(*config.motion_mm, 3))


def draw_misregistration(config: WarpConfig, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the misregistration between two scans, (4, 4), mm."""
    return _rigid(np.zeros(3), rng.uniform(*config.misregistration_mm, 3))


def brain_bounds_mm(anatomy: Anatomy, warp: Warp) -> NDArray[np.float64]:
    """Return the lowest and highest corner, (2, 3), of the warped brain in the new head's world, to some 3 mm."""
    return _bounds_mm(anatomy, warp, anatomy.brain_depth_mm.astype(np.float32) > 0, anatomy.corner)


def head_bounds_mm(anatomy: Anatomy, warp: Warp) -> NDArray[np.float64]:
    """Return the lowest and highest corner, (2, 3), of the warped head in the new head's world, to some 3 mm."""
    return _bounds_mm(anatomy, warp, anatomy.tissue > 0, np.zeros(3, np.int64))


def _bounds_mm(anatomy: Anatomy, warp: Warp, mask: NDArray[np.bool_], corner: NDArray[np.int64]) -> NDArray[np.float64]:
    n = 2 * _REACH_MM // _LATTICE_MM + 1
    affine = np.diag([_LATTICE_MM, _LATTICE_MM, _LATTICE_MM, 1.0])
    affine[:3, 3] = -_REACH_MM // _LATTICE_MM * _LATTICE_MM
    voxels = warp._lattice_voxels(np.indices((n, n, n)), affine) - corner[:, None, None, None]
    inside = np.argwhere(ndimage.map_coordinates(mask.astype(np.uint8), voxels, order=0))
    edges = np.stack([inside.min(axis=0) - 0.5, inside.max(axis=0) + 0.5])
    return np.asarray(edges * _LATTICE_MM + affine[:3, 3])


def _brain_centre(anatomy: Anatomy) -> NDArray[np.float64]:
    box = np.array([[part.start, part.stop] for part in anatomy.box])
    return np.asarray(box.mean(axis=1))


def _rigid(degrees: NDArray[np.float64], shift_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    motion[:3, 3] = shift_mm
    return motion
