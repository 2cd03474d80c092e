from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_cascade.dataset.visits import Visit
from bids_cascade.workflow.plugin import Failure
from bids_cascade.workflow.run import Progress, _format_time, _read_crash_reports, clean_up, report_work_dir

NAMES = {"sub_01": "sub-01", "sub_02": "sub-02"}


@dataclass
class Node:
    fullname: str


def pass_through(progress: Progress, fullname: str, status: str = "end") -> None:
    for one in ("start", status):
        progress(Node(fullname), one)


def said_by(caplog, logger: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == logger]


def test_each_visit_is_said_once_and_each_step_by_another_logger(caplog) -> None:
    steps = {"sub_01": ["brain", "outputs"], "sub_02": ["bias_FLAIR", "register_FLAIR", "outputs"], "sub_03": ["brain"]}
    progress = Progress(steps, NAMES)
    # The command line, which other tests run, silences the second.
    with caplog.at_level("INFO", logger="bids_cascade"), caplog.at_level("INFO", logger="bids_cascade.steps"):
        pass_through(progress, "bids_cascade.sub_01.brain")
        pass_through(progress, "bids_cascade.sub_01.corrected")
        pass_through(progress, "bids_cascade.sub_02.bias_FLAIR", "exception")
        pass_through(progress, "bids_cascade.sub_02.register_FLAIR", "exception")
        pass_through(progress, "bids_cascade.sub_01.outputs")
    assert said_by(caplog, "bids_cascade.workflow.run") == [
        "sub-02: FAILED at bias correction of FLAIR; 0 of 3 visits done, 1 failed",
        "sub-01: done in 0 s; 1 of 3 visits done, 1 failed",
    ]
    assert said_by(caplog, "bids_cascade.steps") == [
        "sub-01: finding the brain done in 0.0 s",
        "sub-01: writing results done in 0.0 s",
    ]
    assert progress.visits["sub_01"].finished
    assert not progress.visits["sub_02"].finished
    assert progress.visits["sub_01"].seconds >= 0


def test_the_time_left_follows_from_the_work_done(caplog, monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    steps = ["brain", "outputs"]
    progress = Progress({"sub_01": steps, "sub_02": steps, "sub_03": steps, "sub_04": steps}, NAMES)

    def work(slug: str, step: str, seconds: float) -> None:
        progress(Node(f"bids_cascade.{slug}.{step}"), "start")
        clock[0] += seconds
        progress(Node(f"bids_cascade.{slug}.{step}"), "end")

    with caplog.at_level("INFO", logger="bids_cascade"):
        for step in steps:
            work("sub_01", step, 0)  # of an earlier run
        work("sub_02", "brain", 90)
        work("sub_03", "brain", 90)
        work("sub_02", "outputs", 30)
    # Two visits are left, of 120 s each, of which 90 s are done; one step was done at a time.
    assert said_by(caplog, "bids_cascade.workflow.run") == [
        "sub-01: done in 0 s; 1 of 4 visits done",
        "sub-02: done in 4 min; 2 of 4 visits done, about 2 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(99.4, "99 s"), (99.6, "2 min"), (5940, "99 min"), (7500, "2 h 5 min")]
)
def test_a_time_is_given_in_a_unit_that_suits_it(seconds: float, expected: str) -> None:
    assert _format_time(seconds) == expected


def test_the_work_folder_is_named_with_its_size(tmp_path: Path, caplog) -> None:
    (tmp_path / "step").mkdir()
    with (tmp_path / "step" / "image.nii").open("wb") as file:
        file.truncate(1_230_000_000)  # takes no room on the disk
    with caplog.at_level("INFO", logger="bids_cascade"):
        report_work_dir(tmp_path / "deleted")
        report_work_dir(tmp_path)
    said = f"work folder: {tmp_path}, 1.23 GB; not needed any more once all visits are done"
    assert said_by(caplog, "bids_cascade.workflow.run") == [said]


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
