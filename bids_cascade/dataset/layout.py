"""Opens a raw BIDS dataset, reading only the selected part."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import bids
from bids.layout import BIDSLayout, BIDSLayoutIndexer

from bids_cascade.config import SEQUENCES, Selection
from bids_cascade.dataset.description import dicom_hint, read_raw_description
from bids_cascade.dataset.validation import enumerated
from bids_cascade.errors import (
    FULL_OR_BROKEN,
    InvalidDatasetError,
    NothingSelectedError,
    OutputError,
    ReadWriteError,
    one_line,
)
from bids_cascade.visit_key import VisitKey, natural_key
from bids_cascade.whole_file import HELD, clear_leftovers, hold_folder

logger = logging.getLogger(__name__)

LABEL = "[0-9a-zA-Z+]+"
"""What a participant's or session's label is made of, as a regular expression."""


def open_dataset(bids_dir: Path, selection: Selection, database_dir: Path | None = None) -> BIDSLayout:
    """Index the anatomical images of the selected participants and sessions.

    Nothing else is read: no derivatives, source data, code, other data types or metadata.

    Parameters
    ----------
    bids_dir : Path
        Root of a raw BIDS dataset.
    selection : Selection
        Participants and sessions to index; empty means all.
    database_dir : Path, optional
        Keeps the index for the next run, in a subfolder named after the dataset, the selection, the pybids version
        and the modification times of the folders indexed, so that an index of a changed dataset is never used.

    Returns
    -------
    BIDSLayout
        Root is the resolved `bids_dir`.

    Raises
    ------
    InvalidDatasetError
        `bids_dir` is missing, isn't BIDS or isn't raw.
    NothingSelectedError
        A selected participant or session does not exist.
    OutputError
        The index can't be written to `database_dir`.
    ReadWriteError
        `bids_dir` can't be read.
    """
    read_raw_description(bids_dir)
    root = bids_dir.resolve()
    try:
        participants = _choose_participants(root, selection)
        _check_sessions(root, participants, selection)
        if database_dir is None:
            return index_anat(root, selection.participants, selection.sessions)
        return _cached_index(root, participants, selection, database_dir)
    except OSError as error:
        raise ReadWriteError(f"can't read the dataset {bids_dir}: {error}") from error


def list_participants(root: Path) -> list[str]:
    """Return the labels of all ``sub-`` folders in natural order (2 before 10), without ``sub-``."""
    return _list_labels(root, "sub")


def list_sessions(root: Path, participant: str) -> list[str]:
    """Return the labels of a participant's ``ses-`` folders in natural order, without ``ses-``."""
    return _list_labels(root / f"sub-{participant}", "ses")


def list_visits(root: Path) -> dict[VisitKey, set[str]]:
    """Return the visits of a raw dataset by the names of its folders and files alone, which is fast.

    Returns
    -------
    dict of VisitKey to set of str
        The suffixes of the anatomical images (such as ``T1w``) of each visit that has any, in natural order. The
        visits of a participant without any come too, with an empty set.

    Raises
    ------
    ReadWriteError
        A folder can't be read.
    """
    visits: dict[VisitKey, set[str]] = {}
    try:
        for participant in list_participants(root):
            sessions: list[str | None] = [None, *list_sessions(root, participant)]
            images = {session: _anat_suffixes(root, participant, session) for session in sessions}
            known = [session for session in sessions if images[session]] or sessions[1:] or sessions
            visits |= {VisitKey(participant, session): images[session] for session in known}
    except OSError as error:
        raise ReadWriteError(f"can't read the dataset {root}: {error}") from error
    return visits


def index_anat(
    root: Path, participants: Sequence[str] = (), sessions: Sequence[str] = (), *, is_derivative: bool = False
) -> BIDSLayout:
    """Index the files in the ``anat`` folders of some participants and sessions; empty means all.

    Parameters
    ----------
    root : Path
        Root of a raw or derivative dataset.
    participants, sessions : sequence of str
        Labels; with `sessions`, folders of participants without sessions are left out.
    is_derivative : bool
        Read the entities of derivatives, such as ``label`` and ``desc``, too.
    """
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False, ignore=[_all_but_anat(participants, sessions)])
    return BIDSLayout(root, validate=False, is_derivative=is_derivative, indexer=indexer)


def _list_labels(folder: Path, prefix: str) -> list[str]:
    """Return the labels of the folders in `folder` named ``<prefix>-<label>``."""
    names = [entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name.startswith(f"{prefix}-")]
    valid = [name for name in names if re.fullmatch(f"{prefix}-{LABEL}", name)]
    for name in sorted(set(names) - set(valid)):
        logger.warning("%s is ignored: a BIDS label is made of letters, digits and +", folder / name)
    return sorted((name.removeprefix(f"{prefix}-") for name in valid), key=natural_key)


