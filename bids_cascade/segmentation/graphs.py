"""The workflow's run on visits, but for those that an earlier run has finished."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bids_cascade.config import ParticipantConfig, RunConfig
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.errors import BidsCascadeError
from bids_cascade.models.store import StoredModel
from bids_cascade.outcomes import VisitOutcome, count
from bids_cascade.segmentation.outcome import flag_far_visits, outcome_of
from bids_cascade.workflow.finished import is_finished, remember_finished
from bids_cascade.workflow.run import delete_intermediates, run_graphs
from bids_cascade.workflow.visit import Networks, Preprocessing, segmentation_graph
from bids_cascade.workflow.visit_run import VisitRun, write_steps

_LOGGER = logging.getLogger(__name__)


def run_visits(
    plans: Sequence[OutputPlan], config: ParticipantConfig, run: RunConfig, model: StoredModel, log_dir: Path
) -> dict[str, VisitOutcome]:
    """Run the workflow on visits that are not finished; return the outcomes of all, by name.

    Parameters
    ----------
    plans : sequence of OutputPlan
        One a visit.
    config : ParticipantConfig
    run : RunConfig
    model : StoredModel
    log_dir : Path
        Existing folder for crash reports and the table of steps.
    """
    cascade = model.header.cascade
    preprocessing = Preprocessing(
        sequences=cascade.sequences,
        voxel_size_mm=cascade.voxel_size_mm,
        skull_strip=config.skull_strip,
        seed=config.seed,
        omp_nthreads=run.omp_nthreads,
        normalisation=cascade.normalisation,
    )
    finished = [plan for plan in plans if is_finished(plan, preprocessing, run.work_dir)]
    if finished:
        _LOGGER.info("%s finished by an earlier run with the same options", count(len(finished), "visit"))
    runs = {plan.visit.slug: VisitRun(finished=True) for plan in finished}
    networks = Networks(model.path, run.device, config.half_precision)
    runs |= _run([plan for plan in plans if plan not in finished], preprocessing, networks, run, log_dir)
    try:
        write_steps({plan.visit.name: runs[plan.visit.slug] for plan in plans}, log_dir)
    except BidsCascadeError as error:
        _LOGGER.warning("no table of the steps: %s", error)
    far_flags = flag_far_visits(plans)
    return {plan.visit.name: outcome_of(plan, runs[plan.visit.slug], far_flags) for plan in plans}


def _run(
    plans: Sequence[OutputPlan], preprocessing: Preprocessing, networks: Networks, run: RunConfig, log_dir: Path
) -> dict[str, VisitRun]:
    """Run the workflow on unfinished visits; return their runs by slug."""
    by_slug = {plan.visit.slug: plan for plan in plans}

    def let_go(slug: str) -> None:
        try:
            remember_finished(by_slug[slug], preprocessing, run.work_dir)
            delete_intermediates(slug, run.work_dir)
        except BidsCascadeError as error:
            _LOGGER.warning("%s: intermediate results are kept: %s", by_slug[slug].visit.name, error)

    graphs = [segmentation_graph(plan.visit, preprocessing, networks, plan) for plan in plans]
    names = {slug: plan.visit.name for slug, plan in by_slug.items()}
    return run_graphs(graphs, names, run, log_dir, let_go if run.clean_work_dir else None)
