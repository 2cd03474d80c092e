from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from bids_cascade.anatomy import registration
from bids_cascade.anatomy.registration import (
    Deformation,
    Effort,
    _take_transform,
    coarse,
    move_points,
    register_to_template,
    rough_affine,
    warp,
)
from bids_cascade.errors import BadDataError, ReadWriteError
from bids_cascade.imaging.grid import grid_of

SHIFT_MM = np.array([6.0, -4.0, 3.0])
EFFORT = Effort(voxel_mm=4.0, affine_iterations=(30, 10, 0), iterations=(10, 5, 0), refinement=(4, 2))


def blob(centre_mm: np.ndarray, radii_mm: tuple[float, float, float] = (22, 30, 18)) -> nib.Nifti1Image:
    """Return an ellipsoid with a hole beside its middle, 2 mm."""
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -40
    world = np.stack(np.meshgrid(*[np.arange(-40.0, 40, 2)] * 3, indexing="ij"), axis=-1) - centre_mm
    inside = ((world / radii_mm) ** 2).sum(axis=-1) < 1
    hole = ((world - [4, 8, 2]) ** 2).sum(axis=-1) < 49
    return nib.Nifti1Image((inside * (1 - 0.7 * hole)).astype(np.float32), affine)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Deformation:
    return register_to_template([blob(np.zeros(3))], [blob(SHIFT_MM)], tmp_path_factory.mktemp("found"), EFFORT)


def test_images_and_points_go_to_the_template_and_back(found: Deformation) -> None:
    template, head = blob(np.zeros(3)), blob(SHIFT_MM)
    moved = np.asarray(warp(head, grid_of(template), found.to_template).dataobj)
    assert np.abs(moved - np.asarray(template.dataobj)).mean() < 0.02
    back = np.asarray(warp(template, grid_of(head), found.from_template).dataobj)
    assert np.abs(back - np.asarray(head.dataobj)).mean() < 0.02
    points = np.array([[4.0, 8, 2], [-10, 5, 3]])
    assert np.abs(move_points(points + SHIFT_MM, found.from_template) - points).max() < 3
    assert np.abs(move_points(points, found.to_template) - points - SHIFT_MM).max() < 3


def test_equal_images_give_equal_files(found: Deformation, tmp_path: Path) -> None:
    again = register_to_template([blob(np.zeros(3))], [blob(SHIFT_MM)], tmp_path, EFFORT)
    points = np.array([[4.0, 8, 2], [-10, 5, 3]])
    assert (move_points(points, again.to_template) == move_points(points, found.to_template)).all()
    for one, other in zip(
        (again.to_template, again.from_template), (found.to_template, found.from_template), strict=True
    ):
        assert one.read_bytes() == other.read_bytes()


def test_refinement_brings_a_thin_structure_to_its_place(tmp_path: Path) -> None:
    whole = np.asarray(blob(np.zeros(3)).dataobj)[8:32, 8:32, 8:32]
    slits = []
    for start in (11, 12):  # one voxel apart and one thick
        data = whole.copy()
        data[4:20, 4:20, start] *= 0.5
        slits.append(nib.Nifti1Image(data, blob(np.zeros(3)).affine))
    template, head = slits
    off = []
    for refinement in ((0, 0), (5, 5)):
        effort = Effort(voxel_mm=2.0, affine_iterations=(1, 0, 0), iterations=(5, 2, 0), refinement=refinement)
        folder = tmp_path / str(refinement)
        folder.mkdir()
        moved = warp(head, grid_of(template), register_to_template([template], [head], folder, effort).to_template)
        off.append(np.abs(np.asarray(moved.dataobj) - np.asarray(template.dataobj)).mean())
    assert off[1] < 0.6 * off[0]


@pytest.mark.parametrize("n_lost", [1, 1000, 10**9])
def test_a_transform_that_is_not_whole_is_none(found: Deformation, tmp_path: Path, n_lost: int) -> None:
    content = found.to_template.read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[:-n_lost])  # as ANTs leaves it on a full disk, without a word
    with pytest.raises(RuntimeError):
        _take_transform(tmp_path / "cut.h5", tmp_path / "taken.h5")
    assert not (tmp_path / "taken.h5").exists()


@pytest.mark.parametrize(("full", "kind"), [(True, ReadWriteError), (False, BadDataError)])
def test_a_full_disk_is_no_fault_of_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool, kind: type[Exception]
) -> None:
    monkeypatch.setattr(registration, "is_full", lambda folder: full)
    head = blob(np.zeros(3))
    with pytest.raises(kind):  # what can't be moved into a folder that is not there stands for it
        register_to_template([head], [head], tmp_path / "gone", Effort(8.0, (1, 1, 0), (1, 1, 0)))


@pytest.mark.parametrize("degrees", [-35, 0, 25])
def test_a_raised_chin_is_found_roughly(degrees: float) -> None:
    template, head = blob(np.zeros(3)), blob(np.zeros(3))
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = nib.Nifti1Image(head.dataobj, turn @ head.affine)
    found = rough_affine(template, turned)
    points = np.array([[0.0, 25, 0], [0, -25, 0], [4, 8, 2]])
    assert np.abs(apply_affine(found, points) - apply_affine(turn, points)).max() < 4


def test_no_point_is_moved_to_no_point(found: Deformation) -> None:
    assert move_points(np.zeros((0, 3)), found.to_template).shape == (0, 3)


def test_coarse_images_keep_their_place_and_mean() -> None:
    image = blob(np.zeros(3))
    small = coarse(image, 4.0)
    assert small.shape == (20, 20, 20)
    assert np.asarray(small.dataobj).mean() == pytest.approx(np.asarray(image.dataobj).mean(), rel=0.02)
    weights = np.asarray(small.dataobj)
    voxels = np.stack(np.meshgrid(*map(np.arange, small.shape), indexing="ij"), axis=-1)
    centre = (voxels * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()
    fine_weights = np.asarray(image.dataobj)
    fine = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    fine_centre = (fine * fine_weights[..., None]).sum(axis=(0, 1, 2)) / fine_weights.sum()
    assert np.allclose(apply_affine(small.affine, centre), apply_affine(image.affine, fine_centre), atol=0.2)


def test_an_image_that_is_coarse_already_stays() -> None:
    image = blob(np.zeros(3))
    assert coarse(image, 1.0).shape == image.shape
    assert np.allclose(np.asarray(coarse(image, 1.0).dataobj), np.asarray(image.dataobj))
