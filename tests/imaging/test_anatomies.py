"""Single lesions read from a file; label maps and masks are tested with the heads made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.anatomies import load_patient

SHAPE = (20, 22, 24)


def write(path: Path, **changed: np.ndarray) -> Path:
    """Write two lesions, of three voxels and of one."""
    voxels = np.ravel_multi_index(np.array([[3, 4, 5], [4, 4, 5], [4, 5, 5], [10, 11, 12]]).T, SHAPE)
    content = {"voxels": voxels, "offsets": np.array([0, 3, 4]), "shape": np.array(SHAPE), "affine": np.eye(4)}
    np.savez(path, **{name: array for name, array in (content | changed).items() if array is not None})
    return path


def test_lesions_are_told_apart_by_offsets(tmp_path: Path) -> None:
    pool = load_patient(write(tmp_path / "single.npz"))
    assert (pool.name, pool.single) == ("single", True)
    assert [int((shape.depth > 0).sum()) for shape in pool.shapes] == [3, 1]
    assert pool.shapes[1].centre_mm == pytest.approx(0.87 * np.array([10, 11, 12]))


@pytest.mark.parametrize("changed", [{"offsets": None}, {"voxels": np.array([10**9])}, {"affine": np.eye(2)}])
def test_another_archive_is_refused_by_name(tmp_path: Path, changed) -> None:
    path = write(tmp_path / "single.npz", **changed)
    with pytest.raises(BadDataError, match=r"single\.npz can't be used as a collection of single lesions"):
        load_patient(path)


def test_what_is_no_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "single.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(BadDataError, match=r"single\.npz can't be used"):
        load_patient(path)
