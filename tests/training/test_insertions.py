"""Copies of labelled scans with further lesions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.config import HeadsConfig
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.errors import BadDataError
from bids_cascade.training.insertions import with_insertions
from bids_cascade.training.prepare import Prepared

from ..synthesis.conftest import make_mask


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = tmp_path_factory.mktemp("scan") / "flair.nii"
    nib.save(nib.Nifti1Image(np.ones((30, 30, 30), np.float32), np.eye(4)), path)
    brain = sum((axis - 30) ** 2 for axis in np.ogrid[:60, :60, :60]) < 27**2
    lesion = np.zeros(brain.shape, bool)
    lesion[40:44, 30:34, 30:34] = True
    data = LabelledVisit("01", np.ones((2, 60, 60, 60), np.float16) * brain, brain, lesion, ignored=lesion & False)
    visit = Visit("01", None, {"FLAIR": ImageChoice(path, "the only one")})
    return Prepared(visit, data, np.eye(4), "0123456789abcdef")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "single.npz"
    voxels = np.ravel_multi_index(np.argwhere(np.ones((6, 6, 6))).T, (20, 20, 20))
    np.savez(path, voxels=voxels, offsets=[0, len(voxels)], shape=(20, 20, 20), affine=np.eye(4))
    return path


def test_each_copy_has_other_lesions_beside_those_of_the_scan(prepared, pool) -> None:
    first, second = with_insertions([prepared], HeadsConfig((), (pool,), n_insertions=2), 0)
    for copy in (first, second):
        assert (copy.subject, copy.synthetic) == ("01", False)
        assert copy.channels.dtype == np.float16
        assert copy.lesion[prepared.data.lesion].all()
        assert copy.lesion.sum() > prepared.data.lesion.sum()
        assert copy.brain is prepared.data.brain
    assert not np.array_equal(first.lesion, second.lesion)
    (again,) = with_insertions([prepared], HeadsConfig((), (pool,), n_insertions=1), 0)
    assert np.array_equal(again.channels, first.channels)
    (other,) = with_insertions([prepared], HeadsConfig((), (pool,), n_insertions=1), 1)
    assert not np.array_equal(other.lesion, first.lesion)


def test_none_are_made_unless_asked_for(prepared, tmp_path: Path) -> None:
    assert list(with_insertions([prepared], HeadsConfig((), (tmp_path / "absent",)), 0)) == []


def test_none_are_made_of_a_visit_without_a_t1w(prepared, pool) -> None:
    lone = replace(
        prepared,
        visit=replace(prepared.visit, absent=("T1w",)),
        data=replace(prepared.data, absent=(0,), channels=prepared.data.channels * [[[[0]]], [[[1]]]]),
    )
    copies = with_insertions([lone, prepared], HeadsConfig((), (pool,), n_insertions=1), 0)
    assert [copy.absent for copy in copies] == [()]


def test_masks_alone_are_no_collection(prepared, tmp_path: Path) -> None:
    mask, affine = make_mask()
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), tmp_path / "m.nii.gz")
    with pytest.raises(BadDataError, match="collection of single lesions"):
        next(with_insertions([prepared], HeadsConfig((), (tmp_path / "m.nii.gz",), n_insertions=1), 0))
