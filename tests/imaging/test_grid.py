import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from bids_cascade.imaging.grid import (
    Grid,
    fraction_inside,
    grid_of,
    in_order_of,
    in_ras_order,
    model_grid,
    resample,
)


def image_of(data, affine):
    return nib.Nifti1Image(np.asarray(data), affine)


def ramp_image(shape, affine):
    """Image whose value is a linear function of world position."""
    x, y, z = apply_affine(affine, np.stack(np.indices(shape), axis=-1)).transpose(3, 0, 1, 2)
    return image_of((100 + x + 2 * y - 3 * z).astype(np.float32), affine)


def box_mask(shape, affine, box):
    mask = np.zeros(shape, np.uint8)
    mask[box] = 1
    return image_of(mask, affine)


LPS_1MM = np.array([[-1, 0, 0, 20], [0, -1, 0, 30], [0, 0, 1, -5], [0, 0, 0, 1.0]])
TURN = np.array([[0.96, -0.28, 0, 5], [0.28, 0.96, 0, -3], [0, 0, 1, 2], [0, 0, 0, 1.0]])


def test_voxel_volume():
    assert Grid((2, 2, 2), np.diag([-0.5, 2.0, 3.0, 1.0])).voxel_volume_mm3 == pytest.approx(3.0)


def test_model_grid_of_a_1mm_image_copies_voxels():
    rng = np.random.default_rng(0)
    image = image_of(rng.normal(size=(20, 22, 24)).astype(np.float32), LPS_1MM)
    mask = box_mask(image.shape, LPS_1MM, np.s_[5:15, 6:16, 7:17])
    grid = model_grid(image, mask, 1.0, margin_mm=2.0)
    assert nib.aff2axcodes(grid.affine) == ("R", "A", "S")
    moved = resample(image, grid, 1).get_fdata()
    # The box of 10 voxels, half a voxel and 2 mm on each side rounded outwards.
    assert moved.shape == (16, 16, 16)
    np.testing.assert_array_equal(moved, image.get_fdata()[2:18, 3:19, 4:20][::-1, ::-1])


@pytest.mark.parametrize("affine", [np.diag([0.7, 0.7, 3.0, 1.0]), TURN @ np.diag([-0.9, 0.9, 6.0, 1.0])])
def test_model_grid_is_isotropic_and_holds_the_mask_with_its_margin(affine):
    mask = box_mask((40, 40, 10), affine, np.s_[10:30, 12:25, 3:8])
    grid = model_grid(mask, mask, 1.0, margin_mm=5.0)
    np.testing.assert_allclose(grid.affine[:3, :3].T @ grid.affine[:3, :3], np.eye(3), atol=1e-9)
    corners = np.stack(np.meshgrid([9.5, 29.5], [11.5, 24.5], [2.5, 7.5], indexing="ij"), axis=-1).reshape(-1, 3)
    at = apply_affine(np.linalg.inv(grid.affine) @ affine, corners)
    assert (at.min(axis=0) >= 5 - 1e-6).all()
    assert (at.min(axis=0) < 6 + 1e-6).all()
    assert (np.array(grid.shape) - 1 - at.max(axis=0) >= 5 - 1e-6).all()


def test_model_grid_refuses_an_empty_mask():
    empty = image_of(np.zeros((5, 5, 5), np.uint8), np.eye(4))
    with pytest.raises(ValueError, match="mask is empty"):
        model_grid(empty, empty, 1.0, margin_mm=2.0)


def test_resample_of_a_linear_image_is_exact():
    image = ramp_image((30, 30, 12), TURN @ np.diag([1.0, 1.0, 3.0, 1.0]))
    grid = Grid((10, 10, 10), np.array([[1, 0, 0, 6], [0, 1, 0, 9], [0, 0, 1, 12], [0, 0, 0, 1.0]]))
    np.testing.assert_allclose(
        resample(image, grid, 1).get_fdata(), ramp_image(grid.shape, grid.affine).get_fdata(), atol=1e-3
    )


@pytest.mark.parametrize("order", [0, 1])
def test_resample_applies_the_transform_in_the_stated_direction(order):
    image = image_of(np.arange(8**3, dtype=np.float32).reshape(8, 8, 8), np.eye(4))
    shift = np.eye(4)
    shift[:3, 3] = [2.5, 0, 0] if order else [2.0, 0, 0]
    point = resample(image, Grid((1, 1, 1), np.array(np.eye(4) + np.eye(4, k=3) * 0)), order, shift).get_fdata()
    assert point.item() == pytest.approx(image.get_fdata()[2:4, 0, 0].mean() if order else image.get_fdata()[2, 0, 0])


