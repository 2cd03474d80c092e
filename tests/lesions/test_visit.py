"""The lesions of a visit: found on each grid by hand, and read back as they were."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.config import LesionRule
from bids_cascade.imaging.grid import grid_of
from bids_cascade.lesions.visit import VisitLesions, find_visit_lesions, load_lesions, save_lesions

RULE = LesionRule(0.5, 10, 0.7)
T1W = np.diag([2.0, 2, 2, 1])  # voxels of 8 mm^3
FLAIR = np.diag([-2.0, 2, 4, 1])  # from left to right, voxels of 16 mm^3
FLAIR[0, 3] = 18 + 6
FLAIR[2, 3] = 1  # each slice lies over two of the T1w image's
TO_FLAIR = np.eye(4)
TO_FLAIR[0, 3] = 6  # the FLAIR lies 6 mm further to the right


def probability(*values: float) -> nib.Nifti1Image:
    """Return values along X, in two by two voxels of Y and Z."""
    data = np.zeros((10, 4, 4), np.float32)
    data[: len(values), 1:3, :2] = np.array(values)[:, None, None]
    return nib.Nifti1Image(data, T1W)


def find(*members: nib.Nifti1Image) -> VisitLesions:
    grids = {
        "T1w": grid_of(probability()),
        "FLAIR": grid_of(nib.Nifti1Image(np.zeros((10, 4, 2), np.uint8), FLAIR)),
    }
    mean = probability(0, 0.8, 0.8, 0, 0.6, 0, 0, 0.9)  # the middle one has no peak
    return find_visit_lesions(mean, grids, {"T1w": np.eye(4), "FLAIR": TO_FLAIR}, RULE, members)


def test_lesions_on_both_grids() -> None:
    lesions = find()
    assert [lesion.volume_mm3 for lesion in lesions.table] == pytest.approx([64, 32])
    assert [lesion.mean_probability for lesion in lesions.table] == pytest.approx([0.8, 0.9])
    t1w, flair = (np.asarray(lesions.mask[name].dataobj)[:, 1, 0] for name in ("T1w", "FLAIR"))
    assert np.flatnonzero(t1w).tolist() == [1, 2, 7]
    assert np.flatnonzero(flair[::-1]).tolist() == [1, 2, 7]
    assert np.asarray(lesions.labels.dataobj)[:, 1, 0].tolist() == [0, 1, 1, 0, 0, 0, 0, 2, 0, 0]
    assert lesions.volume_ml("T1w") == pytest.approx(0.096)
    assert lesions.volume_ml("FLAIR") == pytest.approx(0.096)
    assert lesions.volume_ml("T2w") is None
    assert (lesions.uncertainty, lesions.agreement) == (None, None)


def test_members_say_how_sure_each_lesion_is() -> None:
    lesions = find(probability(0, 0.9, 0.9), probability(0, 0.9, 0.9, 0, 0, 0, 0, 0.9))
    assert lesions.uncertainty == [0, 0.5]
    assert lesions.agreement == pytest.approx(2 * 2 / (2 + 3))


def test_without_lesions() -> None:
    empty = find_visit_lesions(probability(), {"T1w": grid_of(probability())}, {"T1w": np.eye(4)}, RULE)
    assert (empty.table, empty.volume_ml("T1w")) == ([], 0)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    for lesions in (find(), find(probability(0, 0.9), probability(0, 0, 0.9))):
        save_lesions(lesions, tmp_path / "lesions.json")
        again = load_lesions(tmp_path / "lesions.json")
        assert again.table == lesions.table
        assert (again.uncertainty, again.agreement) == (lesions.uncertainty, lesions.agreement)
        for kind in ("mask", "probability"):
            for name, image in getattr(lesions, kind).items():
                copy = getattr(again, kind)[name]
                assert np.array_equal(copy.affine, image.affine)
                assert copy.get_data_dtype() == image.get_data_dtype()
                assert np.array_equal(np.asarray(copy.dataobj), np.asarray(image.dataobj))
        assert np.array_equal(np.asarray(again.labels.dataobj), np.asarray(lesions.labels.dataobj))
        assert again.labels.get_data_dtype() == np.int32
