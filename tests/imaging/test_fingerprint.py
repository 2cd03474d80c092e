from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.fingerprint import hash_voxels

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def write(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    nib.Nifti1Image(data, affine).to_filename(path)
    return path


@pytest.fixture
def scan() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 900, (11, 12, 13)).astype(np.int16)


def test_a_copy_is_known_whatever_its_name_compression_type_and_storage_order(scan: np.ndarray, tmp_path: Path) -> None:
    known = hash_voxels(write(tmp_path / "a.nii.gz", scan))
    assert known == hash_voxels(write(tmp_path / "b.nii", scan))
    assert known == hash_voxels(write(tmp_path / "c.nii", scan.astype(np.float32)))
    turned = nib.Nifti1Image(scan, AFFINE).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    turned.to_filename(tmp_path / "d.nii")
    assert nib.aff2axcodes(turned.affine) != ("R", "A", "S")
    assert known == hash_voxels(tmp_path / "d.nii")


def test_another_image_has_another(scan: np.ndarray, tmp_path: Path) -> None:
    known = hash_voxels(write(tmp_path / "a.nii", scan))
    changed = scan.copy()
    changed[3, 4, 5] += 1
    assert known != hash_voxels(write(tmp_path / "b.nii", changed))
    assert known != hash_voxels(write(tmp_path / "c.nii", scan.reshape(12, 11, 13)))


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(b"no")
    with pytest.raises(BadDataError, match=str(path)):
        hash_voxels(path)
