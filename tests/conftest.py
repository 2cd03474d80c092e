"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As the app does; before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the source tree."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder with real scans, or skip the test."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs real scans in {folder}")
    return folder


@pytest.fixture(scope="session")
def phantom_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a BIDS dataset with one phantom participant, 01, and its known lesions; not to be changed by tests."""
    from bids_cascade.demo import write_phantom_dataset

    folder = tmp_path_factory.mktemp("phantoms") / "dataset"
    write_phantom_dataset(folder, 1, t1w_voxel_mm=(1.2, 1.2, 1.2), flair_voxel_mm=(1.2, 1.2, 3.6))
    return folder
