"""Comparisons that no longer fit the visits go."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bids_cascade.config import Inputs
from bids_cascade.derivatives.change import PREVIOUS, lesions_path, read_change, stats_path
from bids_cascade.derivatives.course import NOT_COMPARABLE
from bids_cascade.longitudinal.stale import remove_stale

from .left_visits import OLD, compare, leave_visit, quality_flags, state, visit


@pytest.mark.slow
def test_without_comparisons_those_of_replaced_results_go(root: Path, small_head: Any) -> None:
    out, inputs = root / "out", Inputs(root / "raw", root / "out")
    shutil.rmtree(out / "sub-01" / "ses-3")
    compare(root)
    before = state(out)
    remove_stale(inputs, ["01"])
    assert state(out) == before
    leave_visit(out, "sub-01_ses-1", small_head.make_visit({OLD: 5}))
    remove_stale(inputs, ["01"])
    assert state(out) == {}


@pytest.mark.slow
def test_what_a_removed_visit_has_left_goes(root: Path) -> None:
    out = root / "out"
    stats_path(out, visit("1"), PREVIOUS).write_text("compared_with\tcomparable\nses-0\tno\n")
    stats_path(out, visit("1"), PREVIOUS).with_suffix(".json").write_text("{}")
    shutil.rmtree(out / "sub-01" / "ses-3")
    (out / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_space-T1w_label-L_mask.nii.gz").unlink()
    (outcome,) = compare(root)
    assert outcome.exit_code == 66
    assert "label-L_mask" in outcome.message
    assert read_change(out, visit("1"), PREVIOUS) is None


def test_the_comparison_of_a_visit_that_is_left_alone_goes(root: Path, small_head: Any) -> None:
    out = root / "out"
    shutil.rmtree(out / "sub-01" / "ses-3")
    leave_visit(out, "sub-01_ses-2", small_head.make_visit({OLD: 4}), threshold=0.7)
    compare(root)
    assert NOT_COMPARABLE in quality_flags(out, "2")
    shutil.rmtree(out / "sub-01" / "ses-1")
    assert compare(root) == []
    assert state(out) == {}
    assert quality_flags(out, "2") == {}


@pytest.mark.slow
def test_of_a_comparison_that_has_lost_an_image_all_are_written_again(root: Path) -> None:
    out = root / "out"
    shutil.rmtree(out / "sub-01" / "ses-3")
    outcomes = compare(root)
    path = lesions_path(out, visit("2"), PREVIOUS, ".nii.gz")
    before = path.read_bytes()
    path.unlink()
    assert compare(root) == outcomes
    assert path.read_bytes() == before, "a later comparison would have lost the lesions' numbers"
