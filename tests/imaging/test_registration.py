from functools import cache

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_cascade.errors import BadDataError, MissingInputError
from bids_cascade.imaging.brain import brain_mask
from bids_cascade.imaging.grid import Grid, resample
from bids_cascade.imaging.images import from_ants, load_ants, load_image, to_ants
from bids_cascade.imaging.registration import (
    _coarser,
    _placed,
    looks_failed,
    read_itk_transform,
    register_rigid,
    registration_quality,
    write_itk_transform,
)

CENTRE_MM = np.array([100.0, 100.0, 100.0])


def rigid(degrees, shift_mm):
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    transform[:3, 3] = CENTRE_MM + shift_mm - transform[:3, :3] @ CENTRE_MM
    return transform


@cache
def scene():
    """Fixed image with blobs of three tissues, its mask, and the same with another contrast."""
    rng = np.random.default_rng(3)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    noise = ndimage.gaussian_filter(rng.normal(size=(100, 100, 100)), 4)
    distance = np.linalg.norm(2 * np.indices(noise.shape).transpose(1, 2, 3, 0) - [100, 100, 100], axis=-1)
    tissue = np.where(distance < 70, 1 + np.digitize(noise, np.quantile(noise, [0.3, 0.7])), 0)
    fixed, moving = np.array([0, 50, 100, 150])[tissue], np.array([0, 120, 60, 90])[tissue]
    mask = nib.Nifti1Image((tissue > 0).astype(np.uint8), affine)
    return *(nib.Nifti1Image((d + rng.normal(size=d.shape)).astype(np.float32), affine) for d in (fixed, moving)), mask


def moved(image, fixed_to_moving):
    """Relabel the world so that `fixed_to_moving` is the right answer, on a thick-sliced grid."""
    affine = fixed_to_moving @ image.affine @ np.diag([1, 1, 2, 1.0])
    return resample(image, Grid((100, 100, 50), affine), 1, np.linalg.inv(fixed_to_moving))


def error_mm(a, b):
    corners = CENTRE_MM + 60 * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1.0]])
    return np.linalg.norm(apply_affine(a, corners) - apply_affine(b, corners), axis=1).max()


TRUE = rigid([6, -4, 8], [5, -7, 4])


@pytest.fixture(scope="module")
def registered():
    """Return an image that was moved by :data:`TRUE`, and its registration."""
    fixed, other, mask = scene()
    moving = moved(other, TRUE)
    return moving, register_rigid(moving, fixed, mask, seed=4)


def test_known_transform_is_found_and_two_runs_are_equal(registered):
    fixed, _, mask = scene()
    moving, first = registered
    second = register_rigid(moving, fixed, mask, seed=4)
    assert first.method == "rigid"
    assert error_mm(first.fixed_to_moving, TRUE) < 0.5
    assert first.fixed_to_moving.tobytes() == second.fixed_to_moving.tobytes()
    np.testing.assert_allclose(first.fixed_to_moving[:3, :3] @ first.fixed_to_moving[:3, :3].T, np.eye(3), atol=1e-9)
    assert not looks_failed(first.quality)
    assert first.fraction_inside > 0.95
    assert looks_failed(registration_quality(moving, fixed, mask, rigid([0, 0, 0], [15, 0, 0]) @ TRUE))


def test_images_that_agree_on_one_grid_stay_where_they_are():
    fixed, other, mask = scene()
    found = register_rigid(other, fixed, mask)
    assert found.method == "identity"
    assert (found.fixed_to_moving == np.eye(4)).all()
    assert found.fraction_inside == 1


def test_the_order_of_the_axes_makes_no_difference(registered):
    fixed, other, mask = scene()
    axes = [[1, -1], [2, 1], [0, -1]]
    assert register_rigid(other.as_reoriented(axes), fixed, mask).method == "identity"
    moving, expected = registered
    found = register_rigid(*(image.as_reoriented(axes) for image in (moving, fixed, mask)), seed=4)
    np.testing.assert_allclose(found.fixed_to_moving, expected.fixed_to_moving, atol=1e-9)


def test_single_precision_of_a_header_does_not_move_an_image():
    """Optimisation turns nanometres into hundredths of a millimetre."""
    _, other, _ = scene()
    moving = moved(other, TRUE)
    turned = nib.Nifti1Image(moving.dataobj, moving.affine.astype(np.float32).astype(float))
    assert (turned.affine[:3, 3] != moving.affine[:3, 3]).any()
    placed = _placed(moving).affine[:3, 3]
    np.testing.assert_array_equal(_placed(turned).affine[:3, 3], placed)
    assert 0 < np.abs(placed - moving.affine[:3, 3]).max() <= 0.005


