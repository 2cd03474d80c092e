"""The half-way space: symmetric, half-way, and big enough."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bids_cascade.change.halfway import halfway_grid, split, square_root, symmetric


def rigid(degrees, shift_mm):
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    transform[:3, 3] = shift_mm
    return transform


FORWARD = rigid([4, -7, 12], [5, -9, 14])


@pytest.mark.parametrize("transform", [np.eye(4), FORWARD, rigid([0, 0, 170], [1, 2, 3])])
def test_square_root_done_twice_is_the_transform(transform):
    root = square_root(transform)
    np.testing.assert_allclose(root @ root, transform, atol=1e-9)
    np.testing.assert_allclose(root[:3, :3] @ root[:3, :3].T, np.eye(3), atol=1e-9)


def test_square_root_of_a_turn_is_half_the_turn():
    np.testing.assert_allclose(square_root(rigid([0, 0, 40], [0, 0, 0])), rigid([0, 0, 20], [0, 0, 0]), atol=1e-9)


def test_exchanging_the_visits_inverts_the_transform():
    backward = np.linalg.inv(rigid([4.3, -6.8, 12.1], [5.2, -9.1, 13.8]))
    one, other = symmetric(FORWARD, backward), symmetric(backward, FORWARD)
    np.testing.assert_allclose(one @ other, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(one[:3, :3] @ one[:3, :3].T, np.eye(3), atol=1e-9)


def test_registrations_that_agree_stay_as_they_are():
    np.testing.assert_allclose(symmetric(FORWARD, np.linalg.inv(FORWARD)), FORWARD, atol=1e-9)


def test_space_is_as_far_from_both_visits():
    space = split(FORWARD)
    np.testing.assert_allclose(space.half_to_later @ np.linalg.inv(space.half_to_earlier), FORWARD, atol=1e-9)
    np.testing.assert_allclose(space.half_to_later, np.linalg.inv(space.half_to_earlier), atol=1e-9)


def test_grid_holds_both_brains_and_is_the_same_either_way():
    brains = []
    for start in (2, 5):
        mask = np.zeros((20, 24, 18), np.uint8)
        mask[start : start + 10, start : start + 12, start : start + 8] = 1
        brains.append(nib.Nifti1Image(mask, np.diag([2, 2, 3, 1.0])))
    space, back = split(FORWARD), split(np.linalg.inv(FORWARD))
    grid, other = halfway_grid(space, *brains, 1.0), halfway_grid(back, *brains[::-1], 1.0)
    assert grid.shape == other.shape
    np.testing.assert_allclose(grid.affine, other.affine)
    for brain, to_own in zip(brains, (space.half_to_earlier, space.half_to_later), strict=True):
        voxels = np.argwhere(np.asarray(brain.dataobj))
        to_grid = np.linalg.inv(grid.affine) @ np.linalg.inv(to_own) @ brain.affine
        places = nib.affines.apply_affine(to_grid, voxels)
        assert places.min() >= 0
        assert (places.max(axis=0) <= np.array(grid.shape) - 1).all()
