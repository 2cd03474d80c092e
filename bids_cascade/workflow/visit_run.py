"""The record of how a visit's graph ran: its steps, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bids_cascade.derivatives.files import write_tsv
from bids_cascade.errors import TemporaryError
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.workflow.plugin import Failure


@dataclass(frozen=True)
class StepRun:
    """Start of a step, in seconds since the start of the workflow, and its duration."""

    start_s: float
    seconds: float


@dataclass
class VisitRun:
    """The run of one visit.

    Attributes
    ----------
    steps : dict of str to StepRun
        By name; a step reused from an earlier run takes almost no time.
    failure : Failure or None
        Of a step, which may be one of the report alone.
    finished : bool
        Whether all of its steps but those of the report are done.
    handed_over : bool
        Whether its steps were submitted to a batch system.
    crash_reports : list of Path
    """

    steps: dict[str, StepRun] = field(default_factory=dict)
    failure: Failure | None = None
    finished: bool = False
    handed_over: bool = False
    crash_reports: list[Path] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Sum over the steps."""
        return sum(step.seconds for step in self.steps.values())


def unfinished_outcome(name: str, run: VisitRun) -> VisitOutcome:
    """Return the row of a visit whose workflow failed or was stopped before its end."""
    if run.failure:
        message = f"FAILED: {run.failure.message}"
        return VisitOutcome(name, run.failure.exit_code, message, crash_reports=tuple(run.crash_reports))
    if run.handed_over:
        message = "submitted to the batch system: rerun without --use-plugin when its jobs have ended"
        return VisitOutcome(name, TemporaryError.exit_code, message)
    return VisitOutcome(name, TemporaryError.exit_code, "not finished: the run was stopped; rerun to resume")


def write_steps(runs: Mapping[str, VisitRun], folder: Path) -> None:
    """Write when each step of each visit started, and how long it took, as a table into the log folder."""
    rows = [
        {"visit": visit, "step": step, **asdict(times)}
        for visit, run in runs.items()
        for step, times in run.steps.items()
    ]
    write_tsv(rows, ["visit", "step", "start_s", "seconds"], folder / "steps.tsv")