def _anat_suffixes(root: Path, participant: str, session: str | None) -> set[str]:
    """Return the suffixes of a visit's anatomical images that this app knows; empty if it has none."""
    folder = root / f"sub-{participant}" / (f"ses-{session}" if session else "") / "anat"
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    images = (name.partition(".")[0].rpartition("_")[2] for name in names if _is_image(name))
    return {suffix for suffix in images if suffix in SEQUENCES}


def _is_image(name: str) -> bool:
    """Return whether a file is an image by its name; hidden ones, which macOS leaves behind, are ignored."""
    return name.endswith((".nii", ".nii.gz")) and not name.startswith(".")


def _choose_participants(root: Path, selection: Selection) -> list[str]:
    """Return the selected participants, or all, after checking that they exist."""
    existing = list_participants(root)
    if not existing:
        raise InvalidDatasetError(f"{root} has no participant: no folder named sub-<label>{dicom_hint(root)}")
    unknown = [label for label in dict.fromkeys(selection.participants) if label not in set(existing)]
    if unknown:
        raise NothingSelectedError(f"no participant {enumerated(unknown)} in {root}; there is {enumerated(existing)}")
    return sorted(set(selection.participants), key=natural_key) or existing


def _check_sessions(root: Path, participants: Sequence[str], selection: Selection) -> None:
    """Raise NothingSelectedError for a session that none of the participants has."""
    if not selection.sessions:
        return
    existing = {session for participant in participants for session in list_sessions(root, participant)}
    unknown = [label for label in dict.fromkeys(selection.sessions) if label not in existing]
    if unknown:
        available = f"there is {enumerated(sorted(existing, key=natural_key))}" if existing else "there are no sessions"
        raise NothingSelectedError(
            f"no session {enumerated(unknown)} of the participants asked for in {root}; {available}"
        )


def _all_but_anat(participants: Iterable[str], sessions: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for the indexer to ignore: all but ``anat`` folders, those above them, and their images."""
    participant = "|".join(map(re.escape, participants)) or LABEL
    session = "|".join(map(re.escape, sessions))
    below = f"/ses-(?:{session})" if session else f"(?:/ses-{LABEL})?"
    files = rf"{below}/anat(?:/(?!\.)[^/]+\.nii(?:\.gz)?)?"
    return re.compile(rf"^/(?!sub-(?:{participant})(?:{below}|{files})?$)")


def _cached_index(root: Path, participants: Sequence[str], selection: Selection, database_dir: Path) -> BIDSLayout:
    """Load the index from its subfolder of `database_dir`, or make it and save it there."""
    folder = database_dir / _database_key(root, participants, selection)
    if (folder / "layout_index.sqlite").is_file():
        try:
            layout = BIDSLayout(root, validate=False, database_path=folder)
            layout.get(suffix="T1w")
        except Exception as error:  # SQLAlchemy and pybids raise various errors for a damaged file
            logger.warning("the index in %s is damaged (%s); rebuilding it", folder, one_line(str(error)))
            shutil.rmtree(folder, ignore_errors=True)
        else:
            logger.info("using the index of the dataset in %s", folder)
            return layout
    layout = index_anat(root, selection.participants, selection.sessions)
    try:
        _save_index(layout, folder)
    except (OSError, sqlite3.Error) as error:
        is_full = isinstance(error, sqlite3.Error) or error.errno in FULL_OR_BROKEN
        kind = ReadWriteError if is_full else OutputError
        raise kind(f"can't write the index of the dataset to {database_dir}: {error}") from error
    return layout


def _save_index(layout: BIDSLayout, folder: Path) -> None:
    """Save an index under a hidden name, then move it into place, or drop it if another job was faster."""
    clear_leftovers(folder.parent)
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    held = hold_folder(unfinished)
    try:
        layout.save(unfinished, replace_connection=False)
        unfinished.rename(folder)
        (folder / HELD).unlink()
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        held.close()


def _database_key(root: Path, participants: Sequence[str], selection: Selection) -> str:
    """Return a name that changes with the dataset, the selection and the pybids version.

    Adding or removing a file changes the modification time of its folder; the content of files is not indexed.
    """
    digest = hashlib.sha256(repr((str(root), bids.__version__, participants, selection.sessions)).encode())
    for participant in participants:
        top = root / f"sub-{participant}"
        sessions = [top / f"ses-{session}" for session in list_sessions(root, participant)]
        for folder in [top, top / "anat", *sessions, *(session / "anat" for session in sessions)]:
            modified = folder.stat().st_mtime_ns if folder.is_dir() else None
            digest.update(repr((folder.relative_to(root).as_posix(), modified)).encode())
    return digest.hexdigest()[:16]
