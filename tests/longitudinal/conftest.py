"""Three finished visits of one participant."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from .left_visits import LATEST, NEW, OLD, leave_visit


@pytest.fixture(scope="package")
def left_scene(small_head: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an output folder with three visits' images and tables."""
    root = tmp_path_factory.mktemp("longitudinal")
    (root / "raw").mkdir()
    (root / "raw" / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    out = root / "out"
    poses = [None, small_head.turned([2, -2, 3], [1, -1, 2]), small_head.turned([-1, 2, 0], [0, 1, 0])]
    lesions = [{OLD: 4}, {OLD: 4, NEW: 3}, {OLD: 4, NEW: 3, LATEST: 3}]
    for number, (pose, own) in enumerate(zip(poses, lesions, strict=True), start=1):
        leave_visit(out, f"sub-01_ses-{number}", small_head.make_visit(own, pose, seed=number))
    return root


@pytest.fixture
def root(left_scene: Path, tmp_path: Path) -> Path:
    """Return a copy of them that a test may change."""
    return shutil.copytree(left_scene, tmp_path / "copy")
