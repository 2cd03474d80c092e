"""The closing text of the evaluate level: scores by visit, by lesion size and over all visits."""

from __future__ import annotations

from collections.abc import Sequence

from bids_cascade.evaluation.bootstrap import MIN_SUBJECTS
from bids_cascade.evaluation.records import EvaluatedVisit, Evaluation, Summaries
from bids_cascade.evaluation.tables import interval_text
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3, size_text
from bids_cascade.outcomes import VisitOutcome, count

_COLUMNS = {
    "Dice": "dice",
    "lesion sensitivity": "lesion_sensitivity",
    "lesion precision": "lesion_precision",
    "lesion F1": "lesion_f1",
    "true ml": "reference_volume_ml",
    "found ml": "predicted_volume_ml",
}
_RATIOS = ("sensitivity", "precision", "f1")
_COUNTS = {"true lesions": "reference_lesions", "found lesions": "predicted_lesions"}


def format_scores(evaluated: Sequence[EvaluatedVisit], others: Sequence[VisitOutcome]) -> str:
    """Return the closing table as text: a row a visit, then those that were not evaluated."""
    counts = [f"{name} (>= 14 mm3)" for name in _COUNTS]
    width = max([len("visit"), *(len(visit.name) for visit in evaluated), *(len(other.name) for other in others)])
    lines = ["  ".join([f"{'visit':<{width}}", *_COLUMNS, *counts])]
    for visit in evaluated:
        measures = visit.agreement.measures
        cells = [_cell(measures[measure], len(head)) for head, measure in _COLUMNS.items()]
        for head, measure in zip(counts, _COUNTS.values(), strict=True):
            both = f"{measures[measure]:.0f} ({measures[f'{measure}_14mm3']:.0f})"
            cells.append(f"{both:>{len(head)}}")
        lines.append("  ".join([f"{visit.name:<{width}}", *cells]))
    lines += [f"{other.name:<{width}}  NOT EVALUATED: {other.message}" for other in others]
    return "\n".join([*lines, f"{len(evaluated)} of {count(len(evaluated) + len(others), 'visit')} evaluated"])


def format_sizes(evaluation: Evaluation, summaries: Summaries) -> str:
    """Return lesion-wise sensitivity, precision and F1 by size, for each visit and for all together."""
    names = {name: f"{name.replace('_', ' ')} mm3" for name in COUNTED_CLASSES_MM3}
    width = max(len("sensitivity/precision/F1"), *(len(visit.name) for visit in evaluation.visits))
    lines = ["  ".join([f"{'sensitivity/precision/F1':<{width}}", *(f"{text:>14}" for text in names.values())])]
    for visit in evaluation.visits:
        measures = visit.agreement.measures
        cells = ["/".join(_short(measures[f"lesion_{ratio}_{name}"]) for ratio in _RATIOS) for name in names]
        lines.append("  ".join([f"{visit.name:<{width}}", *(f"{cell:>14}" for cell in cells)]))
    interval = " [95 % interval]" if len(set(evaluation.subjects)) >= MIN_SUBJECTS else ""
    lines += ["", f"lesions of all visits together: sensitivity, precision, F1{interval}"]
    for name, summary in summaries.sizes.items():
        counts = summary.counts
        texts = (
            f"{size_text(name).replace('^', ''):<38}",
            f"{interval_text(summary.sensitivity, 2)} ({counts.n_found} of {counts.n_reference})".ljust(30),
            f"{interval_text(summary.precision, 2)} ({counts.n_right} of {counts.n_predicted})".ljust(30),
            interval_text(summary.f1, 2),
        )
        lines.append("  ".join(texts))
    return "\n".join(lines)


def format_means(evaluation: Evaluation, summaries: Summaries) -> str:
    """Return mean and median of the closing table's measures over the visits."""
    n_visits, n_subjects = len(evaluation.visits), len(set(evaluation.subjects))
    interval = " [95 % interval]" if n_subjects >= MIN_SUBJECTS else f" (no interval: fewer than {MIN_SUBJECTS})"
    lines = [f"over {_plural(n_visits, 'visit')} of {_plural(n_subjects, 'participant')}: mean{interval}, median"]
    for head, measure in _COLUMNS.items():
        summary = summaries.measures[measure]
        lines.append(f"{head:<20}{interval_text(summary.mean):<24}{interval_text(summary.median)}")
    return "\n".join(lines)


def format_origin(evaluation: Evaluation) -> str:
    """Return the origin of the predictions, and the visits that the model was trained on."""
    lines = [f"predictions by {text}: {_plural(n, 'visit')}" for text, n in evaluation.origins.items()]
    lines += [f"WARNING: {reason}: {', '.join(names)}" for reason, names in evaluation.learnt_from.items()]
    if evaluation.n_unknown:
        part = f"{evaluation.n_unknown} of {_plural(len(evaluation.visits), 'visit')}"
        lines.append(f"unknown whether it was trained on {part}: the sidecars of the masks do not say")
    return "\n".join(lines)


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def _cell(value: float, width: int) -> str:
    return f"{value:>{width}.3f}" if value == value else f"{'n/a':>{width}}"


def _short(value: float) -> str:
    return f"{value:.2f}" if value == value else "n/a"
