"""The longitudinal level: each visit of a participant compared with the previous and with the first one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import pairwise
from pathlib import Path

from bids_cascade.change.compare import compare_visits
from bids_cascade.change.rescan import Segmenter, segment_again
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.children import map_in_processes
from bids_cascade.config import Inputs
from bids_cascade.dataset.tables import acquisition_date
from bids_cascade.derivatives.change import (
    FIRST,
    OUT_OF_DATE,
    PREVIOUS,
    Pair,
    earlier_numbers,
    fingerprint_of,
    read_change,
    read_finished,
    remove_change,
    write_change,
    write_refused,
)
from bids_cascade.derivatives.course import NOT_COMPARABLE, comparison_locked, set_flag
from bids_cascade.derivatives.flags import Flags, reasons_of
from bids_cascade.derivatives.read import Processing, list_results, list_sessions_with_results, read_results
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.errors import OK, BidsCascadeError, MissingInputError, NothingSelectedError
from bids_cascade.imaging.images import ORIENTATION_IS_A_GUESS
from bids_cascade.models.store import PACKAGED_MODEL, StoredModel, load_ensemble, load_model
from bids_cascade.outcomes import VisitOutcome, exit_code_of
from bids_cascade.report.change_viewer import change_viewer_page
from bids_cascade.report.participant import write_participant_page
from bids_cascade.surroundings import say
from bids_cascade.visit_key import VisitKey, natural_key

_LOGGER = logging.getLogger(__name__)

_ATTEMPTS = 3
_GB_EACH = 1.5


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


@dataclass(frozen=True)
class _Task:
    """A participant, with all that its process needs."""

    out_dir: Path
    bids_dir: Path
    participant: str
    seed: int
    model: StoredModel | None = None

    def segmenter(self, processing: Processing) -> Segmenter | None:
        """Return a function that repeats a segmentation; None if that needs another model, or takes too long."""
        if self.model is None or self.model.sha256 != processing.model_sha256 or self.model.header.patch_wise:
            return None
        ensemble = load_ensemble(self.model.path)
        rule = replace(
            ensemble.config.rule, threshold=processing.threshold, min_lesion_volume_mm3=processing.min_lesion_volume_mm3
        )
        return partial(segment_again, ensemble, rule, half=processing.precision == "half")


def run_longitudinal(
    inputs: Inputs, n_procs: int, seed: int, model: Path | None = None, noise_floor: bool = True
) -> int:
    """Compare the finished visits of all selected participants; return the exit code."""
    available = sorted({key.participant for key in list_results(inputs.out_dir)}, key=natural_key)
    asked_for = inputs.selection.participants
    unknown = [label for label in asked_for if label not in available]
    if unknown or not available:
        raise NothingSelectedError(
            f"no results of {', '.join(unknown) or 'any participant'} in {inputs.out_dir}; run the participant level "
            "first"
        )
    prepare_output(inputs.out_dir, inputs.bids_dir)
    chosen = [label for label in available if label in (asked_for or (label,))]
    stored = load_model(model or PACKAGED_MODEL) if noise_floor else None
    outcomes = compare_participants(inputs, chosen, n_procs, seed, stored)
    failed = [outcome.exit_code for outcome in outcomes if outcome.exit_code]
    for label in chosen:
        try:
            write_participant_page(inputs.out_dir, label)
        except BidsCascadeError as error:
            _LOGGER.error("sub-%s: no page: %s", label, error)
            failed.append(error.exit_code)
    say(format_outcomes(outcomes))
    return exit_code_of([VisitOutcome("", code) for code in failed])


def compare_participants(
    inputs: Inputs, participants: Sequence[str], n_procs: int, seed: int, model: StoredModel | None = None
) -> list[PairOutcome]:
    """Compare each visit of some participants with the previous and the first one, unless that is done already.

    Parameters
    ----------
    inputs : Inputs
        The output folder holds finished visits, of whichever run.
    participants : sequence of str
    n_procs : int
        Participants at once.
    seed : int
    model : StoredModel, optional
        For the noise floor of visits that were segmented with it.
    """
    tasks = [_Task(inputs.out_dir, inputs.bids_dir, label, seed, model) for label in participants]
    several = [task for task in tasks if len(list_sessions_with_results(task.out_dir, task.participant)) > 1]
    done = map_in_processes(_compare_participant, several, n_procs, "compared visits", _GB_EACH)
    return [outcome for outcomes in done for outcome in outcomes]


def format_outcomes(outcomes: Sequence[PairOutcome]) -> str:
    """Return the closing table of comparisons as text."""
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


def plan_pairs(visits: Sequence[tuple[VisitKey, date | None]]) -> list[Pair]:
    """Return the pairs of a participant's visits to compare, in the order of time.

    Parameters
    ----------
    visits : sequence of (VisitKey, date or None)
        In any order; they are sorted by date if all have one, otherwise by session.
    """
    dated = all(day for _, day in visits)
    ordered = sorted(visits, key=lambda visit: ((dated and visit[1]) or date.min, natural_key(visit[0].session)))

    def pair(earlier: tuple[VisitKey, date | None], later: tuple[VisitKey, date | None], desc: str) -> Pair:
        days = (later[1] - earlier[1]).days if earlier[1] and later[1] else None
        return Pair(earlier[0], later[0], desc, days)

    pairs = []
    for number, (earlier, later) in enumerate(pairwise(ordered)):
        pairs.append(pair(earlier, later, PREVIOUS))
        if number:
            pairs.append(pair(ordered[0], later, FIRST))
    return pairs


def remove_stale(inputs: Inputs, participants: Sequence[str]) -> None:
    """Remove the comparisons of some participants whose results have been replaced since.

    For runs without comparisons, so that no outdated ones remain.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be removed.
    """
    for label in participants:
        task = _Task(inputs.out_dir, inputs.bids_dir, label, 0)
        processings, pairs = _plan(task)
        _remove_others(task.out_dir, processings, pairs)
        kept = []
        for pair in pairs:
            with comparison_locked(task.out_dir, pair.later):
                done = read_change(task.out_dir, pair.later, pair.desc)
                if done is None:
                    continue
                if OUT_OF_DATE in done.flags:
                    _LOGGER.warning(
                        "%s: its comparison with %s was of results that have been replaced, and was removed; the "
                        "longitudinal level makes it again",
                        pair.later.name,
                        _label(pair),
                    )
                    remove_change(task.out_dir, pair.later, pair.desc)
                else:
                    kept.append(_outcome(task.out_dir, pair))
        _flag_visits(task.out_dir, processings, kept)


def _plan(task: _Task) -> tuple[dict[VisitKey, Processing], list[Pair]]:
    """Return a participant's readable visits with their processing, and the pairs to compare."""
    processings: dict[VisitKey, Processing] = {}
    for session in list_sessions_with_results(task.out_dir, task.participant):
        visit = VisitKey(task.participant, session)
        try:
            processings[visit] = read_results(task.out_dir, visit).processing
        except BidsCascadeError as error:
            _LOGGER.debug("%s: not compared: %s", visit.name, error)
    return processings, plan_pairs([(visit, acquisition_date(task.bids_dir, visit)) for visit in processings])


