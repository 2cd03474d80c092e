"""The longitudinal level: which visits are compared, what is written, and what is not done twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.config import Inputs
from bids_cascade.derivatives.change import FIRST, PREVIOUS, Pair, lesions_path, read_change, stats_path, viewer_path
from bids_cascade.derivatives.course import NOT_COMPARABLE
from bids_cascade.derivatives.flags import read_quality_flags
from bids_cascade.errors import NothingSelectedError
from bids_cascade.imaging.images import ORIENTATION_IS_A_GUESS
from bids_cascade.levels.longitudinal import (
    compare_participants,
    format_outcomes,
    plan_pairs,
    remove_stale,
    run_longitudinal,
)
from bids_cascade.report.participant import write_participant_page
from bids_cascade.visit_key import VisitKey

OLD, NEW, LATEST = (-10.0, 0.0, 6.0), (11.0, -2.0, -4.0), (0.0, -14.0, 5.0)


def visit(session: str) -> VisitKey:
    return VisitKey("01", session)


def test_each_visit_is_compared_with_the_previous_and_the_first() -> None:
    pairs = plan_pairs([(visit("10"), None), (visit("1"), None), (visit("2"), None)])
    assert pairs == [
        Pair(visit("1"), visit("2"), PREVIOUS),
        Pair(visit("2"), visit("10"), PREVIOUS),
        Pair(visit("1"), visit("10"), FIRST),
    ]


def test_dates_order_visits_if_all_have_one() -> None:
    a, b = (visit("a"), date(2021, 3, 1)), (visit("b"), date(2020, 3, 1))
    assert plan_pairs([a, b]) == [Pair(b[0], a[0], PREVIOUS, 365)]
    assert plan_pairs([a, (visit("b"), None)]) == [Pair(a[0], visit("b"), PREVIOUS)]


def test_a_single_visit_has_nothing_to_be_compared_with() -> None:
    assert plan_pairs([(visit("1"), None)]) == []


def test_twelve_visits_make_twenty_one_comparisons() -> None:
    pairs = plan_pairs([(visit(str(n)), None) for n in range(12, 0, -1)])
    assert len(pairs) == 11 + 10
    assert [pair.later.session for pair in pairs if pair.desc == PREVIOUS] == [str(n) for n in range(2, 13)]


@pytest.fixture(scope="module")
def scene(small_head: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def leave_visit(out: Path, name: str, finished: Any, threshold: float = 0.5, space: str = "T1w") -> None:
    anat = out.joinpath(*name.split("_"), "anat")
    anat.mkdir(parents=True, exist_ok=True)
    mask = finished.mask
    scans = {"desc-preproc_FLAIR": finished.scans["FLAIR"]}
    if space == "T1w":
        scans = {"desc-preproc_T1w": finished.scans["T1w"], "space-T1w_desc-preproc_FLAIR": finished.scans["FLAIR"]}
    for file, image in {
        **scans,
        "desc-brain_mask": finished.brain,
        f"space-{space}_label-L_probseg": finished.probability,
        f"space-{space}_label-L_mask": mask,
        f"space-{space}_seg-lesions_dseg": nib.Nifti1Image(np.asarray(mask.dataobj).astype(np.int32), mask.affine),
    }.items():
        image.to_filename(anat / f"{name}_{file}.nii.gz")
    volume_mm3 = float(np.asarray(mask.dataobj).sum())
    model = {"ModelName": "tiny", "ModelSHA256": "ab" * 32, "Threshold": threshold, "MinLesionVolume": 3.0}
    model["SequencesUsed"] = ["T1w", "FLAIR"] if space == "T1w" else ["FLAIR"]
    sidecar = json.dumps({**model, "GeneratedByVersion": "1.0.0"})
    columns = "index\tname\tvolume_mm3\tcentre_x_mm\tcentre_y_mm\tcentre_z_mm\tmean_probability"
    table = anat / f"{name}_space-{space}_seg-lesions_dseg.tsv"
    table.write_text(f"{columns}\n1\tlesion1\t{volume_mm3}\t0\t0\t0\t0.9\n")
    table.with_suffix(".json").write_text(sidecar)
    header = "n_lesions\tlesion_volume_t1w_ml\tlesion_volume_flair_ml\tbrain_volume_ml"
    (anat / f"{name}_desc-lesions_stats.json").write_text(sidecar)
    volumes_ml = (volume_mm3 / 1000, "n/a") if space == "T1w" else ("n/a", volume_mm3 / 1000)
    (anat / f"{name}_desc-lesions_stats.tsv").write_text(f"{header}\n1\t{volumes_ml[0]}\t{volumes_ml[1]}\t40\n")
    (anat / f"{name}_desc-quality_stats.tsv").write_text("snr\tquality_flags\n9.5\tn/a\n")
    (anat / f"{name}_desc-quality_stats.json").write_text("{}")


def compare(root: Path) -> list[Any]:
    return compare_participants(Inputs(root / "raw", root / "out"), ["01"], 1, 0)


def quality_flags(out: Path, session: str) -> dict[str, str]:
    return read_quality_flags(out / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_desc-quality_stats.tsv") or {}


def state(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.rglob("*change*") if path.is_file()}


@pytest.mark.slow
def test_visits_are_compared_once_and_lesions_keep_their_numbers(scene: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(scene, root)
    out, third = root / "out", visit("3")
    outcomes = compare(root)
    assert [(one.later, one.compared_with, one.n_new, one.message) for one in outcomes] == [
        ("sub-01_ses-2", "ses-1", 1, ""),
        ("sub-01_ses-3", "ses-2", 1, ""),
        ("sub-01_ses-3", "ses-1", 2, ""),
    ]
    numbers = {}
    for later, desc in ((visit("2"), PREVIOUS), (third, PREVIOUS), (third, FIRST)):
        lines = lesions_path(out, later, desc, ".tsv").read_text().splitlines()[1:]
        numbers[later.session, desc] = {line.split("\t")[0]: line.split("\t")[2] for line in lines}
        assert viewer_path(out, later, desc).exists()
    assert numbers["2", PREVIOUS] == {"1": "stable", "2": "new"}
    assert numbers["3", PREVIOUS] == {"1": "stable", "2": "stable", "3": "new"}
    assert numbers["3", FIRST] == {"1": "stable", "2": "new", "3": "new"}
    before = state(out)
    assert compare(root) == outcomes
    assert state(out) == before
    page = write_participant_page(out, "01").read_text()
    assert "Change between visits" in page
    assert "ses-1 to ses-3" in page
    assert "comparison" in format_outcomes(outcomes)


@pytest.mark.slow
def test_visits_of_two_models_are_not_compared(scene: Path, tmp_path: Path, small_head: Any) -> None:
    root = tmp_path / "copy"
    shutil.copytree(scene, root)
    shutil.rmtree(root / "out" / "sub-01" / "ses-3")
    leave_visit(root / "out", "sub-01_ses-2", small_head.make_visit({OLD: 4}), threshold=0.7)
    (outcome,) = compare(root)
    assert outcome.n_new is None
    assert "threshold 0.5 and 0.7" in outcome.message
    assert "run the participant level for both" in outcome.message
    found = read_change(root / "out", visit("2"), PREVIOUS)
    assert found
    assert list(found.flags) == ["visits_made_differently"]
    assert not lesions_path(root / "out", visit("2"), PREVIOUS, ".nii.gz").exists()
    assert "NOT COMPARED" in format_outcomes([outcome])
    assert "threshold 0.5 and 0.7" in quality_flags(root / "out", "2")[NOT_COMPARABLE]
    assert quality_flags(root / "out", "1") == {}
    leave_visit(root / "out", "sub-01_ses-1", small_head.make_visit({OLD: 4}), threshold=0.7)
    assert [one.message for one in compare(root)] == [""]
    assert quality_flags(root / "out", "2") == {}


def test_a_visit_that_may_be_mirrored_is_compared_with_its_like_only(
    scene: Path, tmp_path: Path, small_head: Any
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(scene, root)
    shutil.rmtree(root / "out" / "sub-01" / "ses-3")

    def guess(session: str) -> None:
        path = root / "out" / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_desc-lesions_stats.json"
        sidecar = json.loads(path.read_text())
        path.write_text(json.dumps(sidecar | {"QualityFlags": {ORIENTATION_IS_A_GUESS: "neither sform nor qform"}}))

    guess("2")
    (outcome,) = compare(root)
    assert outcome.n_new is None
    assert "the orientation of sub-01_ses-2 is a guess" in outcome.message
    assert "may be a mirror image" in quality_flags(root / "out", "2")[NOT_COMPARABLE]
    guess("1")
    assert [one.message for one in compare(root)] == [""]


@pytest.mark.slow
def test_without_comparisons_those_of_replaced_results_go(scene: Path, tmp_path: Path, small_head: Any) -> None:
    root = tmp_path / "copy"
    shutil.copytree(scene, root)
    out, inputs = root / "out", Inputs(root / "raw", root / "out")
    shutil.rmtree(out / "sub-01" / "ses-3")
    compare(root)
    before = state(out)
    remove_stale(inputs, ["01"])
    assert state(out) == before
    leave_visit(out, "sub-01_ses-1", small_head.make_visit({OLD: 5}))
    remove_stale(inputs, ["01"])
    assert state(out) == {}


@pytest.mark.slow
def test_visits_without_t1w_are_compared_by_their_flair(tmp_path: Path, small_head: Any) -> None:
    (tmp_path / "raw").mkdir()
    pose = small_head.turned([2, -2, 3], [1, -1, 2])
    leave_visit(tmp_path / "out", "sub-01_ses-1", small_head.make_visit({OLD: 4}), space="FLAIR")
    leave_visit(tmp_path / "out", "sub-01_ses-2", small_head.make_visit({OLD: 4, NEW: 3}, pose, 1), space="FLAIR")
    leave_visit(tmp_path / "out", "sub-01_ses-3", small_head.make_visit({OLD: 4, NEW: 3}, pose, 1))
    second, third, third_from_first = compare(tmp_path)
    assert (second.n_new, second.n_others, second.message) == (1, 0, "")
    assert "sequences FLAIR and T1w+FLAIR" in third.message
    assert third_from_first.n_new is None
    assert "ses-2" in quality_flags(tmp_path / "out", "3")[NOT_COMPARABLE]
    assert "ses-1" in quality_flags(tmp_path / "out", "3")[NOT_COMPARABLE]


@pytest.mark.slow
def test_of_two_jobs_at_once_each_comparison_is_made_by_one(scene: Path, tmp_path: Path) -> None:
    """A visit has come between two that were compared before: two jobs find that out at the same time."""
    root = tmp_path / "copy"
    shutil.copytree(scene, root)
    second = root / "out" / "sub-01" / "ses-2"
    second.rename(tmp_path / "later")
    assert [(one.later, one.compared_with) for one in compare(root)] == [("sub-01_ses-3", "ses-1")]
    (tmp_path / "later").rename(second)
    command = [sys.executable, "-m", "bids_cascade", str(root / "raw"), str(root / "out"), "longitudinal"]
    jobs = [
        subprocess.Popen(
            [*command, "--skip-bids-validation"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [job.communicate(timeout=1200) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sum(errors.count("comparing with") for _, errors in said) == 3
    assert said[0][0] == said[1][0]
    lines = said[0][0].splitlines()
    assert [line.split()[:4] for line in lines[-3:]] == [
        ["sub-01_ses-2", "with", "ses-1", "1"],
        ["sub-01_ses-3", "with", "ses-2", "1"],
        ["sub-01_ses-3", "with", "ses-1", "2"],
    ]


@pytest.mark.slow
def test_what_a_removed_visit_has_left_goes(scene: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(scene, root)
    out = root / "out"
    stats_path(out, visit("1"), PREVIOUS).write_text("compared_with\tcomparable\nses-0\tno\n")
    stats_path(out, visit("1"), PREVIOUS).with_suffix(".json").write_text("{}")
    shutil.rmtree(out / "sub-01" / "ses-3")
    (out / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_space-T1w_label-L_mask.nii.gz").unlink()
    (outcome,) = compare(root)
    assert outcome.exit_code == 66
    assert "label-L_mask" in outcome.message
    assert read_change(out, visit("1"), PREVIOUS) is None


def test_a_participant_with_one_visit_is_passed_over(tmp_path: Path, leave_results: Any) -> None:
    leave_results(tmp_path / "out", "sub-01_ses-1")
    assert compare(tmp_path) == []
    assert "no participant" in format_outcomes([])


def test_without_results_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NothingSelectedError, match="no results of any participant"):
        run_longitudinal(Inputs(tmp_path, tmp_path / "mistyped"), 1, 0)
    assert not (tmp_path / "mistyped").exists()
