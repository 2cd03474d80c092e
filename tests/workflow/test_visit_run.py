"""How visits that were not finished are told of."""

from bids_cascade.outcomes import VisitOutcome
from bids_cascade.workflow.plugin import Failure
from bids_cascade.workflow.visit_run import VisitRun, unfinished_outcome


def test_failed_stopped_and_handed_over() -> None:
    failed = unfinished_outcome("sub-02", VisitRun(failure=Failure("no", 65), crash_reports=[]))
    assert failed == VisitOutcome("sub-02", 65, "FAILED: no")
    assert unfinished_outcome("sub-04", VisitRun()).exit_code == 75
    handed_over = unfinished_outcome("sub-04", VisitRun(handed_over=True))
    assert handed_over.exit_code == 75
    assert "batch system" in handed_over.message