def test_resample_holds_the_edge_for_half_a_voxel_and_is_zero_beyond():
    image = image_of(np.full((4, 4, 4), 5, np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    affine = np.diag([0.5, 2.0, 2.0, 1.0])
    affine[0, 3] = -1.75
    found = resample(image, Grid((22, 4, 4), affine), 1).get_fdata()[:, 1, 1]
    x = -1.75 + 0.5 * np.arange(22)
    np.testing.assert_array_equal(found, np.where((x >= -1) & (x <= 7), 5, 0))


def test_resample_keeps_integer_types_and_refuses_other_orders():
    image = box_mask((9, 9, 9), np.eye(4), np.s_[3:6, 3:6, 3:6])
    grid = Grid((18, 18, 18), np.array([[0.5, 0, 0, 0.1], [0, 0.5, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 1]]))
    moved = resample(image, grid, 0)
    assert moved.get_data_dtype() == np.uint8
    assert np.asarray(moved.dataobj).sum() == 27 * 8
    even = resample(image_of(np.full((9, 9, 9), 100, np.int16), np.eye(4)), grid, 1, TURN)
    assert even.get_data_dtype() == np.int16
    assert set(np.unique(even.dataobj)) == {0, 100}
    with pytest.raises(ValueError, match="order"):
        resample(image, grid, 3)


def test_resample_returns_a_copy_on_its_own_grid():
    image = ramp_image((6, 7, 8), LPS_1MM)
    moved = resample(image, grid_of(image), 1)
    np.testing.assert_array_equal(moved.get_fdata(), image.get_fdata())
    assert moved.dataobj is not image.dataobj


def test_fraction_inside():
    mask = box_mask((10, 10, 10), np.eye(4), np.s_[:, :, :])
    shift = np.eye(4)
    shift[0, 3] = 3
    assert fraction_inside(mask, mask) == 1
    assert fraction_inside(mask, mask, shift) == pytest.approx(0.7)
    shift[0, 3] = 30
    assert fraction_inside(mask, mask, shift) == 0
    assert fraction_inside(mask, image_of(np.zeros((3, 3, 3)), np.eye(4))) == 0


def test_resampling_of_a_small_image_onto_a_large_grid_is_that_of_every_point():
    rng = np.random.default_rng(3)
    turn = from_matvec(Rotation.from_euler("xyz", [20, -10, 35], degrees=True).as_matrix(), [4, -3, 6])
    image = nib.Nifti1Image(rng.random((7, 9, 5), dtype=np.float32), np.diag([1.0, 1.2, 2.0, 1.0]))
    grid = Grid((30, 28, 32), from_matvec(np.diag([0.9, 1.1, 1.0]), [-9, -8, -10]))
    points = np.moveaxis(np.indices(grid.shape), 0, -1)
    voxels = apply_affine(np.linalg.inv(image.affine) @ turn @ grid.affine, points)
    inside = np.all((voxels >= -0.5) & (voxels <= np.array(image.shape) - 0.5), axis=-1)
    expected = map_coordinates(image.get_fdata(), np.moveaxis(voxels, -1, 0), order=1, mode="nearest") * inside
    assert inside.any()
    np.testing.assert_allclose(resample(image, grid, 1, turn).get_fdata(), expected, atol=1e-6)


def test_a_field_of_view_is_where_any_other_image_is_seen():
    grid = Grid((30, 32, 34), np.diag([1.0, 1, 1, 1]))
    ones = image_of(np.ones((10, 12, 14), np.uint8), LPS_1MM)
    halves = np.ones(ones.shape, np.uint8)
    halves[5:] = 2
    seen = resample(image_of(halves, LPS_1MM), grid, 0, TURN)
    found = resample(ones, grid, 0, TURN)
    np.testing.assert_array_equal(found.dataobj, np.asarray(seen.dataobj) > 0)
    assert found.get_data_dtype() == np.uint8
    assert np.asarray(found.dataobj).any()


@pytest.mark.parametrize("order", [0, 1])
def test_zeros_around_an_image_change_nothing(order):
    inner = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    around = np.zeros((20, 22, 24), np.float32)
    around[5:11, 6:13, 0:8] = inner
    grid = Grid((40, 42, 44), np.diag([0.9, 0.8, 0.7, 1]))
    x, y, z = np.stack(np.indices(grid.shape), axis=-1).reshape(-1, 3).T
    voxels = apply_affine(np.linalg.inv(LPS_1MM) @ TURN @ grid.affine, np.stack([x, y, z], axis=-1)).T
    expected = map_coordinates(around, voxels, order=order, mode="nearest").reshape(grid.shape)
    inside = np.all((voxels >= -0.5) & (voxels <= np.array([[20], [22], [24]]) - 0.5), axis=0).reshape(grid.shape)
    found = resample(image_of(around, LPS_1MM), grid, order, TURN)
    np.testing.assert_allclose(found.dataobj, np.where(inside, expected, 0), atol=1e-5)
    assert np.asarray(found.dataobj).any()
    assert not np.asarray(resample(image_of(np.zeros_like(around), LPS_1MM), grid, order, TURN).dataobj).any()


@pytest.mark.parametrize("axes", ["LPS", "PIR", "SAL"])
@pytest.mark.parametrize("order", [0, 1])
def test_resampling_does_not_depend_on_the_order_of_the_axes(axes, order):
    rng = np.random.default_rng(2)
    image = image_of(rng.normal(size=(20, 24, 11)).astype(np.float32), np.diag([1.0, 1.0, 2.5, 1.0]))
    # At half a voxel a nearest neighbour is a matter of rounding.
    grid = Grid((22, 21, 28), TURN @ from_matvec(np.eye(3), [-1.5, 2, -2.5]))
    turns = ornt_transform(io_orientation(np.eye(4)), axcodes2ornt(axes))
    turned_image = image.as_reoriented(turns)
    turned_grid = grid_of(image_of(np.zeros(grid.shape), grid.affine).as_reoriented(turns))
    expected = resample(image, grid, order).as_reoriented(turns).get_fdata()
    np.testing.assert_array_equal(resample(turned_image, turned_grid, order).get_fdata(), expected)
    np.testing.assert_array_equal(resample(image, turned_grid, order).get_fdata(), expected)
    assert np.count_nonzero(expected) > 3000
    assert in_ras_order(turned_image).get_fdata().tobytes() == image.get_fdata().tobytes()
    np.testing.assert_array_equal(in_order_of(image.get_fdata(), turned_image.affine), turned_image.get_fdata())
