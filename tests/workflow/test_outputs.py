import json
from dataclasses import replace
from pathlib import Path

import pytest

from bids_cascade.config import LesionRule
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.errors import OutputError
from bids_cascade.workflow.outputs import (
    OutputPlan,
    _model_fields,
    _remove_report,
    has_outputs,
    publish_report,
    read_stats,
)

RULE = LesionRule(0.5, 10, 0.7)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"desc-{name}" for name in ("brain_T1w.svg", "viewer_FLAIR.html", "quality_stats.tsv")]
    for path in paths:
        path.write_text(path.name)
    return paths


def plan(tmp_path: Path, session: str | None) -> OutputPlan:
    images = {"T1w": ImageChoice(tmp_path / "x.nii", "the only one")}
    return OutputPlan(Visit("01", session, images), tmp_path, tmp_path / "out", "tiny", "0" * 64, RULE, 0.8)


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
        _remove_report(plan(tmp_path, session))
        assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == left
    assert all("ses-10" in path.name for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_what_can_not_be_published_is_said(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out" / "sub-01").mkdir(parents=True)
    (tmp_path / "out" / "sub-01" / "figures").touch()
    with pytest.raises(OutputError, match=r"can.t create the folder .*figures"):
        publish_report(plan(tmp_path, None), files)


def test_lesions_are_shown_on_the_flair_if_there_is_one(tmp_path: Path) -> None:
    assert plan(tmp_path, None).shown == "T1w"


def test_outputs_count_as_there_only_if_made_in_the_same_way(tmp_path: Path) -> None:
    mine = plan(tmp_path, None)
    assert not has_outputs(mine)
    stats = tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-lesions_stats.tsv"
    stats.parent.mkdir(parents=True)
    stats.touch()
    for content, there in ((_model_fields(mine) | {"More": 1}, True), ([], False), ({"Threshold": 0.5}, False)):
        stats.with_suffix(".json").write_text(json.dumps(content))
        assert has_outputs(mine) is there
    stats.with_suffix(".json").write_text(json.dumps(_model_fields(mine)))
    assert not has_outputs(replace(mine, precision="half"))


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
