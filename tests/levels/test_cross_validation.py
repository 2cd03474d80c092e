"""Cross-validation through the command line, on visits that take seconds."""

from __future__ import annotations

import fcntl
import json
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cli import main
from bids_cascade.models.store import load_model
from bids_cascade.training.recipe import read_cross_validation

FEW = ["--max-epochs", "1", "--crops-per-epoch", "12", "--skull-strip", "skip", "--model-name", "tiny"]
FEW += ["--features", "8", "16", "--dense", "32"]
VISITS = {"sub-01_ses-a", "sub-01_ses-b", "sub-02", "sub-03"}


def train(dataset: Path, out: Path, work: Path, *options: str, labels: str | Path = "manual") -> int:
    """Run the train level, in this process, which saves the start of others."""
    work.mkdir(exist_ok=True)
    (work / "plugin.yml").write_text("plugin: Linear\n")
    arguments = [str(dataset), str(out), "train", "--labels", str(labels), "-w", str(work), "--skip-bids-validation"]
    return main([*arguments, *FEW, "--omp-nthreads", "1", "--use-plugin", str(work / "plugin.yml"), *options])


def read_tsv(path: Path) -> list[dict[str, str]]:
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Run one fold as a job of its own, then the rest: the output and the work folder."""
    folder = tmp_path_factory.mktemp("cross_validation")
    out, work = folder / "out", folder / "work"
    assert train(tiny_dataset, out, work, "--cross-validate", "3", "--fold", "2") == 0
    assert sorted(path.name for path in (out / "cross-validation").glob("fold-*")) == ["fold-2.json"]
    assert not (out / "group_cross-validation.tsv").exists()
    model = out / "cross-validation" / "models" / "tiny_fold-2.safetensors"
    before = model.stat().st_mtime_ns
    assert train(tiny_dataset, out, work, "--cross-validate", "loo") == 0
    assert model.stat().st_mtime_ns == before, "the fold that was done is not trained again"
    return out, work


def test_every_visit_is_left_out_once_with_its_whole_participant(done) -> None:
    out, _ = done
    folds = [json.loads((out / "cross-validation" / f"fold-{number}.json").read_text()) for number in (1, 2, 3)]
    assert sorted(visit for fold in folds for visit in fold["visits"]) == sorted(VISITS)
    (first,) = (fold for fold in folds if "01" in fold["subjects"])
    assert first["visits"] == ["sub-01_ses-a", "sub-01_ses-b"]
    for fold in folds:
        stored = load_model(out / "cross-validation" / "models" / f"tiny_fold-{fold['number']}.safetensors")
        origin = stored.header.provenance
        seen = {*origin["training_subjects"], *origin["validation_subjects"]}
        assert seen == {"01", "02", "03"} - set(fold["subjects"])
        assert {label for source in origin["learnt_from"] for label in source["Participants"]} == seen
        assert origin["threshold"] == "chosen on the validation subjects"
        assert stored.header.cascade.threshold == fold["threshold"]
        assert stored.sha256 == fold["model_sha256"]
        for visit in fold["visits"]:
            (mask,) = (out / "cross-validation" / "cascade").rglob(f"{visit}_space-FLAIR_label-L_mask.json")
            assert json.loads(mask.read_text())["ModelSHA256"] == stored.sha256
            (mask,) = (out / "cross-validation" / "flair-threshold").rglob(f"{visit}_space-FLAIR_label-L_mask.json")
            assert json.loads(mask.read_text())["Threshold"] == fold["flair_threshold"]


def test_tables_have_every_visit_and_both_methods(done) -> None:
    out, _ = done
    rows = read_tsv(out / "group_cross-validation_visits.tsv")
    assert [(row["participant_id"], row["session_id"]) for row in rows] == [
        ("sub-01", "ses-a"),
        ("sub-01", "ses-b"),
        ("sub-02", "n/a"),
        ("sub-03", "n/a"),
    ]
    assert rows[0]["fold"] == rows[1]["fold"]
    summary = {(row["method"], row["measure"]): row for row in read_tsv(out / "group_cross-validation.tsv")}
    for method in ("cascade", "flair-threshold"):
        values = [float(row[f"dice_{method.replace('-', '_')}"]) for row in rows]
        mean = summary[method, "dice"]
        assert float(mean["mean"]) == pytest.approx(np.mean(values), rel=1e-4)
        assert float(mean["median"]) == pytest.approx(np.median(values), rel=1e-4)
        assert (mean["mean_ci95_low"], mean["mean_ci95_high"]) == ("n/a", "n/a"), "three participants are too few"
        own = read_tsv(out / "cross-validation" / method / "group_evaluation.tsv")
        assert [float(row["dice"]) for row in own] == values
    differences = [float(row["dice_cascade"]) - float(row["dice_flair_threshold"]) for row in rows]
    assert float(summary["difference", "dice"]["mean"]) == pytest.approx(np.mean(differences), abs=1e-4)
    described = json.loads((out / "group_cross-validation_visits.json").read_text())
    assert set(described) == set(rows[0])
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", column) for column in described)
    folds = {int(row["fold"]): float(row["flair_threshold"]) for row in rows}
    for number, threshold_z in folds.items():
        fold = json.loads((out / "cross-validation" / f"fold-{number}.json").read_text())
        assert threshold_z == pytest.approx(fold["flair_threshold"], rel=1e-4)
    # Balls far brighter than all else: a threshold can't miss them, or the comparison is not fair.
    assert float(summary["flair-threshold", "dice"]["mean"]) > 0.8


def test_the_flair_mask_is_a_threshold_on_flair_in_the_brain(done, tiny_dataset: Path) -> None:
    out, _ = done
    name = "sub-02_space-FLAIR_label-L_mask.nii.gz"
    mask = nib.Nifti1Image.from_filename(out / "cross-validation" / "flair-threshold" / "sub-02" / "anat" / name)
    raw = nib.Nifti1Image.from_filename(tiny_dataset / "sub-02" / "anat" / "sub-02_FLAIR.nii.gz")
    assert mask.shape == raw.shape
    np.testing.assert_array_equal(mask.affine, raw.affine)
    lesion, flair = np.asarray(mask.dataobj) > 0, np.asarray(raw.dataobj)
    assert flair[lesion].min() > np.percentile(flair[flair > 0], 80)


def test_a_page_that_asks_for_nothing(done) -> None:
    out, _ = done
    page = (out / "cross-validation.html").read_text()
    for text in ("FLAIR threshold: mean", "sub-01_ses-a, sub-01_ses-b", "./cross-validation/cascade/evaluation.html"):
        assert text in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (out / "cross-validation" / "flair-threshold" / "evaluation.html").is_file()


def test_output_is_valid_bids(done) -> None:
    import subprocess

    from bids_cascade.dataset.validation import find_validator

    validator = find_validator()
    if validator is None:
        pytest.skip("needs bids-validator-deno")
    out, _ = done
    for root in (out, out / "cross-validation" / "cascade", out / "cross-validation" / "flair-threshold"):
        found = subprocess.run([validator, str(root), "--json"], capture_output=True, text=True, check=False)
        issues = json.loads(found.stdout)["issues"]["issues"]
        assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_gathering_again_gives_equal_bytes(done, tiny_dataset: Path, caplog) -> None:
    out, work = done
    files = [*out.glob("group_*"), out / "cross-validation.html", *out.glob("cross-validation/*/group_*")]
    before = {path: path.read_bytes() for path in files}
    assert train(tiny_dataset, out, work, "--cross-validate", "3") == 0
    assert {path: path.read_bytes() for path in files} == before


def test_a_fold_in_work_elsewhere_is_left_alone(done, tiny_dataset: Path, capsys) -> None:
    out, work = done
    before = {path: path.read_bytes() for path in out.glob("group_*")}
    first = sorted((work / "locks").glob("fold_*"))[0]
    with first.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert train(tiny_dataset, out, work, "--cross-validate", "3") == 75
    said = capsys.readouterr().out
    assert "NOT DONE: another run works on fold" in said
    assert "2 of 3 folds done; when all 3 are, run this without --fold" in said
    assert {path: path.read_bytes() for path in out.glob("group_*")} == before


def test_the_card_of_the_whole_quotes_the_same_recipe_only(done, tiny_dataset: Path, tmp_path: Path) -> None:
    out, work = done
    assert train(tiny_dataset, out, work) == 0
    card = (out / "models" / "tiny.md").read_text()
    assert "## Cross-validation" in card
    assert "3 cascades of this recipe" in card
    assert "| dice |" in card
    assert read_cross_validation(out, "another recipe") is None
    assert read_cross_validation(tmp_path, "any") is None


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let the system refuse to write more into a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_while_a_checkpoint_is_written(done, tiny_dataset: Path, tmp_path: Path, capsys) -> None:
    finished, work = done
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and "logs" not in path.parts}
    checkpoints = set((work / "training").iterdir())
    anew = ("--cross-validate", "3", "--fold", "1", "--threshold", "0.3", "--crops-per-epoch", "18")
    with largest_file(100_000):
        assert train(tiny_dataset, out, work, *anew) == 74
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bids_cascade: error")]
    assert len(errors) == 1
    assert "_stage1.safetensors: File too large" in errors[0]
    assert set((work / "training").iterdir()) == checkpoints
    assert {path: path.read_bytes() for path in before} == before, "nothing is lost"
    assert train(tiny_dataset, out, work, *anew) == 0
    fold = json.loads((out / "cross-validation" / "fold-1.json").read_text())
    stored = load_model(out / "cross-validation" / "models" / "tiny_fold-1.safetensors")
    assert fold["threshold"] == stored.header.cascade.threshold == 0.3, "other choices are done anew"
    assert stored.header.provenance["threshold"] == "given"


def blank(path: Path) -> None:
    mask = nib.Nifti1Image.from_filename(path)
    nib.Nifti1Image(np.zeros(mask.shape, np.uint8), mask.affine).to_filename(path)


def test_bad_masks_are_named_and_the_others_go_on(done, tiny_dataset: Path, tmp_path: Path, capsys) -> None:
    labels = tmp_path / "labels"
    shutil.copytree(tiny_dataset / "derivatives" / "manual", labels)
    shifted = labels / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_space-FLAIR_label-L_mask.nii.gz"
    mask = nib.Nifti1Image.from_filename(shifted)
    affine = mask.affine.copy()
    affine[0, 3] += 1
    nib.Nifti1Image(np.asarray(mask.dataobj), affine).to_filename(shifted)
    blank(labels / "sub-02" / "anat" / "sub-02_space-FLAIR_label-L_mask.nii.gz")
    shutil.rmtree(labels / "sub-01" / "ses-b")
    assert train(tiny_dataset, tmp_path / "out", done[1], labels=labels) == 65
    said = capsys.readouterr()
    assert "left out, as there is no lesion mask: sub-01_ses-b" in said.err
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.startswith("sub-")}
    assert "is not on the grid of any image of its visit" in rows["sub-01_ses-a"]
    assert "WARNING" in rows["sub-02"]
    assert "the mask has no lesion" in rows["sub-02"]
    origin = load_model(tmp_path / "out" / "models" / "tiny.safetensors").header.provenance
    assert origin["training_subjects"] == ["03"]
    assert origin["threshold"] == "the default, as no subject was held out"


def test_nothing_to_learn_from(done, tiny_dataset: Path, tmp_path: Path, capsys) -> None:
    labels = tmp_path / "labels"
    shutil.copytree(tiny_dataset / "derivatives" / "manual", labels)
    for participant in ("02", "03"):
        blank(labels / f"sub-{participant}" / "anat" / f"sub-{participant}_space-FLAIR_label-L_mask.nii.gz")
    out, work = tmp_path / "out", done[1]
    # The second fold leaves the only participant out who has lesions.
    assert train(tiny_dataset, out, work, "--cross-validate", "loo", "--fold", "2", labels=labels) == 65
    assert "fold 2: without sub-01 none of the 2 visits to train on has a lesion" in capsys.readouterr().err
    assert train(tiny_dataset, out, work, "--participant-label", "02", "03", labels=labels) == 65
    assert "none of the 2 labelled visits has a lesion voxel" in capsys.readouterr().err
    assert train(tiny_dataset, out, work, labels=tiny_dataset) == 66
    assert "no lesion mask (label-L or label-lesion" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--cross-validate", "loo", "--participant-label", "01"],
            "at least 2 labelled participants, found 1 (sub-01)",
        ),
        (["--cross-validate", "4"], "--cross-validate 4 needs at least 4 labelled participants, found 3"),
        (["--cross-validate", "3", "--fold", "4"], "--fold 4: there are 3 folds"),
    ],
)
def test_what_can_not_be_done(tiny_dataset: Path, tmp_path: Path, capsys, options: list[str], message: str) -> None:
    assert train(tiny_dataset, tmp_path / "out", tmp_path / "work", *options) == 64
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("bids_cascade: error"))
    assert message in error
    assert not (tmp_path / "out").exists()
