"""How comparisons ended: the closing table, and the flags of visits that can't be compared."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_cascade.derivatives.change import Pair, read_change
from bids_cascade.derivatives.course import NOT_COMPARABLE, set_flag
from bids_cascade.derivatives.flags import reasons_of
from bids_cascade.errors import OK, BidsCascadeError
from bids_cascade.visit_key import VisitKey

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairOutcome:
    """The outcome of a comparison.

    Attributes
    ----------
    later : str
        Name of the later visit.
    compared_with : str
        Session of the earlier one.
    desc : str
        Which of the two comparisons it is.
    message : str
        Why the visits can't be compared, or why the comparison failed; empty if it succeeded.
    n_new, n_others : int or None
        New, and enlarging, shrinking and resolved lesions.
    change_ml : float or None
        Of the lesion volume.
    exit_code : int
    """

    later: str
    compared_with: str
    desc: str
    message: str = ""
    n_new: int | None = None
    n_others: int | None = None
    change_ml: float | None = None
    exit_code: int = OK


def outcome_of(out_dir: Path, pair: Pair) -> PairOutcome:
    """Return how a comparison ended, from what was written.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    pair : Pair

    Raises
    ------
    BidsCascadeError
        When there is no complete comparison.
    """
    done = read_change(out_dir, pair.later, pair.desc)
    if done is None:
        raise BidsCascadeError("its results were removed by another run; run the same command again")
    if done.flags or done.stats.get("comparable") != "yes":
        return PairOutcome(pair.later.name, pair.earlier.label, pair.desc, "; ".join(reasons_of(done.flags)))
    counts = {kind: int(done.stats[f"n_{kind}"]) for kind in ("new", "enlarging", "shrinking", "resolved")}
    n_others = sum(counts.values()) - counts["new"]
    change_ml = float(done.stats["change_ml"])
    return PairOutcome(pair.later.name, pair.earlier.label, pair.desc, "", counts["new"], n_others, change_ml)


def format_outcomes(outcomes: Sequence[PairOutcome]) -> str:
    """Return the closing table of comparisons as text, in the order given."""
    if not outcomes:
        return "no participant has two visits with results that could be compared"
    names = [f"{outcome.later} with {outcome.compared_with}" for outcome in outcomes]
    width = max(map(len, [*names, "comparison"]))
    lines = [f"{'comparison':<{width}}  new  other changes  change (ml)"]
    for name, outcome in zip(names, outcomes, strict=True):
        if outcome.n_new is None:
            lines.append(f"{name:<{width}}  {'FAILED' if outcome.exit_code else 'NOT COMPARED'}: {outcome.message}")
        else:
            lines.append(f"{name:<{width}}  {outcome.n_new:>3}  {outcome.n_others:>13}  {outcome.change_ml:>+11.2f}")
    return "\n".join(lines)


def flag_visits(out_dir: Path, visits: Iterable[VisitKey], outcomes: Sequence[PairOutcome]) -> None:
    """Flag visits that can't be compared with an earlier one in their quality tables; unflag the others.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    visits : iterable of VisitKey
        A visit whose table can't be read or replaced is named in the log.
    outcomes : sequence of PairOutcome
        Of all comparisons of these visits.
    """
    for visit in visits:
        reasons = [
            f"not comparable with {outcome.compared_with}: {outcome.message}"
            for outcome in outcomes
            if outcome.later == visit.name and outcome.message and not outcome.exit_code
        ]
        try:
            set_flag(out_dir, visit, NOT_COMPARABLE, "; ".join(reasons) or None)
        except BidsCascadeError as error:  # the closing table says it anyway
            _LOGGER.warning("%s: can't be flagged: %s", visit.name, error)
