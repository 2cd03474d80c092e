"""Which visits a rerun passes over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bids_cascade.config import LesionRule
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.derivatives.written import model_fields
from bids_cascade.workflow.finished import is_finished, remember_finished
from bids_cascade.workflow.visit import Preprocessing

HOW = Preprocessing(("T1w",))


@pytest.fixture
def plan(tmp_path: Path, leave_results: Callable[..., Path]) -> OutputPlan:
    """Return the plan of a visit whose results are there, with a figure and quality measures."""
    raw = tmp_path / "x.nii"
    raw.write_text("voxels")
    visit = Visit("01", "1", {"T1w": ImageChoice(raw, "the only one")})
    plan = OutputPlan(visit, tmp_path, tmp_path / "out", "tiny", "0" * 64, LesionRule(0.5, 10, 0.7), (0.2, 0.8))
    leave_results(plan.out_dir, "sub-01_ses-1", flags={}, **model_fields(plan), GeneratedByVersion="1")
    (plan.out_dir / "sub-01" / "figures").mkdir()
    (plan.out_dir / "sub-01" / "figures" / "sub-01_ses-1_desc-brain_T1w.svg").write_text("a brain")
    return plan


def test_a_visit_is_passed_over_while_nothing_has_changed(plan: OutputPlan, tmp_path: Path) -> None:
    assert not is_finished(plan, HOW, tmp_path)
    remember_finished(plan, HOW, tmp_path)
    assert is_finished(plan, HOW, tmp_path)
    assert is_finished(plan, replace(HOW, omp_nthreads=8), tmp_path)
    table = next(plan.out_dir.rglob("*_desc-quality_stats.tsv"))
    table.write_text(table.read_text().replace("n/a", "lesion_volume_far_from_other_visit"))
    assert is_finished(plan, HOW, tmp_path), "a flag that a later visit has raised"


@pytest.mark.parametrize(
    "changed",
    [
        {"model_sha256": "1" * 64},
        {"rule": LesionRule(0.4, 10, 0.7)},
        {"provenance": {"RandomSeed": 1}},
        {"precision": "half"},
    ],
)
def test_other_options_are_another_visit(plan: OutputPlan, tmp_path: Path, changed: dict) -> None:
    remember_finished(plan, HOW, tmp_path)
    assert not is_finished(replace(plan, **changed), HOW, tmp_path)


def test_other_preprocessing_or_another_image_is_another_visit(plan: OutputPlan, tmp_path: Path) -> None:
    remember_finished(plan, HOW, tmp_path)
    assert not is_finished(plan, replace(HOW, skull_strip="skip"), tmp_path)
    (tmp_path / "x.nii").write_text("others")
    assert not is_finished(plan, HOW, tmp_path)


@pytest.mark.parametrize("name", ["*_dseg.tsv", "*_desc-brain_T1w.svg", "*_desc-quality_stats.tsv"])
def test_a_file_that_is_gone_or_was_edited_is_made_again(plan: OutputPlan, tmp_path: Path, name: str) -> None:
    remember_finished(plan, HOW, tmp_path)
    path = next(plan.out_dir.rglob(name))
    if "quality" not in name:
        path.write_text(path.read_text())
        assert not is_finished(plan, HOW, tmp_path)
        remember_finished(plan, HOW, tmp_path)
    path.unlink()
    assert not is_finished(plan, HOW, tmp_path)
