"""How the segmentation of each visit ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from bids_cascade.derivatives.course import FAR_FROM_OTHER_VISIT, flag_far_volumes
from bids_cascade.derivatives.flags import Flags, reasons_of
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.derivatives.read import lesion_volume_of
from bids_cascade.derivatives.written import read_stats
from bids_cascade.errors import OK, BidsCascadeError, OutputError, ReadWriteError
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.workflow.visit_run import VisitRun, unfinished_outcome

_LOGGER = logging.getLogger(__name__)


def flag_far_visits(plans: Sequence[OutputPlan]) -> dict[str, Flags]:
    """Compare each visit's volume with the participant's other visits; return quality flags by name of the visit.

    Visits of earlier runs have no row in the closing table: the log names them.
    """
    own = {plan.visit.name for plan in plans}
    flags: dict[str, Flags] = {}
    for out_dir, participant in dict.fromkeys((plan.out_dir, plan.visit.participant) for plan in plans):
        try:
            far = flag_far_volumes(out_dir, participant)
        except BidsCascadeError as error:
            _LOGGER.warning("sub-%s: its visits' volumes can't be compared: %s", participant, error)
        else:
            flags |= {name: {FAR_FROM_OTHER_VISIT: reason} for name, reason in far.items()}
    for name in sorted(flags.keys() - own):
        _LOGGER.warning("%s: %s", name, flags[name][FAR_FROM_OTHER_VISIT])
    return flags


def outcome_of(plan: OutputPlan, done: VisitRun, far_flags: Mapping[str, Flags]) -> VisitOutcome:
    """Return a visit's outcome, from its run and what it has written; log its warnings.

    Parameters
    ----------
    plan : OutputPlan
    done : VisitRun
        If only its report failed, the visit has succeeded with a warning, unless that was for a full disk.
    far_flags : mapping of str to Flags
        See :func:`flag_far_visits`.
    """
    name = plan.visit.name
    stats = read_stats(plan) if done.finished else None
    if stats is None:
        return unfinished_outcome(name, done)
    row, flags = stats
    warnings = reasons_of(flags | far_flags.get(name, {}))
    exit_code = OK
    if done.failure:
        warnings.append(f"no report: {done.failure.message}")
        if done.failure.exit_code in (OutputError.exit_code, ReadWriteError.exit_code):
            exit_code = done.failure.exit_code
    for warning in warnings:
        _LOGGER.warning("%s: %s", name, warning)
    return VisitOutcome(
        name,
        exit_code,
        message="; ".join(warnings),
        n_lesions=int(row["n_lesions"]),
        n_lesions_14mm3=int(row["n_lesions_14mm3"]),
        volume_ml=float(lesion_volume_of(row)),
        seconds=done.seconds,
        crash_reports=tuple(done.crash_reports),
    )
