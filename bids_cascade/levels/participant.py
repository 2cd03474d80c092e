"""The participant level: raw images in, lesion masks out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_cascade.anatomy.template import load_template
from bids_cascade.config import Inputs, ParticipantConfig, RunConfig
from bids_cascade.dataset.validation import Validation
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.colours import write_lookup_tables
from bids_cascade.derivatives.course import FAR_FROM_OTHER_VISIT, flag_far_volumes
from bids_cascade.derivatives.flags import Flags, reasons_of
from bids_cascade.derivatives.names import visit_folders
from bids_cascade.derivatives.plan import plan_outputs
from bids_cascade.derivatives.read import lesion_volume_of
from bids_cascade.derivatives.record import write_record, write_visit_records
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.derivatives.write import OutputPlan, read_stats
from bids_cascade.errors import OK, BidsCascadeError, OutputError, ReadWriteError
from bids_cascade.longitudinal.outcome import PairOutcome, format_outcomes
from bids_cascade.longitudinal.participants import compare_participants
from bids_cascade.longitudinal.stale import remove_stale
from bids_cascade.models.patch_wise import warn_of_patches
from bids_cascade.models.store import PACKAGED_MODEL, StoredModel, load_model
from bids_cascade.outcomes import VisitOutcome, count, exit_code_of, format_table
from bids_cascade.progress_bar import progress_bar
from bids_cascade.report.participant import write_participant_page
from bids_cascade.selection.check import check_visits
from bids_cascade.selection.claim import claimed
from bids_cascade.selection.find import find_for_model
from bids_cascade.surroundings import say
from bids_cascade.whole_file import clear_leftovers
from bids_cascade.workflow.finished import is_finished, remember_finished
from bids_cascade.workflow.run import clean_up, delete_intermediates, report_work_dir, run_graphs
from bids_cascade.workflow.visit import Networks, Preprocessing, segmentation_graph
from bids_cascade.workflow.visit_run import VisitRun, unfinished_outcome, write_steps

_LOGGER = logging.getLogger(__name__)


def run_participant(
    inputs: Inputs, config: ParticipantConfig, run: RunConfig, validation: Validation | None = None
) -> int:
    """Segment every selected visit that has the sequences the model needs; return the exit code.

    Parameters
    ----------
    inputs : Inputs
    config : ParticipantConfig
    run : RunConfig
    validation : Validation, optional
        Of the dataset, if it has already begun.
    """
    model = load_model(config.model or PACKAGED_MODEL)
    for name in config.output_spaces:
        load_template(name)  # a faulty template is refused before hours of work
    cascade = model.header.cascade
    visits = find_for_model(inputs, cascade, config, validation)
    if model.header.patch_wise:
        warn_of_patches(model, run)
    results = segment_visits(visits, inputs, config, run, model)
    say(format_table(results))
    return exit_code_of(results)


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
    options = {"participant": config, "run": run, "model_sha256": model.sha256}
    log_dir = write_record(inputs, options, visits)
    checked = check_visits(visits, run.n_procs, guess_orientation=config.guess_orientation)
    with claimed(checked.ready, run.work_dir, wait=wait) as (claimed_visits, in_use):
        linked = {visit.name: result for visit in claimed_visits if (result := _refuse_link(visit, inputs.out_dir))}
        ready = [visit for visit in claimed_visits if visit.name not in linked]
        plans = [plan_outputs(visit, inputs, config, model, checked.flags[visit.name]) for visit in ready]
        try:
            done = _segment(plans, config, run, model, log_dir)
        finally:
            _clear_leftovers(ready, inputs.out_dir)
        by_name = checked.refused | in_use | linked | done
        results = [by_name[visit.name] for visit in visits]
        if run.clean_work_dir:
            clean_up(ready, run.work_dir)
        report_work_dir(run.work_dir)
        # Visits of another run are recorded by that run.
        ended = [(visit, result) for visit, result in zip(visits, results, strict=True) if visit.name not in in_use]
        try:
            write_visit_records(ended, inputs, log_dir)
        except BidsCascadeError as error:  # an unwritable log must not stop the closing table
            results = [result.with_warnings([f"no record: {error}"], error.exit_code) for result in results]
        results = _compare(visits, results, inputs, config, run, model)
        return _write_pages(visits, results, inputs.out_dir)


def _segment(
    plans: Sequence[OutputPlan], config: ParticipantConfig, run: RunConfig, model: StoredModel, log_dir: Path
) -> dict[str, VisitOutcome]:
    """Run the workflow on visits; return their outcomes by name."""
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
    far_flags = _flag_far_volumes(plans)
    return {plan.visit.name: _result(plan, runs[plan.visit.slug], far_flags) for plan in plans}


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


def _flag_far_volumes(plans: Sequence[OutputPlan]) -> dict[str, Flags]:
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
    for name in flags.keys() - own:
        _LOGGER.warning("%s: %s", name, flags[name][FAR_FROM_OTHER_VISIT])
    return flags


def _refuse_link(visit: Visit, out_dir: Path) -> VisitOutcome | None:
    """Return the failure of a visit whose output folder is a link, which leads elsewhere; None for other visits."""
    for folder in visit_folders(out_dir, visit):
        if folder.is_symlink():
            message = f"FAILED: {folder} is a link; results go into the output folder only: remove it"
            return VisitOutcome(visit.name, OutputError.exit_code, message)
    return None


def _clear_leftovers(visits: Sequence[Visit], out_dir: Path) -> None:
    """Remove the half-written files of killed workers of this run and of earlier ones."""
    clear_leftovers(out_dir)
    for visit in visits:
        for folder in visit_folders(out_dir, visit):
            clear_leftovers(folder)


def _compare(
    visits: Sequence[Visit],
    results: Sequence[VisitOutcome],
    inputs: Inputs,
    config: ParticipantConfig,
    run: RunConfig,
    model: StoredModel,
) -> list[VisitOutcome]:
    """Compare the participants' visits, also those of earlier runs; return the outcomes with warnings.

    Without comparisons, those of replaced results are removed.
    """
    participants = list(dict.fromkeys(visit.participant for visit in visits))
    try:
        if not config.longitudinal:
            remove_stale(inputs, participants)
            return list(results)
        outcomes = compare_participants(
            inputs, participants, run.n_procs, config.seed, model if config.noise_floor else None
        )
    except BidsCascadeError as error:
        _LOGGER.error("visits were not compared: %s", error)
        return [result.with_warnings([f"not compared: {error}"], error.exit_code) for result in results]
    if outcomes:
        say(format_outcomes(outcomes))
    by_visit: dict[str, list[PairOutcome]] = {}
    for outcome in outcomes:
        if outcome.message:
            by_visit.setdefault(outcome.later, []).append(outcome)
    return [
        result.with_warnings(
            [
                f"not compared with {outcome.compared_with}: {outcome.message}"
                for outcome in by_visit.get(result.name, ())
            ],
            max((outcome.exit_code for outcome in by_visit.get(result.name, ())), default=OK),
        )
        for result in results
    ]


def _write_pages(visits: Sequence[Visit], results: Sequence[VisitOutcome], out_dir: Path) -> list[VisitOutcome]:
    """Write a page for each participant; return the outcomes, with a warning where that failed."""
    failed = {}
    participants = dict.fromkeys(visit.participant for visit in visits)
    with progress_bar(len(participants), "pages") as bar:
        for participant in participants:
            try:
                write_participant_page(out_dir, participant)
            except BidsCascadeError as error:
                failed[participant] = f"no page: {error}", error.exit_code
            bar.update()
    return [
        result.with_warnings([failed[visit.participant][0]], failed[visit.participant][1])
        if visit.participant in failed
        else result
        for visit, result in zip(visits, results, strict=True)
    ]


def _result(plan: OutputPlan, done: VisitRun, far_flags: Mapping[str, Flags]) -> VisitOutcome:
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