def test_too_large_an_image_is_made_coarser_where_it_is_finest(monkeypatch):
    """Of 40 x 40 x 12 voxels of 1, 1 and 3 mm, 19,200, first two axes are halved: 4,800."""
    monkeypatch.setattr("bids_cascade.imaging.registration._MOST_VOXELS", 5000)
    x, y, z = np.indices((40, 40, 12)) * np.array([1, 1, 3]).reshape(3, 1, 1, 1)
    image = nib.Nifti1Image((x + 2 * y - z).astype(np.float32), np.diag([1.0, 1.0, 3.0, 1.0]))
    coarse = _coarser(image)
    assert coarse.shape == (20, 20, 12)
    at = apply_affine(coarse.affine, np.stack(np.indices(coarse.shape), axis=-1))
    np.testing.assert_allclose(coarse.get_fdata(), at @ [1, 2, -1], atol=1e-4)
    monkeypatch.setattr("bids_cascade.imaging.registration._MOST_VOXELS", 20000)
    assert _coarser(image) is image


def test_images_that_disagree_on_one_grid_are_registered():
    fixed, other, mask = scene()
    displaced = resample(other, Grid(other.shape, other.affine), 1, np.linalg.inv(TRUE))
    found = register_rigid(displaced, fixed, mask)
    assert found.method == "rigid"
    assert error_mm(found.fixed_to_moving, TRUE) < 0.5


def test_start_from_centres_when_headers_are_far_off():
    fixed, other, mask = scene()
    true = rigid([5, 0, -5], [60, -40, 30])
    assert error_mm(register_rigid(moved(other, true), fixed, mask).fixed_to_moving, true) < 0.5


def test_images_apart_are_refused_by_name():
    fixed, other, mask = scene()
    apart = nib.Nifti1Image(other.dataobj, rigid([0, 0, 0], [500, 0, 0]) @ other.affine)
    apart.set_filename("sub-01_FLAIR.nii.gz")
    with pytest.raises(BadDataError, match=r"sub-01_FLAIR.* does not overlap"):
        register_rigid(apart, fixed, mask)
    assert registration_quality(apart, fixed, mask, np.eye(4)) == 0


def test_itk_transform_round_trip(tmp_path):
    for name in ("a.txt", "b.txt"):
        write_itk_transform(TRUE, tmp_path / name)
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()
    np.testing.assert_allclose(read_itk_transform(tmp_path / "a.txt"), TRUE, atol=1e-12)


def test_ants_applies_the_written_transform_as_we_do(tmp_path):
    fixed, other, _ = scene()
    moving = moved(other, TRUE)
    write_itk_transform(TRUE, tmp_path / "a.txt")
    applied = load_ants().apply_transforms(
        to_ants(fixed), to_ants(moving), [str(tmp_path / "a.txt")], interpolator="linear"
    )
    ours = resample(moving, Grid(fixed.shape, fixed.affine), 1, TRUE).get_fdata()
    inner = np.s_[20:80, 20:80, 20:80]
    np.testing.assert_allclose(from_ants(applied).get_fdata()[inner], ours[inner], atol=0.05)


def test_transform_with_a_centre_is_read(tmp_path):
    (tmp_path / "a.tfm").write_text(
        "#Insight Transform File V1.0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
        "Parameters: 0 -1 0 1 0 0 0 0 1 1 2 3\nFixedParameters: 10 0 0\n"
    )
    # In LPS+ (0, 0, 0) maps to M (0 - c) + c + t = (0, -10, 0) + (10, 0, 0) + (1, 2, 3).
    np.testing.assert_allclose(apply_affine(read_itk_transform(tmp_path / "a.tfm"), [0, 0, 0]), [-11, 8, 3])


@pytest.mark.parametrize("text", ["", "hello", "Parameters: 1 2\nFixedParameters: 0 0 0\n", "Parameters: a\n"])
def test_other_files_are_not_transforms(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(BadDataError, match="not an ITK text file"):
        read_itk_transform(tmp_path / "a.txt")
    with pytest.raises(MissingInputError):
        read_itk_transform(tmp_path / "b.txt")


@pytest.mark.data
@pytest.mark.slow
def test_quality_tells_right_from_wrong_on_a_real_visit(shared_data):
    folder = shared_data / "longitudinal/sub-03/ses-2/anat"
    t1w, flair = (load_image(folder / f"sub-03_ses-2_{suffix}.nii.gz") for suffix in ("T1w", "FLAIR"))
    mask = brain_mask(t1w).mask
    found = register_rigid(flair, t1w, mask)
    assert not looks_failed(found.quality)
    for degrees, shift_mm in [((0, 0, 0), (10, 0, 0)), ((12, 0, 0), (0, 0, 0)), ((0, 0, 15), (0, 10, 0))]:
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
        turn[:3, 3] = shift_mm
        assert looks_failed(registration_quality(flair, t1w, mask, found.fixed_to_moving @ turn))
