"""The tables of a dataset: TSV files, read strictly, and a raw dataset's columns of participants and visits."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from bids_cascade.errors import BadDataError, BidsCascadeError, MissingInputError
from bids_cascade.regular_file import MAX_JSON_BYTES, MAX_TABLE_BYTES, read_text
from bids_cascade.visit_key import VisitKey

logger = logging.getLogger(__name__)

NOT_AVAILABLE = "n/a"

_DATED_SUFFIXES = ("FLAIR", "T1w")


@dataclass(frozen=True)
class Tsv:
    """A table as text.

    Attributes
    ----------
    columns : tuple of str
        Each once.
    lines : tuple of str
        The rows, not yet split into cells, which would take eight times the memory; each has one cell a column.
    """

    columns: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The rows as cells."""
        return [tuple(line.split("\t")) for line in self.lines]

    def dicts(self) -> list[dict[str, str]]:
        """Return the rows by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass
class JoinedColumns:
    """The content of participants.tsv and the sessions.tsv files, to be joined to another table.

    Attributes
    ----------
    descriptions : dict of str to dict
        By column, in order: its BIDS description, with its source.
    by_participant : dict of str to dict
        By label, then by column.
    by_visit : dict of VisitKey to dict
        By column.
    participants : tuple of str
        Labels in participants.tsv.
    problems : list of BidsCascadeError
        Tables that could not be read, and are left out.
    """

    descriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_participant: dict[str, dict[str, str]] = field(default_factory=dict)
    by_visit: dict[VisitKey, dict[str, str]] = field(default_factory=dict)
    participants: tuple[str, ...] = ()
    problems: list[BidsCascadeError] = field(default_factory=list)

    def of(self, key: VisitKey) -> dict[str, str]:
        """Return a visit's cells by column; columns of tables without the visit are left out."""
        return {**self.by_participant.get(key.participant, {}), **self.by_visit.get(key, {})}


def read_tsv(path: Path) -> Tsv:
    """Read a table.

    Raises
    ------
    MissingInputError
        There is no such file.
    BadDataError
        It is no regular file, too large or no UTF-8 text, a column comes twice or has no name, or a row has not as
        many cells as the header.
    ReadWriteError
        It can't be read.
    """
    text = read_text(path, MAX_TABLE_BYTES)
    # Not splitlines(): a cell may hold characters that end a line in Unicode, but not in a TSV file.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise BadDataError(f"{path} is empty; expected a header and rows, separated by tabs")
    columns = tuple(lines.pop(0).split("\t"))
    if "" in columns or len(set(columns)) != len(columns):
        raise BadDataError(f"{path}: a column without a name, or two of one name: {', '.join(columns)}; correct it")
    for number, line in enumerate(lines, start=2):
        if line.count("\t") != len(columns) - 1:
            n_cells = line.count("\t") + 1
            raise BadDataError(f"{path}: line {number} has {n_cells} cells, the header {len(columns)}; correct it")
    return Tsv(columns, tuple(lines))


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises
    ------
    MissingInputError
        There is no such file.
    BadDataError
        It is no regular file, too large, no JSON, or no object.
    ReadWriteError
        It can't be read.
    """
    try:
        content = json.loads(read_text(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise BadDataError(f"{path} can't be read as JSON: {error}; correct it") from error
    if not isinstance(content, dict):
        raise BadDataError(f"{path} holds a {type(content).__name__} instead of a JSON object; correct it")
    return content


def join_columns(bids_dir: Path, keys: Iterable[VisitKey], taken: Sequence[str]) -> JoinedColumns:
    """Read participants.tsv and every participant's sessions.tsv.

    A column whose name is `taken`, or in both tables, is called ``participants_<name>`` or ``sessions_<name>``.

    Parameters
    ----------
    bids_dir : Path
        Root of the raw dataset.
    keys : iterable of VisitKey
        The visits to look for.
    taken : sequence of str
        Names of the other table's columns.
    """
    joined = JoinedColumns()
    participants = _read_keyed(bids_dir / "participants.tsv", "participant_id", "sub-", joined.problems)
    joined.participants = tuple(participants)
    sessions = {}
    for participant in dict.fromkeys(key.participant for key in keys if key.session is not None):
        path = bids_dir / f"sub-{participant}" / f"sub-{participant}_sessions.tsv"
        for label, row in _read_keyed(path, "session_id", "ses-", joined.problems).items():
            sessions[VisitKey(participant, label)] = row
    columns = {"participants": _columns_of(participants.values()), "sessions": _columns_of(sessions.values())}
    names: dict[str, dict[str, str]] = {}
    used = set(taken)
    for table, own in columns.items():
        other = columns["sessions" if table == "participants" else "participants"]
        names[table] = {}
        for column in own:
            name = f"{table}_{column}" if column in taken or column in other else column
            while name in used:
                name = f"{table}_{name}"
            used.add(name)
            names[table][column] = name
        joined.descriptions |= _descriptions(bids_dir, table, names[table])
    joined.by_participant = {key: _renamed(row, names["participants"]) for key, row in participants.items()}
    joined.by_visit = {key: _renamed(row, names["sessions"]) for key, row in sessions.items()}
    return joined


def acquisition_date(bids_dir: Path, key: VisitKey) -> date | None:
    """Return the day a visit's images were acquired, or None if the dataset doesn't say.

    It is looked for in scans.tsv (``acq_time`` of the FLAIR, else the T1w, else the first anatomical image), then in
    sessions.tsv, then in the sidecars of FLAIR and T1w (``AcquisitionDateTime``, ``AcquisitionDate``). What can't be
    read is ignored.
    """
    folder = bids_dir / key.folder
    times = [*_times_of_scans(folder / f"{key.name}_scans.tsv"), *_times_of_session(bids_dir, key)]
    day_in_tables = next((day for day in map(_parse_day, times) if day), None)
    return day_in_tables or next((day for day in map(_parse_day, _times_of_sidecars(folder / "anat")) if day), None)


def _read_keyed(path: Path, key: str, prefix: str, problems: list[BidsCascadeError]) -> dict[str, dict[str, str]]:
    """Return a table's rows by label, without the key column; none if the table is missing or bad."""
    try:
        table = read_tsv(path)
        if key not in table.columns:
            raise BadDataError(f"{path} has no column {key}; correct it")
        rows = {}
        for row in table.dicts():
            label = row.pop(key).removeprefix(prefix)
            if label in rows:
                raise BadDataError(f"{path} has more than one row of {prefix}{label}; correct it")
            rows[label] = row
    except MissingInputError:
        return {}
    except BidsCascadeError as error:
        problems.append(error)
        return {}
    return rows


