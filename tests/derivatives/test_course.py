"""Visits whose lesion volumes are far from each other."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_cascade.derivatives.course import FAR_FROM_OTHER_VISIT, flag_far_volumes, quality_locked
from bids_cascade.derivatives.flags import read_quality_flags

Leave = Callable[..., Path]


def quality_of(out: Path, session: str) -> Path:
    return out / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_desc-quality_stats.tsv"


def test_a_volume_far_from_the_visit_before_is_flagged_in_its_table(tmp_path: Path, leave_results: Leave) -> None:
    for session, volume_mm3 in (("10", 2900.0), ("2", 1000.0), ("1", 1900.0), ("20", 9000.0)):
        leave_results(tmp_path, f"sub-01_ses-{session}", [volume_mm3], flags={"noisy": "it is."})
    far = flag_far_volumes(tmp_path, "01")
    # From 1.9 to 1.0 is less than 1 ml; from 1.0 to 2.9 and from 2.9 to 9.0 is more, and more than half of the larger.
    assert set(far) == {"sub-01_ses-10", "sub-01_ses-20"}
    reason = "the lesion volume is 9 ml, at ses-10 it is 2.9 ml (expected within 1 ml or 50% of the larger)."
    assert far["sub-01_ses-20"] == reason
    assert read_quality_flags(quality_of(tmp_path, "20")) == {"noisy": "it is.", FAR_FROM_OTHER_VISIT: reason}
    assert read_quality_flags(quality_of(tmp_path, "2")) == {"noisy": "it is."}
    assert quality_of(tmp_path, "20").read_text() == f"snr\tquality_flags\n9.5\tnoisy;{FAR_FROM_OTHER_VISIT}\n"


def test_small_fractions_of_large_volumes_are_not_far(tmp_path: Path, leave_results: Leave) -> None:
    for session, volume_mm3 in (("1", 10_000.0), ("2", 19_000.0)):
        leave_results(tmp_path, f"sub-01_ses-{session}", [volume_mm3], flags={})
    assert flag_far_volumes(tmp_path, "01") == {}


def test_a_flag_that_no_longer_holds_goes_and_nothing_else_is_touched(tmp_path: Path, leave_results: Leave) -> None:
    for session, volume_mm3 in (("1", 100.0), ("2", 9000.0)):
        leave_results(tmp_path, f"sub-01_ses-{session}", [volume_mm3], flags={})
    flag_far_volumes(tmp_path, "01")
    written = [quality_of(tmp_path, session).stat().st_mtime_ns for session in "12"]
    flag_far_volumes(tmp_path, "01")
    assert [quality_of(tmp_path, session).stat().st_mtime_ns for session in "12"] == written
    leave_results(tmp_path, "sub-01_ses-1", [8500.0], flags={})
    assert flag_far_volumes(tmp_path, "01") == {}
    assert quality_of(tmp_path, "2").read_text() == "snr\tquality_flags\n9.5\tn/a\n"
    assert json.loads(quality_of(tmp_path, "2").with_suffix(".json").read_text())["QualityFlags"] == {}


def test_half_written_visits_are_passed_over_and_tables_that_are_not_there_not_made(
    tmp_path: Path, leave_results: Leave
) -> None:
    for session, volume_mm3 in (("1", 100.0), ("2", 9000.0), ("3", 200.0)):
        anat = leave_results(tmp_path, f"sub-01_ses-{session}", [volume_mm3])
        if session == "2":
            next(anat.glob("*dseg.json")).unlink()
    leave_results(tmp_path, "sub-01_ses-4", [9000.0])
    assert set(flag_far_volumes(tmp_path, "01")) == {"sub-01_ses-4"}
    assert not list(tmp_path.rglob("*quality*"))
    assert flag_far_volumes(tmp_path, "02") == {}


@pytest.mark.parametrize("there", [True, False])
def test_runs_wait_for_each_other_before_they_replace_tables(tmp_path: Path, there: bool) -> None:
    if not there:
        with quality_locked(tmp_path, "01"):
            return
    (tmp_path / "sub-01").mkdir()
    folder = os.open(tmp_path / "sub-01", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    entered = threading.Event()

    def enter() -> None:
        with quality_locked(tmp_path, "01"):
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.2)
    os.close(folder)
    assert entered.wait(5)
    thread.join()


def test_volumes_of_other_sequences_are_said_to_be_so(tmp_path: Path, leave_results: Leave) -> None:
    leave_results(tmp_path, "sub-01_ses-1", [1000.0], flags={})
    leave_results(tmp_path, "sub-01_ses-2", [9000.0], flags={}, space="FLAIR", SequencesUsed=["FLAIR"])
    reason = flag_far_volumes(tmp_path, "01")["sub-01_ses-2"]
    assert reason.startswith("the lesion volume is 9 ml, at ses-1 it is 1 ml")
    assert reason.endswith("They were found in FLAIR and in T1w+FLAIR, which finds others.")
