import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bids_cascade.config import LesionRule
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.derivatives.write import (
    OutputPlan,
    _model_fields,
    _move_all,
    _of_space,
    _remove_earlier,
    has_outputs,
    publish_report,
    read_stats,
)
from bids_cascade.errors import OutputError

RULE = LesionRule(0.5, 10, 0.7)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"desc-{name}" for name in ("brain_T1w.svg", "viewer_FLAIR.html", "quality_stats.tsv")]
    for path in paths:
        path.write_text(path.name)
    return paths


def plan(tmp_path: Path, session: str | None) -> OutputPlan:
    images = {"T1w": ImageChoice(tmp_path / "x.nii", "the only one")}
    return OutputPlan(Visit("01", session, images), tmp_path, tmp_path / "out", "tiny", "0" * 64, RULE, (0.2, 0.8))


def test_a_report_is_published_beside_the_results(files: list[Path], tmp_path: Path) -> None:
    publish_report(plan(tmp_path, "1"), files)
    top = tmp_path / "out" / "sub-01"
    there = sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())
    assert there == [
        "figures/sub-01_ses-1_desc-brain_T1w.svg",
        "figures/sub-01_ses-1_desc-viewer_FLAIR.html",
        "ses-1/anat/sub-01_ses-1_desc-quality_stats.tsv",
    ]
    assert (top / there[0]).read_text() == "desc-brain_T1w.svg"


def test_an_earlier_report_goes_and_those_of_other_visits_stay(files: list[Path], tmp_path: Path) -> None:
    for session in (None, "1", "10"):
        publish_report(plan(tmp_path, session), files)
    for session, left in (("1", 6), (None, 3), (None, 3)):
        _remove_earlier(plan(tmp_path, session))
        assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == left
    assert all("ses-10" in path.name for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_what_can_not_be_published_is_said(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out" / "sub-01").mkdir(parents=True)
    (tmp_path / "out" / "sub-01" / "figures").touch()
    with pytest.raises(OutputError, match=r"can.t create the folder .*figures"):
        publish_report(plan(tmp_path, None), files)


def test_lesions_are_shown_on_the_flair_if_there_is_one(tmp_path: Path) -> None:
    assert plan(tmp_path, None).shown == "T1w"


def test_outputs_count_as_there_only_if_whole_and_made_in_the_same_way(tmp_path: Path, leave_results) -> None:
    mine = plan(tmp_path, None)
    assert not has_outputs(mine)
    fields = {**_model_fields(mine), "GeneratedByVersion": "1"}
    anat = leave_results(mine.out_dir, "sub-01", **fields)
    assert has_outputs(mine)
    assert not has_outputs(replace(mine, precision="half"))
    assert not has_outputs(replace(mine, rule=replace(mine.rule, peak_probability=0.9)))
    # Killed between the new results' JSON and their table, in the order of before: the old table stands beside.
    stats = anat / "sub-01_desc-lesions_stats.tsv"
    stats.write_text(stats.read_text().replace("\n3\t", "\n2\t"))
    assert not has_outputs(mine)
    leave_results(mine.out_dir, "sub-01", **fields)
    (anat / "sub-01_space-T1w_seg-lesions_dseg.tsv").unlink()
    assert not has_outputs(mine)


def test_what_says_that_results_are_whole_goes_first_and_comes_last(tmp_path: Path, leave_results, monkeypatch) -> None:
    mine = plan(tmp_path, None)
    anat = leave_results(mine.out_dir, "sub-01")
    stats = anat / "sub-01_desc-lesions_stats.tsv"
    staging = tmp_path / "staging"
    leave_results(staging, "sub-01")
    moved = []

    def replace_noted(source: Path, target: Path) -> None:
        moved.append(Path(target).name)
        assert not stats.exists(), "no reader takes the mixture for complete results"
        Path(source).rename(target)

    _remove_earlier(mine)
    monkeypatch.setattr(os, "replace", replace_noted)
    _move_all(staging, mine.out_dir, last=stats.name)
    assert moved[-1] == stats.name
    assert len(moved) == 4


def test_flags_of_both_sidecars_are_read_and_the_measured_ones_win(tmp_path: Path) -> None:
    mine = plan(tmp_path, None)
    assert read_stats(mine) is None
    stats = tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-lesions_stats.tsv"
    stats.parent.mkdir(parents=True)
    stats.write_text("n_lesions\n3\n")
    stats.with_suffix(".json").write_text(json.dumps({"QualityFlags": {"guess": "left", "cut": "some"}}))
    assert read_stats(mine) == ({"n_lesions": "3"}, {"guess": "left", "cut": "some"})
    quality = stats.with_name("sub-01_desc-quality_stats.tsv")
    quality.write_text("quality_flags\nguess;cut;noise\n")
    quality.with_suffix(".json").write_text(json.dumps({"QualityFlags": {"guess": "left", "cut": "10 %", "noise": ""}}))
    assert read_stats(mine) == ({"n_lesions": "3"}, {"guess": "left", "cut": "10 %", "noise": ""})


def test_flags_of_the_images_come_first(tmp_path: Path) -> None:
    mine = replace(plan(tmp_path, None), flags={"guess": "T1w"})
    assert mine.joined_flags([{"cut": "FLAIR"}, {"cut": "T2w"}]) == {"guess": "T1w", "cut": "FLAIR; T2w"}


def test_results_on_the_grid_of_another_image_go(tmp_path: Path) -> None:
    """Where a T1w has come since, or gone, nothing is left that a reader could take for results of this run."""
    mine = plan(tmp_path, None)
    flair = ImageChoice(tmp_path / "y.nii", "the only one")
    both = replace(mine, visit=replace(mine.visit, images={**mine.visit.images, "FLAIR": flair}))
    alone = replace(mine, visit=replace(mine.visit, images={"FLAIR": flair}, absent=("T1w",)))
    assert [(one.space, one.shown) for one in (both, alone)] == [("T1w", "FLAIR"), ("FLAIR", "FLAIR")]
    of_t1w = ["space-T1w_label-L_mask.nii.gz", "space-T1w_seg-lesions_dseg.tsv", "desc-preproc_T1w.json"]
    of_t1w += ["space-T1w_desc-preproc_FLAIR.nii.gz", "from-FLAIR_to-T1w_mode-image_xfm.txt"]
    of_flair = ["space-FLAIR_seg-lesions_dseg.json", "desc-preproc_FLAIR.nii.gz"]
    anat = mine.out_dir / "sub-01" / "anat"
    anat.mkdir(parents=True)
    for one, gone, kept in ((both, of_flair, of_t1w), (alone, of_t1w, of_flair)):
        for name in (*of_t1w, *of_flair, "desc-brain_mask.nii.gz"):
            (anat / f"sub-01_{name}").touch()
        _remove_earlier(one)
        left = {path.name.removeprefix("sub-01_") for path in anat.iterdir()}
        assert left == {*kept, "desc-brain_mask.nii.gz"}, gone


def test_columns_say_on_whose_grid_they_are_and_keep_their_levels() -> None:
    columns = {"a": {"Description": "On the SPACE image", "Levels": {"yes": "SPACE"}}}
    assert _of_space(columns, "FLAIR") == {"a": {"Description": "On the FLAIR image", "Levels": {"yes": "SPACE"}}}
