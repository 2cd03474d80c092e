"""The folders of intermediate results, temporary files and the caches of libraries."""

from __future__ import annotations

import getpass
import hashlib
import multiprocessing.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bids_cascade.errors import FULL_OR_BROKEN, OutputError, ReadWriteError, UsageError
from bids_cascade.whole_file import clear_leftovers, hold_folder

CACHE = "bids_cascade_cache"
"""Folder in the work folder that holds the caches of libraries."""

_CACHES = ("XDG_CACHE_HOME", "MPLCONFIGDIR", "NILEARN_DATA")
_TEMPLATES = "TEMPLATEFLOW_HOME"
_LONGEST_SOCKET_FOLDER = 75
"""In characters; multiprocessing puts sockets into its temporary folder, and their paths may have 107."""

_LONGEST_SOCKET_PARENT = _LONGEST_SOCKET_FOLDER - len("/bids_cascade_12345678")
_SHORT_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")
"""Folder of sockets if the path of the configured temporary folder is too long for them."""

_OWN_TEMPORARY = re.compile(r"tmp_\w{8}")
"""Temporary folders of runs, in the work folder that they share."""

_OWN_SOCKETS = re.compile(r"bids_cascade_\w{8}")
"""Folders of runs for sockets, in the system's temporary folder."""

_LITTLE_BYTES = 1 << 20
"""A disk with less space is full: a file that does not fit is often larger, and leaves some space."""

_ROOM_BYTES = 2 << 30
"""A temporary folder with less space is not used as the work folder: Apptainer's own has 64 MB."""


def make_work_dir(asked_for: Path | None, bids_dir: Path, out_dir: Path) -> Path:
    """Make the work folder and return its absolute path.

    Parameters
    ----------
    asked_for : Path or None
        None for a default that a second run finds again: in the temporary folder, beside the output folder, or in it.
    bids_dir, out_dir : Path
        Roots of the raw and of the derivative dataset.

    Raises
    ------
    UsageError
        The folder lies inside the input dataset.
    OutputError
        It can't be written to.
    ReadWriteError
        Its disk is full or fails.
    """
    if asked_for is not None and bids_dir.is_dir() and asked_for.absolute().is_relative_to(bids_dir.absolute()):
        raise UsageError(
            f"the work folder {asked_for.absolute()} lies inside the input dataset; choose another with -w"
        )
    candidates = [asked_for] if asked_for is not None else _default_work_dirs(bids_dir.absolute(), out_dir.absolute())
    reasons, full = [], []
    for folder in (candidate.absolute() for candidate in candidates):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(1 << 16))  # a full disk still accepts empty files
                file.flush()
                return folder
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror or error}")
            full.append(error.errno in FULL_OR_BROKEN)
    kind = ReadWriteError if all(full) else OutputError
    raise kind(f"can't write to the work folder {', nor to '.join(reasons)}; choose another with -w")


def _default_work_dirs(bids_dir: Path, out_dir: Path) -> list[Path]:
    """Return the default work folders, best first."""
    folders = []
    temporary = system_temporary()
    if temporary is not None and shutil.disk_usage(temporary).free >= _ROOM_BYTES:
        key = hashlib.sha256(f"{bids_dir}\n{out_dir}".encode()).hexdigest()[:12]
        own = temporary / f"bids_cascade_{os.getuid()}_{key}"
        # A folder of another user is not to be trusted: intermediate results are unpickled.
        if not own.exists() or own.stat().st_uid == os.getuid():
            folders.append(own)
    beside = out_dir.with_name(f"{out_dir.name}_work")
    if not beside.is_relative_to(bids_dir):
        folders.append(beside)
    return [*folders, out_dir / "work"]


def is_full(folder: str | Path) -> bool:
    """Return whether the disk of a folder is full."""
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _LITTLE_BYTES or (disk.f_files > 0 and disk.f_favail == 0)


