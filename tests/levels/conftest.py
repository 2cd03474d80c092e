"""Datasets small enough to go through the whole app in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ..synthesis.conftest import make_labels, make_mask

VISITS = {"01": ("a", "b"), "02": (None,), "03": (None,)}
"""Sessions by participant."""

T1W_MM, FLAIR_MM = np.array([4.0, 4.0, 4.0]), np.array([4.0, 4.0, 5.0])
SIZE_MM = np.array([120, 144, 120])
EGG_MM = np.array([46, 58, 46])
"""Half its diameters: just above half a litre, the smallest brain that is believed."""


def name_of(participant: str, session: str | None) -> str:
    return f"sub-{participant}" + (f"_ses-{session}" if session else "")


def anat_of(root: Path, participant: str, session: str | None) -> Path:
    folder = root / f"sub-{participant}" / (f"ses-{session}" if session else "") / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_description(root: Path, kind: str, **more: object) -> None:
    root.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"Name": root.name, "BIDSVersion": "1.10.0", "DatasetType": kind, **more})
    (root / "dataset_description.json").write_text(text)


def write_mask(mask: np.ndarray, affine: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(mask.astype(np.uint8), affine).to_filename(path)
    return path


def affine_of(voxel_mm: np.ndarray) -> np.ndarray:
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = -SIZE_MM / 2
    return affine


def _world(voxel_mm: np.ndarray) -> np.ndarray:
    """Return the voxel centres' places in mm from the middle, (3, X, Y, Z)."""
    shape = (SIZE_MM / voxel_mm).astype(int)
    return np.stack(np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, voxel_mm, strict=True)), indexing="ij")) - (
        SIZE_MM[:, None, None, None] / 2
    )


def _scan(voxel_mm: np.ndarray, centres_mm: np.ndarray, signal: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an egg with a pattern to register by and balls of another signal, and the mask of the balls."""
    rng = np.random.default_rng(seed)
    world = _world(voxel_mm)
    egg = ((world / EGG_MM[:, None, None, None]) ** 2).sum(axis=0) < 1
    # Dark folds: little but the balls is bright, so that there are few candidates and the tests are quick.
    folds = np.clip(np.sin(world[0] / 8) + np.cos(world[1] / 9) * np.sin(world[2] / 7), 0.6, None)
    balls = np.zeros(egg.shape, bool)
    for centre, radius_mm in zip(centres_mm, (8.0, 6.0, 7.0, 9.0), strict=True):
        balls |= ((world - centre[:, None, None, None]) ** 2).sum(axis=0) < radius_mm**2
    scan = 400 - 100 * folds + 4 * rng.standard_normal(egg.shape)
    return np.where(egg, np.where(balls, scan + signal, scan), 0), balls & egg


def write_tiny_dataset(root: Path) -> Path:
    """Write four visits of three participants, already without skull, with masks in ``derivatives/manual``."""
    write_description(root, "raw", License="CC0")
    write_description(root / "derivatives" / "manual", "derivative", GeneratedBy=[{"Name": "by hand"}])
    for number, (participant, sessions) in enumerate(VISITS.items()):
        for session in sessions:
            name = name_of(participant, session)
            rng = np.random.default_rng([number, session == "b"])
            centres_mm = rng.uniform(-22, 22, (4, 3))
            t1w, _ = _scan(T1W_MM, centres_mm, -80, number)
            flair, lesion = _scan(FLAIR_MM, centres_mm, 250, number)
            anat = anat_of(root, participant, session)
            for scan, voxel_mm, suffix in ((t1w, T1W_MM, "T1w"), (flair, FLAIR_MM, "FLAIR")):
                image = nib.Nifti1Image(np.rint(scan).astype(np.int16), affine_of(voxel_mm))
                image.to_filename(anat / f"{name}_{suffix}.nii.gz")
            manual = anat_of(root / "derivatives" / "manual", participant, session)
            write_mask(lesion, affine_of(FLAIR_MM), manual / f"{name}_space-FLAIR_label-L_mask.nii.gz")
    return root


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the dataset of :func:`write_tiny_dataset`; not to be changed by tests."""
    return write_tiny_dataset(tmp_path_factory.mktemp("tiny") / "dataset")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two label maps and a lesion mask of the invented head, one map stored flipped."""
    folder = tmp_path_factory.mktemp("sources")
    labels, affine = make_labels()
    mask, mask_affine = make_mask()
    for name in ("maps", "masks"):
        (folder / name).mkdir()
    nib.Nifti1Image(labels, affine).to_filename(folder / "maps" / "a.nii.gz")
    flipped = affine @ np.diag([-1, 1, 1, 1])
    flipped[0, 3] = -affine[0, 3]
    nib.Nifti1Image(labels[::-1], flipped).to_filename(folder / "maps" / "b.nii")
    nib.Nifti1Image(mask.astype(np.uint8), mask_affine).to_filename(folder / "masks" / "m.nii.gz")
    return folder
