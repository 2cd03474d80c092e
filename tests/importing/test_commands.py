"""The commands of docs/datasets.md on an imported data set, its images those of tests that take seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.cli import main as run_app
from bids_cascade.importing.cli import main

from ..levels.conftest import tiny_dataset
from ..levels.test_cross_validation import read_tsv, train

__all__ = ["tiny_dataset"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bids_dir(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return MSSEG 2016 as if it were two patients, of the second of whom rater 2 has drawn nothing."""
    folder = tmp_path_factory.mktemp("msseg 2016")
    for number, participant in enumerate(("02", "03"), start=1):
        place = folder / "MSSEG Training" / "Training" / "Center_01" / f"Patient_{number:02d}"
        for part in ("Raw_Data", "Masks"):
            (place / part).mkdir(parents=True)
        for ours, theirs in (("T1w", "T1"), ("FLAIR", "FLAIR")):
            image = tiny_dataset / f"sub-{participant}" / "anat" / f"sub-{participant}_{ours}.nii.gz"
            shutil.copy(image, place / "Raw_Data" / f"{theirs}.nii.gz")
        (mask,) = (tiny_dataset / "derivatives" / "manual" / f"sub-{participant}").rglob("*_mask.nii.gz")
        for name in ("Consensus", "ManualSegmentation_1"):
            shutil.copy(mask, place / "Masks" / f"{name}.nii.gz")
        if number == 1:
            drawn = nib.load(mask)
            larger = ndimage.binary_dilation(np.asarray(drawn.dataobj)).astype(np.uint8)
            nib.save(nib.Nifti1Image(larger, drawn.affine), place / "Masks" / "ManualSegmentation_2.nii.gz")
    assert main(["msseg2016", str(folder / "MSSEG Training"), str(folder / "msseg2016")]) == 0
    return folder / "msseg2016"


def test_a_rater_against_another_where_both_have_drawn(bids_dir: Path, tmp_path: Path, capsys) -> None:
    raters = ["--labels", "rater1", "--predictions", "rater2"]
    assert run_app([str(bids_dir), str(tmp_path / "out"), "evaluate", *raters]) == 66
    (row,) = read_tsv(tmp_path / "out" / "group_evaluation.tsv")
    assert row["participant_id"] == "sub-TrainingCenter01Patient01"
    assert 0.5 < float(row["dice"]) < 1
    assert float(row["sensitivity"]) == 1
    said = capsys.readouterr().out
    assert "sub-TrainingCenter01Patient02" in said
    assert "1 of 2 visits evaluated" in said


def test_cross_validation_by_one_rater(bids_dir: Path, tmp_path: Path) -> None:
    assert train(bids_dir, tmp_path / "out", tmp_path / "work", "--cross-validate", "loo", labels="rater1") == 0
    rows = read_tsv(tmp_path / "out" / "group_cross-validation_visits.tsv")
    assert [row["participant_id"] for row in rows] == [f"sub-TrainingCenter01Patient0{n}" for n in (1, 2)]
    assert all(float(row["dice_flair_threshold"]) > 0.5 for row in rows)
