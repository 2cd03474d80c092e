"""The evaluate level: predicted masks compared with reference masks."""

from __future__ import annotations

import logging

from bids_cascade.config import EvaluateConfig, Inputs
from bids_cascade.dataset.description import find_derivative
from bids_cascade.dataset.labels import find_lesion_masks
from bids_cascade.dataset.layout import open_dataset
from bids_cascade.dataset.validation import Validation
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.derivatives.learnt import dataset_name
from bids_cascade.derivatives.record import write_record
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.errors import OK
from bids_cascade.evaluation.pairing import compare_visits
from bids_cascade.evaluation.records import Evaluation, summarise_evaluation
from bids_cascade.evaluation.summary import format_means, format_origin, format_scores, format_sizes
from bids_cascade.evaluation.tables import write_tables
from bids_cascade.outcomes import VisitOutcome, exit_code_of
from bids_cascade.report.evaluation import PAGE, write_evaluation_page
from bids_cascade.surroundings import say

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
    evaluated, failed = compare_visits(labelled, references, predictions, dataset_name(inputs.bids_dir))
    unlabelled = [VisitOutcome(visit.name, OK, "no reference mask") for visit in visits if visit.name not in references]
    if evaluated:
        evaluation = Evaluation(
            title="Evaluation",
            compared=f"{root} with the masks of {find_derivative(config.labels, inputs.bids_dir)}",
            visits=evaluated,
            not_evaluated={visit.name: visit.message for visit in (*failed, *unlabelled)},
            seed=config.seed,
        )
        _LOGGER.info("summarising the scores and writing the page")
        summaries = summarise_evaluation(evaluation)
        columns = write_tables(evaluation, summaries, inputs.out_dir)
        say(f"report: {write_evaluation_page(evaluation, summaries, inputs.out_dir, columns)}")
        parts = format_sizes(evaluation, summaries), format_means(evaluation, summaries), format_origin(evaluation)
        say("\n\n".join(parts) + "\n")
    elif (inputs.out_dir / PAGE).exists():
        _LOGGER.warning("%s and the tables beside it are from an earlier evaluation", inputs.out_dir / PAGE)
    say(format_scores(evaluated, [*failed, *unlabelled]))
    return exit_code_of(failed)


def _find_visits(inputs: Inputs) -> list[Visit]:
    """Return all selected visits, whatever images they have: only masks are compared."""
    layout = open_dataset(inputs.bids_dir, inputs.selection, inputs.database_dir)
    if inputs.validate:
        Validation(inputs.bids_dir).finish()
    return find_visits(layout, ("FLAIR", "T1w"), inputs.selection)
