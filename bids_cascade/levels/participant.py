"""The participant level: raw images in, lesion masks out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bids_cascade.config import Inputs, ParticipantConfig, RunConfig
from bids_cascade.dataset.course import FAR_FROM_OTHER_VISIT, flag_far_volumes
from bids_cascade.dataset.derivatives import prepare_output
from bids_cascade.dataset.flags import Flags, reasons_of
from bids_cascade.dataset.validation import Validation
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import OK, BidsCascadeError
from bids_cascade.levels.check import check_visits
from bids_cascade.levels.claim import claimed, find_selected
from bids_cascade.levels.learnt import sources_of
from bids_cascade.levels.record import versions, write_record, write_steps, write_visit_records
from bids_cascade.levels.results import VisitResult, exit_code_of, format_table, unfinished_result
from bids_cascade.models.store import PACKAGED_MODEL, StoredModel, load_model
from bids_cascade.report.participant import write_participant_page
from bids_cascade.workflow.outputs import OutputPlan, has_outputs, read_stats
from bids_cascade.workflow.run import VisitRun, clean_up, run_graphs
from bids_cascade.workflow.visit import Networks, Preprocessing, needed_sequences, segmentation_graph

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
        Of the dataset, if it is already under way.
    """
    model = load_model(config.model or PACKAGED_MODEL)
    visits = find_selected(inputs, model.header.cascade.sequences, validation)
    results = segment_visits(visits, inputs, config, run, model)
    print(format_table(results))
    return exit_code_of(results)


def segment_visits(
    visits: Sequence[Visit],
    inputs: Inputs,
    config: ParticipantConfig,
    run: RunConfig,
    model: StoredModel,
    *,
    wait: bool = False,
) -> list[VisitResult]:
    """Write all that this level has to say of some visits; return how each ended.

    Parameters
    ----------
    visits : sequence of Visit
        Those without all images are named in the results.
    inputs : Inputs
        Whose output folder is made if needed.
    config : ParticipantConfig
    run : RunConfig
    model : StoredModel
    wait : bool
        Wait for visits that another run works on, instead of leaving them out.
    """
    prepare_output(inputs.out_dir, inputs.bids_dir)
    options = {"participant": config, "run": run, "model_sha256": model.sha256}
    log_dir = write_record(inputs, options, visits)
    checked = check_visits(visits, run.n_procs, guess_orientation=config.guess_orientation)
    with claimed(checked.ready, run.work_dir, wait=wait) as (ready, in_use):
        plans = [_plan(visit, inputs, config, model, checked.flags[visit.name]) for visit in ready]
        done = _segment(plans, config, run, model, log_dir)
        by_name = checked.refused | in_use | done
        results = [by_name[visit.name] for visit in visits]
        if run.clean_work_dir:
            clean_up([visit for visit in ready if done[visit.name].exit_code == OK], run.work_dir)
        # Of a visit that another run works on, that run says how it ended.
        ended = [(visit, result) for visit, result in zip(visits, results, strict=True) if visit.name not in in_use]
        write_visit_records(ended, inputs, log_dir)
        return _write_pages(visits, results, inputs.out_dir)


def list_participants(inputs: Inputs, config: ParticipantConfig, unfinished: bool) -> list[str]:
    """Return the labels of the participants with at least one complete visit; nothing is written.

    Parameters
    ----------
    inputs : Inputs
    config : ParticipantConfig
    unfinished : bool
        Leave out those whose results, from this model and these thresholds, are all there.
    """
    model = load_model(config.model or PACKAGED_MODEL)
    visits = find_selected(inputs, model.header.cascade.sequences)
    wanted = [
        visit
        for visit in visits
        if not visit.missing and not (unfinished and has_outputs(_plan(visit, inputs, config, model, {})))
    ]
    return list(dict.fromkeys(visit.participant for visit in wanted))