def _columns_of(rows: Iterable[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _renamed(row: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {names[column]: cell or NOT_AVAILABLE for column, cell in row.items()}


def _descriptions(bids_dir: Path, table: str, names: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the descriptions of a table's columns from its sidecar, by their new names."""
    sidecar = _read_json(bids_dir / f"{table}.json")
    descriptions = {}
    for column, name in names.items():
        own = sidecar.get(column)
        described = {"Description": f"Column {column} of {table}.tsv", **(own if isinstance(own, dict) else {})}
        descriptions[name] = {**described, "JoinedFrom": f"{table}.tsv, column {column}"}
    return descriptions


def _read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one if it can't be read."""
    try:
        return read_object(path)
    except MissingInputError:
        return {}
    except BidsCascadeError as error:
        logger.warning("ignored: %s", error)
        return {}


def _times_of_scans(path: Path) -> list[str]:
    """Return the acquisition times of the anatomical images of a scans.tsv, the FLAIR's first."""
    try:
        rows = read_tsv(path).dicts()
    except BidsCascadeError as error:
        if not isinstance(error, MissingInputError):
            logger.warning("no acquisition date: %s", error)
        return []
    times: dict[str, list[str]] = {suffix: [] for suffix in (*_DATED_SUFFIXES, "")}
    for row in rows:
        name = row.get("filename", "")
        if name.startswith("anat/"):
            suffix = name.partition(".")[0].rpartition("_")[2]
            times[suffix if suffix in times else ""].append(row.get("acq_time", ""))
    return [time for group in times.values() for time in group]


def _times_of_session(bids_dir: Path, key: VisitKey) -> list[str]:
    if key.session is None:
        return []
    path = bids_dir / f"sub-{key.participant}" / f"sub-{key.participant}_sessions.tsv"
    row = _read_keyed(path, "session_id", "ses-", []).get(key.session, {})
    return [row.get("acq_time", "")]


def _times_of_sidecars(folder: Path) -> list[str]:
    times = []
    for suffix in _DATED_SUFFIXES:
        for path in sorted(folder.glob(f"[!.]*_{suffix}.json")):
            sidecar = _read_json(path)
            times += [str(sidecar.get(key, "")) for key in ("AcquisitionDateTime", "AcquisitionDate")]
    return times


def _parse_day(text: str) -> date | None:
    """Return the day of an ISO or DICOM date or time, or None."""
    try:
        return datetime.fromisoformat(text.strip()).date()
    except ValueError:
        return None
