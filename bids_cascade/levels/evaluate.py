"""The evaluate level: predicted masks beside reference masks."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bids_cascade.config import EvaluateConfig, Inputs
from bids_cascade.dataset.derivatives import prepare_output
from bids_cascade.dataset.labels import find_derivative, find_lesion_masks
from bids_cascade.dataset.layout import open_dataset
from bids_cascade.dataset.validation import Validation
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.errors import OK
from bids_cascade.levels.compare import compare_visits
from bids_cascade.levels.record import write_record
from bids_cascade.levels.results import VisitResult, exit_code_of
from bids_cascade.report.evaluation import PAGE, EvaluatedVisit, Evaluation, write_evaluation

_LOGGER = logging.getLogger(__name__)


def run_evaluate(inputs: Inputs, config: EvaluateConfig) -> int:
    """Compare the predicted lesion mask of every selected visit that has a reference mask; return the exit code."""
    visits = _find_visits(inputs)
    references = find_lesion_masks(config.labels, inputs.bids_dir, visits)
    labelled = [visit for visit in visits if visit.name in references]
    root = find_derivative(config.predictions or str(inputs.out_dir), inputs.bids_dir)
    predictions = find_lesion_masks(str(root), inputs.bids_dir, labelled)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    write_record(inputs, {"evaluate": config}, labelled)
    evaluated, failed = compare_visits(labelled, references, predictions)
    unlabelled = [VisitResult(visit.name, OK, "no reference mask") for visit in visits if visit.name not in references]
    if evaluated:
        evaluation = Evaluation(
            title="Evaluation",
            compared=f"{root} with the masks of {find_derivative(config.labels, inputs.bids_dir)}",
            visits=evaluated,
            not_evaluated={one.name: one.message for one in (*failed, *unlabelled)},
            seed=config.seed,
        )
        print(f"report: {write_evaluation(evaluation, inputs.out_dir)}")
    elif (inputs.out_dir / PAGE).exists():
        _LOGGER.warning("%s and the tables beside it are of an earlier evaluation", inputs.out_dir / PAGE)
    print(format_scores(evaluated, [*failed, *unlabelled]))
    return exit_code_of(failed)


def _find_visits(inputs: Inputs) -> list[Visit]:
    """Return all selected visits, whatever images they have: only masks are compared."""
    layout = open_dataset(inputs.bids_dir, inputs.selection, inputs.database_dir)
    if inputs.validate:
        Validation(inputs.bids_dir).finish()
    return find_visits(layout, ("FLAIR", "T1w"), inputs.selection)


def format_scores(evaluated: Sequence[EvaluatedVisit], others: Sequence[VisitResult]) -> str:
    """Return the closing table as text: a row a visit, then those that were not evaluated."""
    columns = {
        "Dice": "dice",
        "lesion sensitivity": "lesion_sensitivity",
        "lesion precision": "lesion_precision",
        "lesion F1": "lesion_f1",
        "true ml": "reference_volume_ml",
        "found ml": "predicted_volume_ml",
    }
    width = max([len("visit"), *(len(one.name) for one in evaluated), *(len(one.name) for one in others)])
    lines = ["  ".join([f"{'visit':<{width}}", *columns])]
    for one in evaluated:
        cells = [_cell(one.agreement.measures[measure], len(head)) for head, measure in columns.items()]
        lines.append("  ".join([f"{one.name:<{width}}", *cells]))
    lines += [f"{one.name:<{width}}  NOT EVALUATED: {one.message}" for one in others]
    return "\n".join([*lines, f"{len(evaluated)} of {len(evaluated) + len(others)} visits evaluated"])


def _cell(value: float, width: int) -> str:
    return f"{value:>{width}.3f}" if value == value else f"{'n/a':>{width}}"