def system_temporary() -> Path | None:
    """Return the system's temporary folder; None if it has no writable one."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        return None
    named = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    # tempfile's last resort is the current folder, where no temporary files belong.
    is_meant = any(name and os.path.abspath(name) == folder for name in [*named, "/tmp", "/var/tmp", "/usr/tmp"])
    return Path(folder) if is_meant else None


@contextmanager
def contained(work_dir: Path) -> Iterator[None]:
    """Let libraries write temporary files, caches and settings into the work folder only; enter before they load.

    It also keeps them from the network and from busy waiting, and makes the work folder the current one, as some read
    settings from there, and the original one may have been deleted.

    A writable home folder, and writable caches configured by the user, are kept.

    Parameters
    ----------
    work_dir : Path
        Existing folder.

    Raises
    ------
    OutputError
        The folder's name is too long, and the system has no temporary folder with a short one.
    """
    before = dict(os.environ)
    clear_leftovers(work_dir, _OWN_TEMPORARY)
    temporary = tempfile.mkdtemp(prefix="tmp_", dir=work_dir)
    held = hold_folder(Path(temporary))
    parent = _socket_parent()
    sockets_inside = parent is None
    if parent is not None:
        _choose_socket_folder(parent)
    elif len(temporary) > _LONGEST_SOCKET_FOLDER:
        _remove(work_dir, temporary, held)
        raise OutputError(
            f"the work folder's name is too long by {len(temporary) - _LONGEST_SOCKET_FOLDER} characters where the "
            f"system's temporary folder can't be written to, or has a long name, too: {work_dir}; choose a shorter one "
            "with -w"
        )
    try:
        os.environ |= _environment(work_dir, temporary)
        tempfile.tempdir = None  # forget the folder found before
        with _current_folder(work_dir):
            yield
    finally:
        if sockets_inside:
            # multiprocessing lets go of its sockets when the process ends, with priority -100.
            multiprocessing.util.Finalize(None, _remove, (work_dir, temporary, held), exitpriority=-200)
        else:
            _remove(work_dir, temporary, held)
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = None


def _socket_parent() -> Path | None:
    """Return the system's temporary folder, or another one if its name is too long; None if there is none."""
    temporary = system_temporary()
    places = [temporary, *map(Path, _SHORT_TEMPORARY)] if temporary is not None else []
    usable = (place for place in places if os.access(place, os.W_OK | os.X_OK))
    return next((place for place in usable if len(os.fspath(place)) <= _LONGEST_SOCKET_PARENT), None)


def _choose_socket_folder(parent: Path) -> None:
    """Let multiprocessing put its sockets, which need a short path, into a temporary folder.

    It is a folder of our own, so that a later run recognises those of killed runs.
    """
    clear_leftovers(parent, _OWN_SOCKETS)
    folder = tempfile.mkdtemp(prefix="bids_cascade_", dir=parent)
    held = hold_folder(Path(folder))
    tempfile.tempdir = folder
    if Path(multiprocessing.util.get_temp_dir()).is_relative_to(folder):  # once chosen, it stays
        multiprocessing.util.Finalize(None, _remove_held, (folder, held), exitpriority=-200)
    else:
        _remove_held(folder, held)


@contextmanager
def _current_folder(folder: Path) -> Iterator[None]:
    """Change the current folder, and restore it at the end if it still exists."""
    try:
        before = os.getcwd()
    except FileNotFoundError:
        before = os.fspath(folder)
    os.chdir(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            os.chdir(before)


def _remove(work_dir: Path, temporary: str, held: BinaryIO) -> None:
    """Remove the temporary folder, and the work folder if it is empty."""
    _remove_held(temporary, held)
    with suppress(OSError):
        work_dir.rmdir()


def _remove_held(folder: str, held: BinaryIO) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    held.close()


def _environment(work_dir: Path, temporary: str) -> dict[str, str]:
    """Return the variables to set."""
    # Threads that spin while waiting slow each other down tenfold on shared processors.
    variables = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
    variables |= {"TMPDIR": temporary, "NO_ET": "1", "NIPYPE_NO_ET": "1"}
    cache = work_dir / CACHE
    for name in ("HOME", *_CACHES):
        if not _is_writable(os.environ.get(name)):
            folder = cache / name.lower()
            folder.mkdir(parents=True, exist_ok=True)
            variables[name] = str(folder)
    if os.environ.get(_TEMPLATES):  # only read, and the current folder is no longer the user's
        variables[_TEMPLATES] = os.path.abspath(os.environ[_TEMPLATES])
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        user = f"uid{os.getuid()}"
    variables["LOGNAME"] = user  # the only variable that nipype's plugin for Slurm reads
    return variables


def _is_writable(folder: str | None) -> bool:
    """Return whether a folder exists and takes files; a missing HOME is ``/``, which root could write to."""
    return folder not in (None, "", "/") and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)
