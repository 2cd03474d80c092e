"""Comparisons of visits: what is read back when visits have changed since, and what a broken write leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_cascade.change.compare import Comparison, Found, compare_visits
from bids_cascade.derivatives.change import (
    OUT_OF_DATE,
    PREVIOUS,
    EarlierNumbers,
    Pair,
    _hash_tables,
    read_change,
    viewer_path,
    write_change,
    write_refused,
)
from bids_cascade.errors import ReadWriteError
from bids_cascade.visit_key import VisitKey

FIRST_VISIT, SECOND_VISIT = VisitKey("01", "1"), VisitKey("01", "2")
PAIR = Pair(FIRST_VISIT, SECOND_VISIT, PREVIOUS, 365)


@pytest.fixture
def out(tmp_path: Path, leave_results: Any) -> Path:
    """Return an output folder with two visits' tables."""
    for visit in (FIRST_VISIT, SECOND_VISIT):
        leave_results(tmp_path, visit.name)
    return tmp_path


def fingerprint(out: Path) -> str:
    return f"{_hash_tables(out, FIRST_VISIT, SECOND_VISIT)}-0"


def test_what_was_written_is_read(out: Path) -> None:
    write_refused(out, PAIR, {"visits_made_differently": "for a reason"}, fingerprint(out))
    found = read_change(out, SECOND_VISIT, PREVIOUS)
    assert found
    assert (found.fingerprint, found.flags) == (fingerprint(out), {"visits_made_differently": "for a reason"})
    assert found.stats["compared_with"] == "ses-1"
    assert found.stats["days"] == "365"


@pytest.mark.parametrize("which", [FIRST_VISIT, SECOND_VISIT])
def test_a_visit_processed_anew_puts_its_comparison_out_of_date(out: Path, leave_results: Any, which: VisitKey) -> None:
    write_refused(out, PAIR, {}, fingerprint(out))
    leave_results(out, which.name, Threshold=0.7)
    found = read_change(out, SECOND_VISIT, PREVIOUS)
    assert found
    assert list(found.flags) == [OUT_OF_DATE]
    assert "ses-1 or ses-2 has been processed again" in found.flags[OUT_OF_DATE]
    assert found.stats["comparable"] == "no"
    assert found.stats["days"] == "n/a"
    leave_results(out, which.name)  # as before
    again = read_change(out, SECOND_VISIT, PREVIOUS)
    assert again
    assert again.flags == {}


def test_a_visit_that_is_gone_puts_it_out_of_date(out: Path) -> None:
    write_refused(out, PAIR, {}, fingerprint(out))
    shutil.rmtree(out / "sub-01" / "ses-1")
    found = read_change(out, SECOND_VISIT, PREVIOUS)
    assert found
    assert list(found.flags) == [OUT_OF_DATE]


@pytest.fixture(scope="module")
def found(small_head: Any) -> Comparison:
    head = small_head.make_visit({(-10.0, 0.0, 6.0): 4})
    return compare_visits(head, head)


def test_what_breaks_off_is_no_comparison(out: Path, found: Comparison, small_head: Any) -> None:
    assert isinstance(found.result, Found)
    anat = out / SECOND_VISIT.folder / "anat"
    head = small_head.make_visit({})
    head.scans["T1w"].to_filename(anat / f"{SECOND_VISIT.name}_desc-preproc_T1w.nii.gz")
    none = EarlierNumbers(np.zeros(found.grid.shape, np.int32), 6)

    def make_no_page(numbers: Any) -> str:
        raise ReadWriteError("No space left on device")

    write_change(out, PAIR, found, none, str, "abc")
    with pytest.raises(ReadWriteError):
        write_change(out, PAIR, found, none, make_no_page, "def")
    assert read_change(out, SECOND_VISIT, PREVIOUS) is None
    write_change(out, PAIR, found, none, str, "def")
    assert viewer_path(out, SECOND_VISIT, PREVIOUS).read_text() == "{1: 7}"  # after the six that were given before
    again = read_change(out, SECOND_VISIT, PREVIOUS)
    assert again
    assert again.fingerprint == "def"
