"""Where the time of a whole visit goes: steps of other tools that can't be avoided, against everything else."""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_cascade import cli
from bids_cascade.demo.cli import write_phantom_dataset

EXTERNAL = ("brain", "bias", "register")


def visit() -> dict[str, Any]:
    """Run the participant level on one phantom; return seconds by step and the fraction of everything else.

    Everything else is the wall time in which none of the external steps was under way: the app's start, its own steps,
    and what nipype takes between them.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset, out = Path(folder, "dataset"), Path(folder, "out")
        write_phantom_dataset(dataset, 1)
        start = time.monotonic()
        code = cli.main([str(dataset), str(out), "participant", "--work-dir", f"{folder}/work"])
        wall = time.monotonic() - start
        if code != 0:
            raise RuntimeError(f"the participant level ended with exit code {code}")
        (table,) = out.glob("logs/*/steps.tsv")
        with table.open() as rows:
            steps = {
                row["step"]: (float(row["start_s"]), float(row["seconds"]))
                for row in csv.DictReader(rows, delimiter="\t")
            }
    external = [times for step, times in steps.items() if step.split("_")[0] in EXTERNAL]
    external_sum = sum(seconds for _, seconds in external)
    other = wall - covered(external)
    return {
        "visit_seconds": wall,
        "seconds_by_step": {step: round(seconds, 2) for step, (_, seconds) in steps.items()},
        "external_seconds": external_sum,
        "other_seconds": other,
        "other_over_external": other / external_sum,
    }


def covered(intervals: Sequence[tuple[float, float]]) -> float:
    """Return the length of the union of intervals, given as start and length."""
    total, reached = 0.0, float("-inf")
    for start, length in sorted(intervals):
        total += max(0.0, start + length - max(start, reached))
        reached = max(reached, start + length)
    return total
