"""Visits segmented, with all that is written of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bids_cascade.config import Inputs, ParticipantConfig, RunConfig
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.colours import write_lookup_tables
from bids_cascade.derivatives.plan import plan_outputs
from bids_cascade.derivatives.record import write_record, write_visit_records
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.errors import BidsCascadeError
from bids_cascade.models.store import StoredModel
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.report.participant_pages import write_participant_pages
from bids_cascade.segmentation.comparison import compare_segmented
from bids_cascade.segmentation.folders import clear_visit_leftovers, refuse_links
from bids_cascade.segmentation.graphs import run_visits
from bids_cascade.selection.check import check_visits
from bids_cascade.selection.claim import claimed
from bids_cascade.workflow.run import clean_up, report_work_dir


def segment_visits(
    visits: Sequence[Visit],
    inputs: Inputs,
    config: ParticipantConfig,
    run: RunConfig,
    model: StoredModel,
    *,
    wait: bool = False,
) -> list[VisitOutcome]:
    """Segment visits and write their results and pages; return each visit's outcome.

    Parameters
    ----------
    visits : sequence of Visit
        Those without all images are named in the results.
    inputs : Inputs
        The output folder is created if needed.
    config : ParticipantConfig
    run : RunConfig
    model : StoredModel
    wait : bool
        Wait for visits that another run works on, instead of leaving them out.
    """
    prepare_output(inputs.out_dir, inputs.bids_dir)
    if config.anatomy:
        write_lookup_tables(inputs.out_dir)
    log_dir = write_record(inputs, {"participant": config, "run": run, "model_sha256": model.sha256}, visits)
    checked = check_visits(visits, run.n_procs, guess_orientation=config.guess_orientation)
    with claimed(checked.ready, run.work_dir, wait=wait) as (claimed_visits, in_use):
        ready, linked = refuse_links(claimed_visits, inputs.out_dir)
        plans = [plan_outputs(visit, inputs, config, model, checked.flags[visit.name]) for visit in ready]
        try:
            done = run_visits(plans, config, run, model, log_dir)
        finally:
            clear_visit_leftovers(ready, inputs.out_dir)
        by_name = checked.refused | in_use | linked | done
        outcomes = [by_name[visit.name] for visit in visits]
        if run.clean_work_dir:
            clean_up(ready, run.work_dir)
        report_work_dir(run.work_dir)
        own = [visit for visit in visits if visit.name not in in_use]  # the others are recorded by their own run
        outcomes = _record(own, outcomes, inputs, log_dir)
        outcomes = compare_segmented(visits, outcomes, inputs, config, run, model)
        return _write_pages(visits, outcomes, inputs.out_dir)


def _record(
    visits: Sequence[Visit], outcomes: Sequence[VisitOutcome], inputs: Inputs, log_dir: Path
) -> list[VisitOutcome]:
    """Record how visits ended; return all outcomes, with a warning where that failed."""
    by_name = {outcome.name: outcome for outcome in outcomes}
    try:
        write_visit_records([(visit, by_name[visit.name]) for visit in visits], inputs, log_dir)
    except BidsCascadeError as error:  # an unwritable log must not stop the closing table
        return [outcome.with_warnings([f"no record: {error}"], error.exit_code) for outcome in outcomes]
    return list(outcomes)


def _write_pages(visits: Sequence[Visit], outcomes: Sequence[VisitOutcome], out_dir: Path) -> list[VisitOutcome]:
    """Write a page for each participant; return the outcomes, with a warning where that failed."""
    failed = write_participant_pages(out_dir, list(dict.fromkeys(visit.participant for visit in visits)))
    return [
        outcome.with_warnings([f"no page: {error}"], error.exit_code)
        if (error := failed.get(visit.participant))
        else outcome
        for visit, outcome in zip(visits, outcomes, strict=True)
    ]
