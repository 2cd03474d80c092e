"""The participant level: raw images in, lesion masks out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace

from bids_cascade.config import Inputs, ParticipantConfig, RunConfig
from bids_cascade.dataset.derivatives import prepare_output
from bids_cascade.dataset.layout import open_dataset, validate_dataset
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.errors import MissingInputError
from bids_cascade.levels.record import write_record, write_steps
from bids_cascade.levels.results import VisitResult, exit_code_of, format_table, missing_result
from bids_cascade.models.store import PACKAGED_MODEL, StoredModel, load_model
from bids_cascade.workflow.outputs import OutputPlan, read_stats
from bids_cascade.workflow.run import VisitRun, run_graphs
from bids_cascade.workflow.visit import Preprocessing, needed_sequences, segmentation_graph

_LOGGER = logging.getLogger(__name__)


def run_participant(inputs: Inputs, config: ParticipantConfig, run: RunConfig) -> int:
    """Segment every selected visit that has the sequences the model needs; return the exit code."""
    model = load_model(config.model or PACKAGED_MODEL)
    visits = find_complete_and_incomplete(inputs, model.model.cascade.config.sequences)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    complete = [visit for visit in visits if not visit.missing]
    log_dir = write_record(inputs, {"participant": config, "run": run, "model_sha256": model.sha256}, visits)
    plans = {visit.name: _plan(visit, inputs, config, model) for visit in complete}
    runs: dict[str, VisitRun] = {}
    if complete:
        how = Preprocessing(
            sequences=model.model.cascade.config.sequences,
            voxel_size_mm=model.model.cascade.config.voxel_size_mm,
            skull_strip=config.skull_strip,
            seed=config.seed,
            omp_nthreads=run.omp_nthreads,
        )
        graphs = [segmentation_graph(visit, how, model.path, run.device, plans[visit.name]) for visit in complete]
        runs = run_graphs(graphs, {visit.slug: visit.name for visit in complete}, run, log_dir)
        write_steps({visit.name: runs[visit.slug] for visit in complete if visit.slug in runs}, log_dir)
    results = [_result(visit, runs.get(visit.slug), plans.get(visit.name)) for visit in visits]
    print(format_table(results))
    if run.clean_work_dir and exit_code_of(result for result in results if not _is_missing(result)) == 0:
        shutil.rmtree(run.work_dir, ignore_errors=True)
    return exit_code_of(results)


def find_complete_and_incomplete(inputs: Inputs, sequences: Sequence[str]) -> list[Visit]:
    """Find the visits and say which lack something.

    Raises
    ------
    MissingInputError
        When no visit at all has one of the sequences.
    """
    layout = open_dataset(inputs.bids_dir, inputs.selection, inputs.database_dir)
    if inputs.validate:
        validate_dataset(inputs.bids_dir)
    needed = needed_sequences(sequences)
    visits = find_visits(layout, needed, inputs.selection)
    absent = [sequence for sequence in needed if all(sequence in visit.missing for visit in visits)]
    if absent:
        raise MissingInputError(
            f"{inputs.bids_dir}: none of the {len(visits)} selected visits has a {' or a '.join(absent)} image; "
            f"the model takes {', '.join(needed)}; name another with --model, or train one for the sequences there are"
        )
    for visit in visits:
        if visit.missing:
            _LOGGER.warning("%s: no %s image; not processed", visit.name, " and no ".join(visit.missing))
    return visits


def _plan(visit: Visit, inputs: Inputs, config: ParticipantConfig, model: StoredModel) -> OutputPlan:
    cascade = model.model.cascade.config
    ordered = {sequence: visit.images[sequence] for sequence in needed_sequences(cascade.sequences)}
    smallest = config.min_lesion_volume_mm3
    return OutputPlan(
        visit=replace(visit, images=ordered),
        bids_dir=inputs.bids_dir,
        out_dir=inputs.out_dir,
        model_name=model.model.name,
        model_sha256=model.sha256,
        threshold=cascade.threshold if config.threshold is None else config.threshold,
        min_lesion_volume_mm3=cascade.min_lesion_volume_mm3 if smallest is None else smallest,
    )


def _result(visit: Visit, done: VisitRun | None, plan: OutputPlan | None) -> VisitResult:
    if plan is None:
        return missing_result(visit.name, visit.missing)
    failure = done.failure if done else None
    stats = read_stats(plan)
    if failure or done is None or stats is None:
        message = failure.message if failure else "stopped before it was finished"
        return VisitResult(visit.name, failure.exit_code if failure else 1, f"FAILED: {message}")
    row, warnings = stats
    for warning in warnings:
        _LOGGER.warning("%s: %s", visit.name, warning)
    return VisitResult(
        visit.name,
        message="; ".join(warnings),
        n_lesions=int(row["n_lesions"]),
        volume_ml=float(row["lesion_volume_t1w_ml"]),
        seconds=done.seconds,
    )


def _is_missing(result: VisitResult) -> bool:
    return result.exit_code == MissingInputError.exit_code
