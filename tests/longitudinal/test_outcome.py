"""The closing table of comparisons."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_cascade.derivatives.change import PREVIOUS, Pair
from bids_cascade.errors import BidsCascadeError
from bids_cascade.longitudinal.outcome import PairOutcome, format_outcomes, outcome_of

from .left_visits import visit


def test_the_table_has_a_row_a_comparison() -> None:
    outcomes = [
        PairOutcome("sub-01_ses-2", "ses-1", PREVIOUS, "", 1, 3, -0.254),
        PairOutcome("sub-01_ses-10", "ses-2", PREVIOUS, "two models"),
        PairOutcome("sub-02_ses-2", "ses-1", PREVIOUS, "no mask", exit_code=66),
    ]
    assert format_outcomes(outcomes).splitlines() == [
        "comparison                new  other changes  change (ml)",
        "sub-01_ses-2 with ses-1     1              3        -0.25",
        "sub-01_ses-10 with ses-2  NOT COMPARED: two models",
        "sub-02_ses-2 with ses-1   FAILED: no mask",
    ]


def test_a_comparison_that_another_run_removed_has_no_outcome(tmp_path: Path) -> None:
    with pytest.raises(BidsCascadeError, match="removed by another run"):
        outcome_of(tmp_path, Pair(visit("1"), visit("2"), PREVIOUS))
