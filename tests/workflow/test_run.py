from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_cascade.dataset.visits import Visit
from bids_cascade.workflow.plugin import Failure
from bids_cascade.workflow.run import Progress, _read_crash_reports, clean_up

NAMES = {"sub_01": "sub-01", "sub_02": "sub-02"}


@dataclass
class Node:
    fullname: str


def pass_through(progress: Progress, fullname: str, status: str = "end") -> None:
    for one in ("start", status):
        progress(Node(fullname), one)


def test_steps_are_counted_down_and_failed_visits_taken_out(caplog) -> None:
    progress = Progress({"sub_01": ["brain", "outputs"], "sub_02": ["bias_FLAIR", "register_FLAIR", "outputs"]}, NAMES)
    with caplog.at_level("INFO", logger="bids_cascade"):
        pass_through(progress, "bids_cascade.sub_01.brain")
        pass_through(progress, "bids_cascade.sub_01.corrected")
        pass_through(progress, "bids_cascade.sub_02.bias_FLAIR", "exception")
        pass_through(progress, "bids_cascade.sub_02.register_FLAIR")
        pass_through(progress, "bids_cascade.sub_01.outputs")
    texts = [record.getMessage() for record in caplog.records]
    assert [text.split(" in ")[0] for text in texts] == [
        "sub-01: finding the brain done",
        "sub-02: bias correction of FLAIR FAILED",
        "sub-02: registration of FLAIR done",
        "sub-01: writing results done",
    ]
    ends = ["2 visits with 4 steps left", "1 visits with 1 steps left"]
    assert [text.split("; ")[1] for text in texts[:2]] == ends
    assert texts[-1].endswith("0 visits with 0 steps left")
    assert progress.visits["sub_01"].finished
    assert not progress.visits["sub_02"].finished
    assert progress.visits["sub_01"].seconds >= 0


@pytest.mark.parametrize("failing", ["draw_T1w", "figures", "report"])
def test_a_report_that_fails_leaves_its_visit_finished(failing: str) -> None:
    steps = {"draw_T1w", "outputs", "figures", "report"}
    progress = Progress({"sub_01": steps, "sub_02": steps}, NAMES)
    for step in ("draw_T1w", "outputs", "figures"):
        pass_through(progress, f"bids_cascade.sub_01.{step}", "exception" if step == failing else "end")
        assert progress.visits["sub_01"].finished == (step != "draw_T1w")
    if failing == "report":
        pass_through(progress, "bids_cascade.sub_01.report", "exception")
    assert progress.visits["sub_01"].finished
    assert progress.steps_left == {"sub_02": steps}


def test_a_visit_that_fails_is_not_finished_by_steps_beside() -> None:
    progress = Progress({"sub_01": ["pack_T1w", "draw_T1w", "outputs"]}, NAMES)
    pass_through(progress, "bids_cascade.sub_01.pack_T1w", "exception")
    pass_through(progress, "bids_cascade.sub_01.draw_T1w")
    assert not progress.visits["sub_01"].finished


def test_crash_reports_are_read_by_node(tmp_path: Path) -> None:
    (tmp_path / "crash-1-brain.txt").write_text(
        "Node: bids_cascade.sub_01.brain\nWorking directory: x\n\n\tbids_cascade.errors.BadDataError: bad.nii\n"
    )
    (tmp_path / "crash-2-bias.txt").write_text("Node: bids_cascade.sub_02.bias_T1w\n\nTraceback\nValueError: odd\n")
    assert _read_crash_reports(tmp_path) == {
        "bids_cascade.sub_01.brain": Failure("bad.nii", 65),
        "bids_cascade.sub_02.bias_T1w": Failure("ValueError: odd", 1),
    }


def test_cleaning_takes_the_folder_only_if_nothing_else_is_in_it(tmp_path: Path) -> None:
    visits = [Visit("01", None, {}), Visit("02", None, {})]
    work = tmp_path / "work"
    for visit in visits:
        (work / "bids_cascade" / visit.slug / "brain").mkdir(parents=True)
    (work / ".proc-1_time-2_freq-1.00").touch()  # a sample of nipype's resource monitor
    clean_up(visits[:1], work)
    assert [path.name for path in (work / "bids_cascade").iterdir()] == ["sub_02"]
    clean_up(visits, work)
    assert not work.exists()
