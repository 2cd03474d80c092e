"""The longitudinal level: whom it compares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bids_cascade.config import Inputs, Selection
from bids_cascade.errors import NothingSelectedError
from bids_cascade.levels.longitudinal import run_longitudinal


def test_without_results_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(NothingSelectedError, match="no results of any participant"):
        run_longitudinal(Inputs(tmp_path, tmp_path / "mistyped"), 1, 0)
    assert not (tmp_path / "mistyped").exists()


def test_a_participant_without_results_is_named(tmp_path: Path, leave_results: Any) -> None:
    leave_results(tmp_path / "out", "sub-01_ses-1")
    with pytest.raises(NothingSelectedError, match="no results of 02 in"):
        run_longitudinal(Inputs(tmp_path, tmp_path / "out", Selection(("01", "02"))), 1, 0)


def test_a_participant_with_one_visit_has_a_page_and_no_comparison(
    tmp_path: Path, leave_results: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    leave_results(tmp_path / "out", "sub-01_ses-1")
    assert run_longitudinal(Inputs(tmp_path / "raw", tmp_path / "out"), 1, 0, noise_floor=False) == 0
    assert (tmp_path / "out" / "sub-01.html").exists()
    assert "no participant has two visits" in capsys.readouterr().out