def _flag_visits(out_dir: Path, visits: Iterable[VisitKey], outcomes: Sequence[PairOutcome]) -> None:
    """Flag visits that can't be compared with an earlier one in their quality tables; unflag the others."""
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


def _compare_participant(task: _Task) -> list[PairOutcome]:
    """Do a participant's missing comparisons; repeat those for which another run has added or replaced a visit."""
    outcomes: list[PairOutcome] = []
    processings, pairs = _plan(task)
    for _ in range(_ATTEMPTS):
        _remove_others(task.out_dir, processings, pairs)
        outcomes, previous, all_fresh = [], None, True
        for pair in pairs:
            outcome, fresh = _do(task, pair, previous, processings)
            outcomes.append(outcome)
            all_fresh &= fresh
            if pair.desc == PREVIOUS:
                previous = pair
        done = pairs
        processings, pairs = _plan(task)
        if all_fresh and pairs == done:
            break
    _flag_visits(task.out_dir, processings, outcomes)
    return outcomes


def _remove_others(out_dir: Path, visits: Iterable[VisitKey], pairs: Sequence[Pair]) -> None:
    """Remove comparisons that are obsolete since an earlier visit was added or removed, complete or not."""
    wanted = {(pair.later, pair.desc) for pair in pairs}
    for visit in visits:
        for desc in (PREVIOUS, FIRST):
            if (visit, desc) not in wanted:
                with comparison_locked(out_dir, visit):
                    remove_change(out_dir, visit, desc)


