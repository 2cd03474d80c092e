"""Both methods on all left-out visits: masks compared with the references, tables, pages, and the model card's part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bids_cascade.cross_validation.folds import Job
from bids_cascade.dataset.labels import find_lesion_masks
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.files import write_json
from bids_cascade.derivatives.learnt import dataset_name
from bids_cascade.errors import OK
from bids_cascade.evaluation.folds import (
    CASCADE,
    FLAIR_THRESHOLD,
    CrossValidation,
    Fold,
    card_of,
    format_methods,
    summarise_methods,
    write_method_tables,
)
from bids_cascade.evaluation.pairing import compare_visits
from bids_cascade.evaluation.records import EvaluatedVisit, Evaluation, summarise_evaluation
from bids_cascade.evaluation.tables import write_tables
from bids_cascade.outcomes import VisitOutcome, exit_code_of
from bids_cascade.report.cross_validation import write_cross_validation_page
from bids_cascade.report.evaluation import write_evaluation_page
from bids_cascade.surroundings import say
from bids_cascade.training.recipe import recipe_of

_TITLES = {CASCADE: "Cascade on left-out visits", FLAIR_THRESHOLD: "FLAIR threshold on left-out visits"}


def gather(job: Job, folds: Sequence[Fold], labelled: Sequence[Visit], outcomes: Sequence[VisitOutcome]) -> int:
    """Evaluate both methods on all left-out visits and write the tables and the pages; return the exit code.

    Parameters
    ----------
    job : Job
    folds : sequence of Fold
        All that have visits.
    labelled : sequence of Visit
        All with a reference mask.
    outcomes : sequence of VisitOutcome
        Of their preprocessing.
    """
    fold_of = {name: fold.number for fold in folds for name in fold.visits}
    visits = [visit for visit in labelled if visit.name in fold_of]
    if not visits:
        return exit_code_of(outcomes)
    by_method, not_evaluated = _compare(job, visits)
    outcomes = [*outcomes, *not_evaluated]
    failed = {outcome.name: outcome.message for outcome in outcomes if outcome.exit_code != OK}
    if len(failed) == len(labelled):
        return exit_code_of(outcomes)
    evaluations = {method: _evaluate(job, method, by_method[method], failed) for method in _TITLES}
    _write(job, CrossValidation(job.config.name, folds, evaluations[CASCADE], evaluations[FLAIR_THRESHOLD]))
    return exit_code_of(outcomes)


def _compare(job: Job, visits: Sequence[Visit]) -> tuple[dict[str, list[EvaluatedVisit]], list[VisitOutcome]]:
    """Compare each method's masks with the references; return the visits by method, and those that failed."""
    bids_dir = job.inputs.bids_dir
    references = find_lesion_masks(job.config.labels, bids_dir, visits)
    by_method: dict[str, list[EvaluatedVisit]] = {}
    not_evaluated: list[VisitOutcome] = []
    for method in _TITLES:
        predictions = find_lesion_masks(str(job.folder / method), bids_dir, visits)
        by_method[method], failed = compare_visits(visits, references, predictions, dataset_name(bids_dir))
        not_evaluated += failed
    return by_method, not_evaluated


def _evaluate(job: Job, method: str, visits: Sequence[EvaluatedVisit], failed: Mapping[str, str]) -> Evaluation:
    """Write the tables and the page of a method, on the visits that both methods have."""
    evaluation = Evaluation(
        title=_TITLES[method],
        compared=f"Left-out visits beside {job.config.labels}",
        visits=[visit for visit in visits if visit.name not in failed],
        not_evaluated=failed,
        seed=job.config.training.seed,
    )
    summaries = summarise_evaluation(evaluation)
    columns = write_tables(evaluation, summaries, job.folder / method)
    write_evaluation_page(evaluation, summaries, job.folder / method, columns)
    return evaluation


def _write(job: Job, whole: CrossValidation) -> None:
    """Write and print what compares the methods."""
    by_method = summarise_methods(whole)
    columns = write_method_tables(whole, by_method, job.inputs.out_dir)
    page = write_cross_validation_page(whole, by_method, job.inputs.out_dir, columns)
    card = card_of(whole, by_method)
    write_json({"recipe": recipe_of(job.prepared, job.config), "card": card}, job.folder / "result.json")
    say(format_methods(by_method))
    say(f"report: {page}")
