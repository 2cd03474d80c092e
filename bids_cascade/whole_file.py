"""Atomic writes, and the removal of killed writers' leftovers."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import uuid
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bids_cascade.errors import cannot_create

_TEMPORARY = re.compile(r"\.(?:[0-9a-f]{32}\..+|.+\.[0-9a-f]{32})")
"""Names of files and folders while they are written, by :func:`write_whole_file` and :func:`hold_folder`."""

_CLEARED: set[Path] = set()
"""Folders that this process has already cleared of leftovers."""

HELD = ".held"
"""File in a folder that its writer keeps locked."""


def write_whole_file(content: bytes, path: str | Path) -> None:
    """Write a file under a hidden name beside its destination, then move it into place.

    The first write of a process into a folder removes leftovers of killed processes there.

    Parameters
    ----------
    content : bytes
        Content of the file.
    path : str or Path
        Destination; an existing file is replaced, folders are created as needed.

    Raises
    ------
    OutputError
        If the file, or its folder, can't be created.
    ReadWriteError
        If the disk is full or fails; nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_create(f"the folder {path.parent}", error) from error
    if path.parent not in _CLEARED:
        _CLEARED.add(path.parent)
        clear_leftovers(path.parent)
    # Hidden, so that a validator ignores leftovers of a killed process.
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        with _open_held(temporary) as file:
            file.write(content)
            file.flush()
            os.replace(temporary, path)
    except OSError as error:
        raise cannot_create(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def hold_folder(folder: Path) -> BinaryIO:
    """Create a folder, and protect it from :func:`clear_leftovers` until the returned file is closed.

    Raises
    ------
    OSError
        It can't be made or written to.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # just removed: created again
            return _open_held(folder / HELD)


def clear_leftovers(folder: Path, names: re.Pattern[str] = _TEMPORARY) -> None:
    """Remove half-written files and folders of killed processes from a folder; those of living ones are kept.

    Locks tell them apart, which the system releases however a process ends. On a file system without locks, all are
    kept.

    Parameters
    ----------
    folder : Path
        It may be missing.
    names : re.Pattern
        Pattern of their names.
    """
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if names.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_unless_held(Path(entry))


def _open_held(path: Path) -> BinaryIO:
    """Return a new file that is locked as long as it is open."""
    while True:
        file = open(path, "ab")  # noqa: SIM115
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        # Between opening and locking, another process may have removed it as a leftover.
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
        file.close()


def _remove_unless_held(path: Path) -> None:
    """Remove a file or a folder of this user; raise OSError if a process holds it."""
    status = path.lstat()
    is_folder = stat.S_ISDIR(status.st_mode)
    if status.st_uid != os.geteuid() or not (is_folder or stat.S_ISREG(status.st_mode)):
        return
    with open(path / HELD if is_folder else path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if is_folder:
            shutil.rmtree(path)
        else:
            path.unlink()