def _do(
    task: _Task, pair: Pair, previous: Pair | None, processings: dict[VisitKey, Processing]
) -> tuple[PairOutcome, bool]:
    """Do a comparison unless it is done; return how it ended, and whether its inputs are still the same.

    If two runs reach it at once, the second one waits and finds it done.
    """
    try:
        with comparison_locked(task.out_dir, pair.later):
            before = _fingerprint(task, pair, previous, processings)
            done = read_change(task.out_dir, pair.later, pair.desc)
            lacks_floor = (
                done is not None and not done.has_floor and task.segmenter(processings[pair.later]) is not None
            )
            if done is None or done.fingerprint != before or lacks_floor:
                _LOGGER.info("%s: comparing with ses-%s", pair.later.name, pair.earlier.session)
                _compare(task, pair, previous, processings, before)
            return _outcome(task.out_dir, pair), _fingerprint(task, pair, previous, processings) == before
    except BidsCascadeError as error:
        _LOGGER.error("%s: not compared with ses-%s: %s", pair.later.name, pair.earlier.session, error)
        return PairOutcome(pair.later.name, _label(pair), pair.desc, str(error), exit_code=error.exit_code), True


def _fingerprint(task: _Task, pair: Pair, previous: Pair | None, processings: dict[VisitKey, Processing]) -> str:
    before = read_change(task.out_dir, previous.later, previous.desc) if previous else None
    ways = [repr(processings[key]) for key in (pair.earlier, pair.later)]
    earlier = before.fingerprint if before else ""
    return fingerprint_of(task.out_dir, pair, ChangeThresholds(), earlier, str(task.seed), *ways)


def _compare(
    task: _Task, pair: Pair, previous: Pair | None, processings: dict[VisitKey, Processing], fingerprint: str
) -> None:
    """Compare two visits and write the result."""
    if refusal := _refusal(task.out_dir, pair, processings):
        write_refused(task.out_dir, pair, refusal, fingerprint)
        return
    try:
        earlier, later = (read_finished(task.out_dir, visit) for visit in (pair.earlier, pair.later))
        segment = task.segmenter(processings[pair.later])
        comparison = compare_visits(earlier, later, seed=task.seed, segment=segment)
    except (ValueError, BidsCascadeError) as error:
        if isinstance(error, MissingInputError):
            raise
        write_refused(task.out_dir, pair, {"visits_cannot_be_registered": str(error)}, fingerprint)
        return
    if comparison.flags or comparison.result is None:
        write_refused(task.out_dir, pair, comparison.flags, fingerprint, comparison)
        return
    before = earlier_numbers(task.out_dir, pair, comparison, previous)
    make_page = partial(change_viewer_page, comparison, names=(_label(pair), f"ses-{pair.later.session}"))
    write_change(task.out_dir, pair, comparison, before, make_page, fingerprint)


def _refusal(out_dir: Path, pair: Pair, processings: dict[VisitKey, Processing]) -> Flags:
    """Return why two visits must not be compared at all, if that is known beforehand; usually nothing."""
    if processings[pair.earlier] != processings[pair.later]:
        return {"visits_made_differently": _say_difference(pair, processings)}
    guessed = [
        key.name for key in (pair.earlier, pair.later) if ORIENTATION_IS_A_GUESS in read_results(out_dir, key).flags
    ]
    if len(guessed) == 1:  # two guesses are right or wrong alike
        return {
            "visits_may_be_mirrored": f"the orientation of {guessed[0]} is a guess, so it may be a mirror image of the "
            "other visit; convert it again"
        }
    return {}


def _say_difference(pair: Pair, processings: dict[VisitKey, Processing]) -> str:
    """Describe how the processing of two visits differs, and what to do."""
    before, after = (vars(processings[key]) for key in (pair.earlier, pair.later))
    different = [
        f"{name.replace('_', ' ')} {before[name]} and {after[name]}" for name in before if before[name] != after[name]
    ]
    if before["sequences"] != after["sequences"]:
        remedy = "lesions seen in other sequences differ without any change"
    else:
        remedy = "run the participant level for both with the same model and options"
    return (
        f"{_label(pair)} and ses-{pair.later.session} were not made in the same way ({'; '.join(different)}): {remedy}"
    )


def _outcome(out_dir: Path, pair: Pair) -> PairOutcome:
    done = read_change(out_dir, pair.later, pair.desc)
    if done is None:
        raise BidsCascadeError("its results were removed by another run; run the same command again")
    if done.flags or done.stats.get("comparable") != "yes":
        return PairOutcome(pair.later.name, _label(pair), pair.desc, "; ".join(reasons_of(done.flags)))
    counts = {kind: int(done.stats[f"n_{kind}"]) for kind in ("new", "enlarging", "shrinking", "resolved")}
    n_others = sum(counts.values()) - counts["new"]
    change_ml = float(done.stats["change_ml"])
    return PairOutcome(pair.later.name, _label(pair), pair.desc, "", counts["new"], n_others, change_ml)


def _label(pair: Pair) -> str:
    return f"ses-{pair.earlier.session}" if pair.earlier.session else pair.earlier.name
