"""Tiny trees with the names that the publishers use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHAPE = (3, 4, 5)

Tree = Callable[[Path, Iterable[str]], Path]


def write_image(path: Path, shape: tuple[int, ...] = SHAPE, values: Iterable[int] = (0, 1)) -> None:
    """Write an image whose voxels run through some values, and which no other one equals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.resize(np.array(list(values), np.uint8), shape)
    image = nib.Nifti1Image(data, np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header["descrip"] = "/".join(path.parts[-3:])[-79:].encode()
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


@pytest.fixture
def make_tree() -> Tree:
    def make(root: Path, names: Iterable[str]) -> Path:
        for name in names:
            write_image(root / name)
        return root

    return make


def mslesseg() -> list[str]:
    kinds = ("FLAIR", "T1", "T2", "MASK")
    train = [f"train/P{n}/T{t}/P{n}_T{t}_{kind}.nii.gz" for n, t in ((1, 1), (1, 2), (10, 1)) for kind in kinds]
    return [*train, *(f"test/P54/P54_{kind}.nii.gz" for kind in kinds)]


def msseg2016() -> list[str]:
    images = [f"Raw_Data/{name}.nii.gz" for name in ("FLAIR", "T1", "T2", "DP", "GADO")]
    images += [f"Preprocessed_Data/{name}_preprocessed.nii.gz" for name in ("FLAIR", "T1", "T2", "DP", "GADO")]
    masks = ["Consensus", "Brain_Mask", *(f"ManualSegmentation_{n}" for n in range(1, 8))]
    files = [*images, *(f"Masks/{name}.nii.gz" for name in masks)]
    places = ("Training/Center_01/Patient_01", "Training/Center_07/Patient_01", "Testing/Center_03/Patient_02")
    return [f"{place}/{file}" for place in places for file in files]


def isbi2015() -> list[str]:
    files = []
    for subject, dates in (("training01", 2), ("training02", 1), ("test01", 1)):
        for date in range(1, dates + 1):
            stem = f"{subject}_{date:02d}"
            files += [f"{subject}/preprocessed/{stem}_{kind}_pp.nii" for kind in ("flair", "mprage", "pd", "t2")]
            files += [f"{subject}/orig/{stem}_{kind}.nii.gz" for kind in ("flair", "mprage", "pd", "t2")]
            if subject.startswith("training"):
                files += [f"{subject}/masks/{stem}_mask{rater}.nii" for rater in (1, 2)]
    return files


def ljubljana() -> list[str]:
    kinds = ("FLAIR", "T1W", "T1WKS", "T2W", "consensus_gt", "brainmask")
    folders = [f"{kind}/patient{n:02d}" for kind in ("raw", "coregistered") for n in (1, 2)]
    return [f"{folder}/{name}.nii.gz" for folder in folders for name in kinds]


def wmh2017() -> list[str]:
    cases = ("training/Utrecht/0", "training/Amsterdam/GE3T/100", "test/Amsterdam/Philips_VU .PETMR_01./161")
    files = []
    for case in cases:
        files += [f"{case}/orig/{name}.nii.gz" for name in ("FLAIR", "T1", "3DT1", "3DT1_mask")]
        files += [f"{case}/pre/{name}.nii.gz" for name in ("FLAIR", "T1", "3DT1")]
        files += [f"{case}/wmh.nii.gz"]
        if case.startswith("training"):
            files += [f"additional_annotations/observer_o{n}/{case}/result.nii.gz" for n in (3, 4)]
    return files


LAYOUTS = {
    "mslesseg": mslesseg(),
    "msseg2016": msseg2016(),
    "isbi2015": isbi2015(),
    "ljubljana": ljubljana(),
    "wmh2017": wmh2017(),
}
