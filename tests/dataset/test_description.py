"""What a folder says of itself, and what is said of folders of DICOM files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bids_cascade.config import Selection
from bids_cascade.dataset.description import dicom_hint, read_raw_description
from bids_cascade.dataset.layout import open_dataset
from bids_cascade.dataset.visits import find_visits
from bids_cascade.errors import InvalidDatasetError, NothingSelectedError

DICOM = bytes(128) + b"DICM" + bytes(200)
DESCRIPTION = '{"Name": "test", "BIDSVersion": "1.10.0"}'


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_a_folder_of_dicom_files_gets_a_hint(tmp_path: Path) -> None:
    write(tmp_path / "notes.txt", b"of the export")
    write(tmp_path / "patient" / "series 1" / "IM0001", DICOM)
    words = (
        r"no dataset_description\.json, but holds DICOM files \(patient/series 1/IM0001\): .*dcm2niix; give the root"
    )
    with pytest.raises(InvalidDatasetError, match=words):
        read_raw_description(tmp_path)


def test_so_does_a_dataset_without_participants(tmp_path: Path) -> None:
    write(tmp_path / "dataset_description.json", DESCRIPTION.encode())
    write(tmp_path / "patient" / "1.dcm", DICOM)
    with pytest.raises(InvalidDatasetError, match=r"no folder named sub-<label>, but holds DICOM files"):
        open_dataset(tmp_path, Selection())


def test_so_does_a_dataset_without_an_image(tmp_path: Path) -> None:
    write(tmp_path / "dataset_description.json", DESCRIPTION.encode())
    write(tmp_path / "sub-01" / "anat" / "sub-01_T1w" / "1.dcm", DICOM)
    with pytest.raises(NothingSelectedError, match=r"T1w or FLAIR image .* holds DICOM files"):
        find_visits(open_dataset(tmp_path, Selection()), ("T1w", "FLAIR"), Selection())


def test_other_files_give_no_hint(tmp_path: Path) -> None:
    write(tmp_path / "a", DICOM[:130])
    write(tmp_path / "b", bytes(500))
    os.mkfifo(tmp_path / "c.dcm")
    assert dicom_hint(tmp_path) == ""