def _segment(
    plans: Sequence[OutputPlan], config: ParticipantConfig, run: RunConfig, model: StoredModel, log_dir: Path
) -> dict[str, VisitResult]:
    """Run the workflow on visits; return how each ended, by name."""
    cascade = model.header.cascade
    how = Preprocessing(
        sequences=cascade.sequences,
        voxel_size_mm=cascade.voxel_size_mm,
        skull_strip=config.skull_strip,
        seed=config.seed,
        omp_nthreads=run.omp_nthreads,
    )
    networks = Networks(model.path, run.device, config.half_precision)
    graphs = [segmentation_graph(plan.visit, how, networks, plan) for plan in plans]
    runs = run_graphs(graphs, {plan.visit.slug: plan.visit.name for plan in plans}, run, log_dir)
    write_steps({plan.visit.name: runs[plan.visit.slug] for plan in plans}, log_dir)
    found = _flag_far_volumes(plans)
    return {plan.visit.name: _result(plan, runs[plan.visit.slug], found) for plan in plans}


def _flag_far_volumes(plans: Sequence[OutputPlan]) -> dict[str, Flags]:
    """Compare each visit with the participant's others; return what should be looked at by name of the visit."""
    found: dict[str, Flags] = {}
    for out_dir, participant in dict.fromkeys((plan.out_dir, plan.visit.participant) for plan in plans):
        try:
            far = flag_far_volumes(out_dir, participant)
        except BidsCascadeError as error:
            _LOGGER.warning("sub-%s: its visits' volumes can't be compared: %s", participant, error)
        else:
            found |= {name: {FAR_FROM_OTHER_VISIT: reason} for name, reason in far.items()}
    return found


def _write_pages(visits: Sequence[Visit], results: Sequence[VisitResult], out_dir: Path) -> list[VisitResult]:
    """Write a page for each participant; return the results, with a warning where that failed."""
    failed = {}
    for participant in dict.fromkeys(visit.participant for visit in visits):
        try:
            write_participant_page(out_dir, participant)
        except BidsCascadeError as error:
            failed[participant] = f"no page: {error}"
    return [
        result.with_warnings([failed[visit.participant]]) if visit.participant in failed else result
        for visit, result in zip(visits, results, strict=True)
    ]


def _plan(
    visit: Visit, inputs: Inputs, config: ParticipantConfig, model: StoredModel, flags: Mapping[str, str]
) -> OutputPlan:
    cascade = model.header.cascade.with_choices(config.threshold, config.min_lesion_volume_mm3)
    ordered = {sequence: visit.images[sequence] for sequence in needed_sequences(cascade.sequences)}
    return OutputPlan(
        visit=replace(visit, images=ordered),
        bids_dir=inputs.bids_dir,
        out_dir=inputs.out_dir,
        model_name=model.header.name,
        model_sha256=model.sha256,
        rule=cascade.rule,
        gate_probability=cascade.gate_probability,
        learnt_from=sources_of(model.header.provenance),
        precision="half" if config.half_precision else "single",
        provenance={
            "Sequences": cascade.sequences,
            "CandidateSequence": cascade.candidate_sequence,
            "CandidateLevel": cascade.candidate_level,
            "GateProbability": cascade.gate_probability,
            "VoxelSize": cascade.voxel_size_mm,
            "VoxelSizeUnits": "mm",
            "RandomSeed": config.seed,
            "SoftwareVersions": versions(),
        },
        flags=flags,
    )


def _result(plan: OutputPlan, done: VisitRun, found: Mapping[str, Flags]) -> VisitResult:
    name = plan.visit.name
    stats = read_stats(plan) if done.finished else None
    if stats is None:
        return unfinished_result(name, done)
    row, flags = stats
    warnings = reasons_of(flags | found.get(name, {}))
    if done.failure:
        warnings.append(f"no report: {done.failure.message}")
    for warning in warnings:
        _LOGGER.warning("%s: %s", name, warning)
    return VisitResult(
        name,
        message="; ".join(warnings),
        n_lesions=int(row["n_lesions"]),
        n_lesions_14mm3=int(row["n_lesions_14mm3"]),
        volume_ml=float(row["lesion_volume_t1w_ml"]),
        seconds=done.seconds,
        crash_reports=tuple(done.crash_reports),
    )
