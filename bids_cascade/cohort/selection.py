"""The visits and groups of participants that the group level is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bids_cascade.config import Inputs, Selection
from bids_cascade.dataset.description import dicom_hint
from bids_cascade.dataset.tables import NOT_AVAILABLE, JoinedColumns
from bids_cascade.errors import (
    BidsCascadeError,
    InvalidDatasetError,
    MissingInputError,
    NothingSelectedError,
    UsageError,
)
from bids_cascade.visit_key import VisitKey


def select_visits(keys: Iterable[VisitKey], inputs: Inputs) -> list[VisitKey]:
    """Return the selected visits in natural order; refuse labels that no visit has.

    Raises
    ------
    InvalidDatasetError
        When there is no visit at all.
    NothingSelectedError
        When a label, or a combination of labels, selects no visit.
    """
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


def list_without_folder(
    joined: JoinedColumns, keys: Sequence[VisitKey], selection: Selection
) -> list[BidsCascadeError]:
    """Return a problem for each participant of participants.tsv without a folder in either dataset."""
    if selection.participants or selection.sessions:
        return []
    available = {key.participant for key in keys}
    return [
        MissingInputError(f"sub-{label}: in participants.tsv, but there is no such folder; remove the row, or fetch it")
        for label in joined.participants
        if label not in available
    ]


def group_participants(joined: JoinedColumns, keys: Sequence[VisitKey], column: str | None) -> dict[str, list[str]]:
    """Return the participants by value of a column of participants.tsv, if one is given.

    Raises
    ------
    UsageError
        When participants.tsv lacks the column, or all of its values are n/a.
    """
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


def describe_selection(selection: Selection) -> str:
    """Return the selected labels in words; empty if nothing is left out."""
    selected = {"participants": selection.participants, "sessions": selection.sessions}
    return "; ".join(f"only {name} {', '.join(labels)}" for name, labels in selected.items() if labels)
