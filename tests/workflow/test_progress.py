"""What is said while visits are processed, and how far each has come."""

from dataclasses import dataclass
from io import StringIO

import pytest

from bids_cascade.progress_bar import progress_bar
from bids_cascade.workflow.progress import Progress, format_time

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
    assert said_by(caplog, "bids_cascade.workflow.progress") == [
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
    assert said_by(caplog, "bids_cascade.workflow.progress") == [
        "sub-01: done in 0 s; 1 of 4 visits done",
        "sub-02: done in 4 min; 2 of 4 visits done, about 2 min left",
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"), [(99.4, "99 s"), (99.6, "2 min"), (5940, "99 min"), (7500, "2 h 5 min")]
)
def test_a_time_is_given_in_a_unit_that_suits_it(seconds: float, expected: str) -> None:
    assert format_time(seconds) == expected


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


def test_a_visit_lets_go_of_its_files_when_all_of_its_steps_have_ended_well() -> None:
    finished: list[str] = []
    steps = ["outputs", "figures", "report"]
    progress = Progress({"sub_01": steps, "sub_02": steps, "sub_03": steps}, NAMES, None, finished.append)
    for slug, failing in (("sub_01", ""), ("sub_02", "figures"), ("sub_03", "outputs")):
        for step in steps:
            assert slug not in finished
            pass_through(progress, f"bids_cascade.{slug}.{step}", "exception" if step == failing else "end")
    assert finished == ["sub_01"]


def test_the_bar_counts_steps_and_names_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    with progress_bar(4, "steps", with_time_left=False) as bar:
        progress = Progress({"sub_01": ["brain", "bias_T1w"], "sub_02": ["brain", "bias_T1w"]}, NAMES, bar)
        pass_through(progress, "bids_cascade.sub_01.brain")
        progress(Node("bids_cascade.sub_01.bias_T1w"), "start")
    *_, latest = [line for line in terminal.getvalue().split("\r") if line.strip()]
    assert latest.startswith("1 of 4 steps |")
    assert "0 of 2 visits done; sub-01: bias correction of T1w" in latest
