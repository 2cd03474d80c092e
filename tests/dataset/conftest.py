"""Small BIDS trees made from a dict."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

MakeTree = Callable[[Path, Mapping[str, Any]], Path]

RAW_DESCRIPTION = {"Name": "test", "BIDSVersion": "1.10.0", "DatasetType": "raw"}


def write_image(path: Path, zooms: tuple[float, ...] = (1.0, 1.0, 1.0), shape: tuple[int, ...] = (4, 4, 4)) -> None:
    """Write a tiny image with unequal voxel values, in mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    image = nib.Nifti1Image(data, np.diag((*zooms, 1.0)))
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


@pytest.fixture
def write_scan() -> Callable[[Path, tuple[float, ...], tuple[int, ...]], None]:
    """Return a writer of images with these voxel sizes in mm and this shape, whose voxels are all 0 and not on disk."""

    def write(path: Path, zooms: tuple[float, ...], shape: tuple[int, ...]) -> None:
        header = nib.Nifti1Header()
        header.set_data_dtype(np.int16)
        header.set_data_shape(shape)
        header.set_zooms(zooms)
        header["vox_offset"], header["magic"] = 352, b"n+1"
        path.write_bytes(header.binaryblock)
        os.truncate(path, 352 + 2 * math.prod(shape))

    return write


@pytest.fixture
def make_tree() -> MakeTree:
    """Return a writer of a tree: a value is text, an object (written as JSON), or the voxel size of an image."""

    def write(root: Path, files: Mapping[str, Any]) -> Path:
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.write_text(content)
            elif isinstance(content, dict):
                path.write_text(json.dumps(content))
            elif isinstance(content, tuple):
                write_image(path, content)
            else:
                path.touch()
        return root

    return write


@pytest.fixture
def make_raw(tmp_path: Path, make_tree: MakeTree) -> Callable[..., Path]:
    """Return a writer of raw datasets: names of (empty) files, or voxel sizes by name."""

    def write(*names: str, **kwargs: Mapping[str, Any]) -> Path:
        files = {"dataset_description.json": RAW_DESCRIPTION, **dict.fromkeys(names), **kwargs.get("files", {})}
        return make_tree(tmp_path / "raw", files)

    return write
