from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy.registration import Deformation
from bids_cascade.anatomy.template import template_image
from bids_cascade.anatomy.visit import (
    ANATOMY_FAILED,
    VisitAnatomy,
    find_anatomy,
    load_anatomy,
    no_anatomy,
    register_visit,
    save_anatomy,
)
from bids_cascade.cascade.normalisation import normalise
from bids_cascade.errors import MissingInputError
from bids_cascade.imaging.grid import Grid, grid_of, resample
from bids_cascade.imaging.registration import write_itk_transform

GRID = Grid((66, 78, 64), np.array([[3.0, 0, 0, -98], [0, 3, 0, -134], [0, 0, 3, -73], [0, 0, 0, 1]]))


@pytest.fixture(scope="module")
def head() -> nib.Nifti1Image:
    """Return the template as a visit's T1w in voxels of 3 mm, with white matter 1."""
    image = resample(template_image(), GRID, 1)
    data = np.asarray(image.dataobj)
    return nib.Nifti1Image(normalise(data[None], data > 0.1, ("T1w",))[0], image.affine)


@pytest.fixture
def in_place(tmp_path: Path) -> Deformation:
    write_itk_transform(np.eye(4), tmp_path / "identity.txt")
    return Deformation(tmp_path / "identity.txt", tmp_path / "identity.txt")


def brain_of(head: nib.Nifti1Image) -> nib.Nifti1Image:
    return nib.Nifti1Image((np.asarray(head.dataobj) > 0).astype(np.uint8), head.affine)


def test_template_itself_has_its_own_anatomy(head: nib.Nifti1Image, in_place: Deformation) -> None:
    channels = np.asarray(head.dataobj)[None]
    found = find_anatomy(channels, brain_of(head), ("T1w",), np.zeros(GRID.shape, bool), in_place)
    assert found.flags == {}
    assert found.structures is not None
    assert grid_of(found.structures).shape == GRID.shape
    structures = np.asarray(found.structures.dataobj)
    assert set(np.unique(structures)) == set(range(10))
    assert 5 < np.count_nonzero(structures == 1) * 27 / 1000 < 40  # lateral ventricles, ml


def test_a_wrong_registration_is_noticed(head: nib.Nifti1Image, tmp_path: Path) -> None:
    off = np.diag([1.0, -1, -1, 1])
    write_itk_transform(off, tmp_path / "off.txt")
    deformation = Deformation(tmp_path / "off.txt", tmp_path / "off.txt")
    channels = np.asarray(head.dataobj)[None]
    found = find_anatomy(channels, brain_of(head), ("T1w",), np.zeros(GRID.shape, bool), deformation)
    assert found.structures is None
    assert "looks failed" in found.flags[ANATOMY_FAILED]


def test_a_brain_that_is_cut_off_has_the_anatomy_of_what_is_there(head: nib.Nifti1Image, in_place: Deformation) -> None:
    channels = np.asarray(head.dataobj)[None].copy()
    channels[..., :24] = channels[..., 50:] = 0  # neither cerebellum nor vertex
    brain = nib.Nifti1Image((channels[0] > 0).astype(np.uint8), head.affine)
    found = find_anatomy(channels, brain, ("T1w",), np.zeros(GRID.shape, bool), in_place)
    assert found.flags == {}
    assert found.structures is not None
    structures = np.asarray(found.structures.dataobj)
    assert ((structures > 0) == (np.asarray(brain.dataobj) > 0)).all()
    assert np.count_nonzero(structures == 1) * 27 / 1000 > 5


def test_flair_alone_needs_no_contrast_of_grey_and_white(head: nib.Nifti1Image, in_place: Deformation) -> None:
    t1w = np.asarray(head.dataobj)
    flair = np.where(t1w > 0.45, 1.0, 0.0)[None].astype(np.float32)
    found = find_anatomy(flair, brain_of(head), ("FLAIR",), np.zeros(GRID.shape, bool), in_place)
    assert found.flags == {}
    off = np.ascontiguousarray(flair[:, :, ::-1])
    brain = nib.Nifti1Image(np.asarray(brain_of(head).dataobj)[:, ::-1], head.affine)
    wrong = find_anatomy(off, brain, ("FLAIR",), np.zeros(GRID.shape, bool), in_place)
    assert found.agreement is not None
    assert wrong.agreement is not None
    assert wrong.agreement < found.agreement - 0.2
    assert list(wrong.flags) == [ANATOMY_FAILED]


@pytest.mark.slow
def test_a_turned_head_is_registered(head: nib.Nifti1Image, tmp_path: Path) -> None:
    angle = np.radians(15)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turn[:3, 3] = 12, -7, 20
    turned = nib.Nifti1Image(head.dataobj, turn @ head.affine)
    channels = np.asarray(head.dataobj)[None]
    brain = nib.Nifti1Image(brain_of(head).dataobj, turned.affine)
    deformation = register_visit(channels, brain, ("T1w",), tmp_path)
    found = find_anatomy(channels, brain, ("T1w",), np.zeros(GRID.shape, bool), deformation)
    assert found.flags == {}
    assert found.agreement is not None
    assert found.agreement > 0.6


def test_a_template_that_is_not_there_is_an_error_of_its_own(head: nib.Nifti1Image, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        register_visit(np.asarray(head.dataobj)[None], brain_of(head), ("T1w",), tmp_path, template="NoSuch")


def test_what_is_saved_is_read(tmp_path: Path, head: nib.Nifti1Image) -> None:
    structures = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    one = VisitAnatomy(structures, Deformation(tmp_path / "a.h5", tmp_path / "b.h5"), 0.5, {})
    save_anatomy(one, tmp_path / "anatomy.json")
    read = load_anatomy(tmp_path / "anatomy.json")
    assert read.structures is not None
    assert (np.asarray(read.structures.dataobj) == 1).all()
    assert (read.deformation, read.agreement, read.flags) == (one.deformation, 0.5, {})
    save_anatomy(no_anatomy("no brain"), tmp_path / "none.json")
    read = load_anatomy(tmp_path / "none.json")
    assert (read.structures, read.deformation) == (None, None)
    assert "no brain" in read.flags[ANATOMY_FAILED]
    assert json.loads((tmp_path / "none.json").read_text())["structures"] is None
