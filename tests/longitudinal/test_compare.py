"""One comparison is made by one run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .left_visits import compare


@pytest.mark.slow
def test_of_two_jobs_at_once_each_comparison_is_made_by_one(root: Path, tmp_path: Path) -> None:
    """A visit has come between two that were compared before: two jobs find that out at the same time."""
    second = root / "out" / "sub-01" / "ses-2"
    second.rename(tmp_path / "later")
    assert [(one.later, one.compared_with) for one in compare(root)] == [("sub-01_ses-3", "ses-1")]
    (tmp_path / "later").rename(second)
    command = [sys.executable, "-m", "bids_cascade", str(root / "raw"), str(root / "out"), "longitudinal"]
    jobs = [
        subprocess.Popen(
            [*command, "--skip-bids-validation"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [job.communicate(timeout=1200) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sum(errors.count("comparing with") for _, errors in said) == 3
    assert said[0][0] == said[1][0]
    lines = said[0][0].splitlines()
    assert [line.split()[:4] for line in lines[-3:]] == [
        ["sub-01_ses-2", "with", "ses-1", "1"],
        ["sub-01_ses-3", "with", "ses-2", "1"],
        ["sub-01_ses-3", "with", "ses-1", "2"],
    ]
