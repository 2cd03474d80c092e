"""The small BIDS trees of the dataset's tests, and output plans."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bids_cascade.config import LesionRule
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.derivatives.plan import OutputPlan

from ..dataset.conftest import make_raw, make_tree, write_scan

__all__ = ["make_raw", "make_tree", "write_scan"]


MakePlan = Callable[[str | None], OutputPlan]


@pytest.fixture
def make_plan(tmp_path: Path) -> MakePlan:
    """Return a maker of output plans of one T1w image, by session."""
    images = {"T1w": ImageChoice(tmp_path / "x.nii", "the only one")}
    rule = LesionRule(0.5, 10, 0.7)

    def make(session: str | None) -> OutputPlan:
        return OutputPlan(Visit("01", session, images), tmp_path, tmp_path / "out", "tiny", "0" * 64, rule, (0.2, 0.8))

    return make
