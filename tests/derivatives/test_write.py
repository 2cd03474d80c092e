import os
from dataclasses import replace
from pathlib import Path

import pytest

from bids_cascade.dataset.visits import ImageChoice
from bids_cascade.derivatives.write import _move_all, _of_space, _remove_earlier, publish_report
from bids_cascade.errors import OutputError

from .conftest import MakePlan


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"desc-{name}" for name in ("brain_T1w.svg", "viewer_FLAIR.html", "quality_stats.tsv")]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_a_report_is_published_beside_the_results(files: list[Path], tmp_path: Path, make_plan: MakePlan) -> None:
    publish_report(make_plan("1"), files)
    top = tmp_path / "out" / "sub-01"
    there = sorted(path.relative_to(top).as_posix() for path in top.rglob("*") if path.is_file())
    assert there == [
        "figures/sub-01_ses-1_desc-brain_T1w.svg",
        "figures/sub-01_ses-1_desc-viewer_FLAIR.html",
        "ses-1/anat/sub-01_ses-1_desc-quality_stats.tsv",
    ]
    assert (top / there[0]).read_text() == "desc-brain_T1w.svg"


def test_an_earlier_report_goes_and_those_of_other_visits_stay(
    files: list[Path], tmp_path: Path, make_plan: MakePlan
) -> None:
    for session in (None, "1", "10"):
        publish_report(make_plan(session), files)
    for session, left in (("1", 6), (None, 3), (None, 3)):
        _remove_earlier(make_plan(session))
        assert sum(path.is_file() for path in (tmp_path / "out").rglob("*")) == left
    assert all("ses-10" in path.name for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_what_can_not_be_published_is_said(files: list[Path], tmp_path: Path, make_plan: MakePlan) -> None:
    (tmp_path / "out" / "sub-01").mkdir(parents=True)
    (tmp_path / "out" / "sub-01" / "figures").touch()
    with pytest.raises(OutputError, match=r"can.t create the folder .*figures"):
        publish_report(make_plan(None), files)


def test_what_says_that_results_are_whole_goes_first_and_comes_last(
    tmp_path: Path, make_plan: MakePlan, leave_results, monkeypatch
) -> None:
    mine = make_plan(None)
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


def test_results_on_the_grid_of_another_image_go(tmp_path: Path, make_plan: MakePlan) -> None:
    """Where a T1w has come since, or gone, nothing is left that a reader could take for results of this run."""
    mine = make_plan(None)
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
