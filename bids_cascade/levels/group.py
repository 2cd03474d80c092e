"""The group level: tables and a page of all visits' results; nothing is recomputed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from bids_cascade import __version__
from bids_cascade.cohort.columns import LESION_COLUMNS, SUMMARY_COLUMNS, VISIT_COLUMNS
from bids_cascade.cohort.summary import closing_text
from bids_cascade.cohort.tables import (
    GroupVisit,
    lesion_rows,
    number_processings,
    summary_rows,
    visit_rows,
    without_unused,
)
from bids_cascade.cohort.visits import read_visits
from bids_cascade.config import Inputs, Selection
from bids_cascade.dataset.description import dicom_hint, read_raw_description
from bids_cascade.dataset.layout import list_visits
from bids_cascade.dataset.tables import NOT_AVAILABLE, JoinedColumns, join_columns
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.derivatives.read import list_results
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.errors import (
    BidsCascadeError,
    InvalidDatasetError,
    MissingInputError,
    NothingSelectedError,
    UsageError,
)
from bids_cascade.outcomes import VisitOutcome, exit_code_of
from bids_cascade.report.frequency import write_frequency_maps
from bids_cascade.report.group_page import write_group_page
from bids_cascade.surroundings import say
from bids_cascade.visit_key import VisitKey


def run_group(inputs: Inputs, group_by: str | None = None) -> int:
    """Write the tables, the maps and the page of all selected visits, with or without results; return the exit code.

    Parameters
    ----------
    inputs : Inputs
    group_by : str, optional
        Column of participants.tsv: a map of lesion frequency is also made for each of its values.

    Raises
    ------
    UsageError
        When participants.tsv lacks the column.
    """
    description = read_raw_description(inputs.bids_dir)
    images = list_visits(inputs.bids_dir)
    keys = _select({*images, *list_results(inputs.out_dir)}, inputs)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    joined = join_columns(inputs.bids_dir, keys, list(VISIT_COLUMNS))
    groups = _groups(joined, keys, group_by)
    problems = [*joined.problems, *_without_folder(joined, keys, inputs.selection)]
    visits = read_visits(keys, images, joined, inputs.bids_dir, inputs.out_dir)
    rows = visit_rows(visits)
    _write_tables(visits, rows, joined, inputs)
    try:
        write_frequency_maps(inputs.out_dir, [visit.key for visit in visits if visit.results], groups)
    except BidsCascadeError as error:  # an unreadable mask must not stop the tables
        problems.append(error)
    page = write_group_page(
        inputs.out_dir,
        name=str(description.get("Name", inputs.bids_dir.name)),
        descriptions=joined.descriptions,
        problems=[str(problem) for problem in problems],
        selection=_say_selection(inputs.selection),
    )
    say(closing_text(visits, rows, problems, page))
    return _exit_code(visits, joined.problems)


def _select(keys: Iterable[VisitKey], inputs: Inputs) -> list[VisitKey]:
    """Return the selected visits in natural order; refuse labels that no visit has."""
    existing = sorted(keys, key=lambda key: key.order)
    if not existing:
        raise InvalidDatasetError(
            f"{inputs.bids_dir} has no participant: no folder named sub-<label>{dicom_hint(inputs.bids_dir)}"
        )
    selection = inputs.selection
    for asked_for, available, kind in (
        (selection.participants, {key.participant for key in existing}, "participant"),
        (selection.sessions, {key.session for key in existing}, "session"),
    ):
        unknown = [label for label in asked_for if label not in available]
        if unknown:
            raise NothingSelectedError(
                f"no {kind} {', '.join(unknown)} in {inputs.bids_dir} or {inputs.out_dir}; check --{kind}-label"
            )
    chosen = [
        key
        for key in existing
        if key.participant in (selection.participants or (key.participant,))
        and key.session in (selection.sessions or (key.session,))
    ]
    if not chosen:
        raise NothingSelectedError(
            f"none of the participants asked for has one of the sessions asked for in {inputs.bids_dir}; check "
            "--participant-label and --session-label"
        )
    return chosen


def _without_folder(joined: JoinedColumns, keys: Sequence[VisitKey], selection: Selection) -> list[BidsCascadeError]:
    """Return a problem for each participant of participants.tsv without a folder in either dataset."""
    if selection.participants or selection.sessions:
        return []
    available = {key.participant for key in keys}
    return [
        MissingInputError(f"sub-{label}: in participants.tsv, but there is no such folder; remove the row, or fetch it")
        for label in joined.participants
        if label not in available
    ]


def _write_tables(
    visits: Sequence[GroupVisit], rows: Sequence[dict[str, Any]], joined: JoinedColumns, inputs: Inputs
) -> None:
    """Write the three tables with their dictionaries."""
    common = {
        "GeneratedByVersion": __version__,
        "Selection": {"Participants": inputs.selection.participants, "Sessions": inputs.selection.sessions},
        "Processings": {str(number): asdict(processing) for processing, number in number_processings(visits).items()},
    }
    columns = {**without_unused(VISIT_COLUMNS, visits), **joined.descriptions}
    of_lesions = without_unused(LESION_COLUMNS, visits)
    out = inputs.out_dir
    write_tsv(rows, list(columns), out / "group_visits.tsv", columns | common)
    write_tsv(lesion_rows(visits), list(of_lesions), out / "group_lesions.tsv", of_lesions | common)
    write_tsv(summary_rows(rows), list(SUMMARY_COLUMNS), out / "group_summary.tsv", SUMMARY_COLUMNS | common)


def _groups(joined: JoinedColumns, keys: Sequence[VisitKey], column: str | None) -> dict[str, list[str]]:
    """Return the participants by value of a column of participants.tsv, if one is given."""
    if column is None:
        return {}
    groups: dict[str, list[str]] = {}
    for participant in dict.fromkeys(key.participant for key in keys):
        value = joined.by_participant.get(participant, {}).get(column, NOT_AVAILABLE)
        if value != NOT_AVAILABLE:
            groups.setdefault(value, []).append(participant)
    if not groups:
        columns = dict.fromkeys(name for values in joined.by_participant.values() for name in values)
        raise UsageError(
            f"--group-by {column}: participants.tsv has no such column, or no value in it; give one of "
            f"{', '.join(columns) or 'its columns, of which it has none'}"
        )
    return groups


def _say_selection(selection: Selection) -> str:
    selected = {"participants": selection.participants, "sessions": selection.sessions}
    return "; ".join(f"only {name} {', '.join(labels)}" for name, labels in selected.items() if labels)


def _exit_code(visits: Sequence[GroupVisit], problems: Sequence[BidsCascadeError]) -> int:
    """Return 0 if there are results and all of them could be read."""
    ends = [
        VisitOutcome("", code)
        for code in [visit.exit_code for visit in visits] + [problem.exit_code for problem in problems]
    ]
    if not any(visit.results for visit in visits):
        ends.append(VisitOutcome("", MissingInputError.exit_code))
    return exit_code_of(ends)
