"""Visits that must not be compared: why, and where that is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from bids_cascade.derivatives.change import PREVIOUS, lesions_path, read_change
from bids_cascade.derivatives.course import NOT_COMPARABLE
from bids_cascade.imaging.images import ORIENTATION_IS_A_GUESS
from bids_cascade.longitudinal.outcome import format_outcomes

from .left_visits import OLD, compare, leave_visit, quality_flags, visit


@pytest.mark.slow
def test_visits_of_two_models_are_not_compared(root: Path, small_head: Any) -> None:
    shutil.rmtree(root / "out" / "sub-01" / "ses-3")
    leave_visit(root / "out", "sub-01_ses-2", small_head.make_visit({OLD: 4}), threshold=0.7)
    (outcome,) = compare(root)
    assert outcome.n_new is None
    assert "threshold 0.5 and 0.7" in outcome.message
    assert "run the participant level for both" in outcome.message
    found = read_change(root / "out", visit("2"), PREVIOUS)
    assert found
    assert list(found.flags) == ["visits_made_differently"]
    assert not lesions_path(root / "out", visit("2"), PREVIOUS, ".nii.gz").exists()
    assert "NOT COMPARED" in format_outcomes([outcome])
    assert "threshold 0.5 and 0.7" in quality_flags(root / "out", "2")[NOT_COMPARABLE]
    assert quality_flags(root / "out", "1") == {}
    leave_visit(root / "out", "sub-01_ses-1", small_head.make_visit({OLD: 4}), threshold=0.7)
    assert [one.message for one in compare(root)] == [""]
    assert quality_flags(root / "out", "2") == {}


def test_a_visit_that_may_be_mirrored_is_compared_with_its_like_only(root: Path, small_head: Any) -> None:
    shutil.rmtree(root / "out" / "sub-01" / "ses-3")

    def guess(session: str) -> None:
        path = root / "out" / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_desc-lesions_stats.json"
        sidecar = json.loads(path.read_text())
        path.write_text(json.dumps(sidecar | {"QualityFlags": {ORIENTATION_IS_A_GUESS: "neither sform nor qform"}}))

    guess("2")
    (outcome,) = compare(root)
    assert outcome.n_new is None
    assert "the orientation of sub-01_ses-2 is a guess" in outcome.message
    assert "may be a mirror image" in quality_flags(root / "out", "2")[NOT_COMPARABLE]
    guess("1")
    assert [one.message for one in compare(root)] == [""]
