"""Where the voxels of a new head come from."""

from dataclasses import replace

import numpy as np

from bids_cascade.synthesis.anatomy import Tissue
from bids_cascade.synthesis.config import WarpConfig
from bids_cascade.synthesis.warp import Warp, brain_bounds_mm, draw_motion, draw_warp, head_bounds_mm

NONE = (0.0, 0.0)
STILL = WarpConfig(
    flip_fraction=0,
    rotation_deg=NONE,
    scale=(1.0, 1.0),
    shear=NONE,
    elastic_sd_mm=NONE,
    motion_mm=NONE,
    motion_deg=NONE,
)


def centre_of(anatomy):
    return np.array([(part.start + part.stop) / 2 for part in anatomy.box])


def test_without_any_change_the_grid_is_the_map(anatomy) -> None:
    warp = draw_warp(anatomy, STILL, np.random.default_rng(0))
    affine = np.eye(4)
    affine[:3, 3] = -centre_of(anatomy)
    voxels = warp.voxels_at(anatomy.tissue.shape, affine)
    assert np.allclose(voxels, np.indices(anatomy.tissue.shape), atol=1e-3)
    assert np.array_equal(draw_motion(STILL, np.random.default_rng(0)), np.eye(4))


def test_mirrored(anatomy) -> None:
    warp = draw_warp(anatomy, replace(STILL, flip_fraction=1), np.random.default_rng(0))
    point = np.eye(4)
    point[:3, 3] = [7, -3, 2]
    assert np.allclose(warp.voxels_at((2, 2, 2), point)[:, 0, 0, 0], np.add(centre_of(anatomy), [-7, -3, 2]), atol=1e-4)


def test_lattice_is_fine_enough(anatomy) -> None:
    """The fast way, by a lattice, equals following each voxel through the warp."""
    warp = draw_warp(anatomy, WarpConfig(), np.random.default_rng(3))
    affine = np.eye(4)
    affine[:3, 3] = [-20, -31, 4]
    shape = (25, 19, 22)
    direct = warp._lattice_voxels(np.indices(shape), affine)
    assert np.abs(warp.voxels_at(shape, affine) - direct).max() < 0.35
    assert np.abs(warp.voxels_at(shape, affine) - direct).mean() < 0.06


def test_moving_the_grid_moves_what_it_sees(anatomy) -> None:
    """A voxel of a moved grid sees what the same point of the still world sees."""
    warp = draw_warp(anatomy, WarpConfig(), np.random.default_rng(4))
    motion = draw_motion(WarpConfig(), np.random.default_rng(5))
    point = motion @ np.array([5.0, 6.0, 7.0, 1.0])
    still = np.eye(4)
    still[:3, 3] = point[:3]
    moved = warp.voxels_at((20, 20, 20), motion)[:, 5, 6, 7]
    assert np.allclose(moved, warp.voxels_at((2, 2, 2), still)[:, 0, 0, 0], atol=0.3)


def test_bounds_hold_brain_and_head(anatomy) -> None:
    warp: Warp = draw_warp(anatomy, STILL, np.random.default_rng(0))
    brain, head = brain_bounds_mm(anatomy, warp), head_bounds_mm(anatomy, warp)
    for bounds, mask, corner in (
        (brain, anatomy.brain_depth_mm > 0, anatomy.corner),
        (head, anatomy.tissue != Tissue.AIR, np.zeros(3)),
    ):
        inside = np.argwhere(mask) + corner - centre_of(anatomy)
        assert (np.abs(bounds - [inside.min(axis=0), inside.max(axis=0)]) < 6).all()


def test_same_seed_same_warp(anatomy) -> None:
    first, second, other = (draw_warp(anatomy, WarpConfig(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.elastic, second.elastic)
    assert np.array_equal(first.linear, second.linear)
    assert not np.array_equal(first.linear, other.linear)
