"""Fixtures for all tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# As the app does; before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name raw bytes by their argument: processes must agree on the names of tests, and gzip holds the time."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start each test with the same global random numbers, whichever tests ran before it in its process."""
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


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
    from bids_cascade.demo.cli import write_phantom_dataset

    folder = tmp_path_factory.mktemp("phantoms") / "dataset"
    write_phantom_dataset(folder, 1, t1w_voxel_mm=(1.2, 1.2, 1.2), flair_voxel_mm=(1.2, 1.2, 3.6))
    return folder


@pytest.fixture
def leave_results() -> Callable[..., Path]:
    """Return a writer of what the participant level leaves of a visit, but for images; it returns the folder."""

    def leave(
        out: Path,
        name: str,
        volumes_mm3: Sequence[float] = (150.0, 40.0, 10.0),
        *,
        brain_ml: float = 1000.0,
        flags: Mapping[str, str] | None = None,
        earlier_flags: Mapping[str, str] | None = None,
        space: str = "T1w",
        **model: Any,
    ) -> Path:
        anat = out.joinpath(*name.split("_"), "anat")
        anat.mkdir(parents=True, exist_ok=True)
        fields = {"ModelName": "tiny", "ModelSHA256": "ab" * 32, "Threshold": 0.5, "MinLesionVolume": 10.0}
        fields |= {"PeakProbability": 0.8, **model}
        version = {"GeneratedByVersion": fields.pop("GeneratedByVersion", "1.0.0")}
        columns = "index\tname\tvolume_mm3\tcentre_x_mm\tcentre_y_mm\tcentre_z_mm\tmean_probability"
        rows = [f"{n}\tlesion{n}\t{volume:.6g}\t1\t-2\t3.5\t0.75" for n, volume in enumerate(volumes_mm3, start=1)]
        (anat / f"{name}_space-{space}_seg-lesions_dseg.tsv").write_text("\n".join([columns, *rows]) + "\n")
        (anat / f"{name}_space-{space}_seg-lesions_dseg.json").write_text(json.dumps(fields | version))
        total_ml = sum(volumes_mm3) / 1000
        header = "n_lesions\tlesion_volume_t1w_ml\tlesion_volume_flair_ml\tbrain_volume_ml"
        on_grids = f"{total_ml:.6g}\t{total_ml / 2:.6g}" if space == "T1w" else f"n/a\t{total_ml:.6g}"
        row = f"{len(volumes_mm3)}\t{on_grids}\t{brain_ml:.6g}"
        (anat / f"{name}_desc-lesions_stats.json").write_text(
            json.dumps({"QualityFlags": earlier_flags or {}, **fields})
        )
        (anat / f"{name}_desc-lesions_stats.tsv").write_text(f"{header}\n{row}\n")
        if flags is not None:
            cell = ";".join(flags) or "n/a"
            (anat / f"{name}_desc-quality_stats.tsv").write_text(f"snr\tquality_flags\n9.5\t{cell}\n")
            (anat / f"{name}_desc-quality_stats.json").write_text(json.dumps({"QualityFlags": dict(flags)}))
        return anat

    return leave


@pytest.fixture(scope="session")
def small_head() -> Any:
    """Return the module that makes visits of a small head."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("small_head", REPOSITORY / "tests" / "small_head.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
