"""A visit without a T1w image: learnt from, left out, evaluated and counted, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.cli import main
from bids_cascade.models.store import load_model

from .conftest import FLAIR_MM
from .test_cross_validation import read_tsv, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two participants of the small dataset, of the first of whom there is a FLAIR only, with a bright rim."""
    root = tmp_path_factory.mktemp("without_t1w") / "dataset"
    shutil.copytree(tiny_dataset, root, ignore=shutil.ignore_patterns("sub-01"))
    anat = root / "sub-02" / "anat"
    (anat / "sub-02_T1w.nii.gz").unlink()
    flair = nib.load(anat / "sub-02_FLAIR.nii.gz")
    data, depth = np.asarray(flair.dataobj), ndimage.distance_transform_edt(np.asarray(flair.dataobj), FLAIR_MM)
    brighter = data + 15 * ((depth > 0) & (depth < 10)).astype(np.int16)
    nib.save(nib.Nifti1Image(brighter, flair.affine), anat / "sub-02_FLAIR.nii.gz")
    return root


@pytest.fixture(scope="module")
def out(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    options = ("--cross-validate", "2", "--sequence-dropout", "0.5")
    assert train(dataset, folder / "out", folder / "work", *options) == 0
    return folder / "out"


def test_each_learns_from_the_other_alone(out: Path) -> None:
    for fold in (json.loads((out / "cross-validation" / f"fold-{number}.json").read_text()) for number in (1, 2)):
        (left_out,) = fold["subjects"]
        learnt = {"02": "03", "03": "02"}[left_out]
        header = load_model(out / "cross-validation" / "models" / f"tiny_fold-{fold['number']}.safetensors").header
        assert header.cascade.optional_sequences == ("T1w",)
        assert header.provenance["training_subjects"] == [learnt]
        (source,) = header.provenance["learnt_from"]
        assert len(source["ImageSHA256"]) == {"02": 1, "03": 2}[learnt]


def test_it_is_segmented_and_compared_by_both_methods(out: Path) -> None:
    for method in ("cascade", "flair-threshold"):
        root = out / "cross-validation" / method
        assert [path.name for path in root.rglob("sub-02*_mask.nii.gz") if "label-L" in path.name] == [
            "sub-02_space-FLAIR_label-L_mask.nii.gz"
        ]
        (row,) = (row for row in read_tsv(root / "group_evaluation.tsv") if row["participant_id"] == "sub-02")
        assert 0 <= float(row["dice"]) <= 1
    (row,) = (row for row in read_tsv(out / "group_cross-validation_visits.tsv") if row["participant_id"] == "sub-02")
    assert float(row["dice_flair_threshold"]) > 0.5, "lesions are where they were in the FLAIR's world"


def test_group_and_evaluation_of_what_was_written(dataset: Path, out: Path, capsys) -> None:
    results = out / "cross-validation" / "cascade"
    assert main([str(dataset), str(results), "group", "--skip-bids-validation"]) == 0
    (row,) = (row for row in read_tsv(results / "group_visits.tsv") if row["participant_id"] == "sub-02")
    assert row["lesion_volume_t1w_ml"] == "n/a"
    assert float(row["lesion_volume_flair_ml"]) >= 0
    assert "sequences_absent" in row["quality_flags"]
    said = capsys.readouterr()
    assert "sub-02" in said.out + said.err
    arguments = ["evaluate", "--labels", "manual", "--predictions", str(results), "--skip-bids-validation"]
    assert main([str(dataset), str(out.parent / "evaluated"), *arguments]) == 0
    assert "sub-02" in capsys.readouterr().out


def test_without_dropout_it_is_refused_with_what_would_help(dataset: Path, tmp_path: Path, capsys) -> None:
    assert train(dataset, tmp_path / "out", tmp_path / "work", "--participant-label", "02") == 66
    said = capsys.readouterr()
    (row,) = (line for line in said.out.splitlines() if line.startswith("sub-02"))
    assert row.endswith(
        "not processed: no T1w image; with --sequence-dropout 0.25, such visits are used for training, too"
    )
    assert "none of the selected visits (1) has a T1w image" in said.err
    assert "--sequence-dropout 0.25, or --sequences FLAIR" in said.err


def test_without_a_flair_dropout_does_not_help(dataset: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "dataset"
    shutil.copytree(dataset, root)
    (root / "sub-03" / "anat" / "sub-03_FLAIR.nii.gz").unlink()
    options = ("--participant-label", "03", "--sequence-dropout", "0.5")
    assert train(root, tmp_path / "out", tmp_path / "work", *options) == 66
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("sub-03"))
    assert row.endswith("not processed: no FLAIR image; expected sub-03_FLAIR.nii.gz in sub-03/anat")
