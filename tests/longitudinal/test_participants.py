"""All comparisons of a participant: what is written, and what is not done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bids_cascade.derivatives.change import FIRST, PREVIOUS, lesions_path, viewer_path
from bids_cascade.derivatives.course import NOT_COMPARABLE
from bids_cascade.longitudinal.outcome import format_outcomes
from bids_cascade.report.participant import write_participant_page

from .left_visits import NEW, OLD, compare, leave_visit, quality_flags, state, visit


@pytest.mark.slow
def test_visits_are_compared_once_and_lesions_keep_their_numbers(root: Path) -> None:
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
def test_visits_without_any_lesion_are_compared(tmp_path: Path, small_head: Any) -> None:
    (tmp_path / "raw").mkdir()
    for seed, lesions in enumerate(({}, {}, {NEW: 3})):
        leave_visit(tmp_path / "out", f"sub-01_ses-{seed + 1}", small_head.make_visit(lesions, seed=seed))
    outcomes = compare(tmp_path)
    assert [(one.later, one.compared_with, one.n_new, one.n_others, one.message) for one in outcomes] == [
        ("sub-01_ses-2", "ses-1", 0, 0, ""),
        ("sub-01_ses-3", "ses-2", 1, 0, ""),
        ("sub-01_ses-3", "ses-1", 1, 0, ""),
    ]
    assert "ses-1 to ses-2" in write_participant_page(tmp_path / "out", "01").read_text()


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
    assert third.message.endswith("process copies of both visits without T1w")
    assert third_from_first.n_new is None
    assert "ses-2" in quality_flags(tmp_path / "out", "3")[NOT_COMPARABLE]
    assert "ses-1" in quality_flags(tmp_path / "out", "3")[NOT_COMPARABLE]


def test_a_participant_with_one_visit_is_passed_over(tmp_path: Path, leave_results: Any) -> None:
    leave_results(tmp_path / "out", "sub-01_ses-1")
    assert compare(tmp_path) == []
    assert "no participant" in format_outcomes([])
