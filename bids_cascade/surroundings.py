"""Makes the app independent of where it was started: current folder, closed streams."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def leave_out_current_folder() -> None:
    """Prevent imports from the current folder, in this process and all that it starts.

    A user's own ``random.py`` there would replace Python's. If the app itself lies there, in a source tree, the folder
    is kept.
    """
    os.environ["PYTHONSAFEPATH"] = "1"  # which leaves `-c` and `-m` without it, as the fork server is started with
    try:
        current = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # deleted
        current = ""

    def is_meant(folder: str) -> bool:
        return folder != "" and (os.path.realpath(folder) != current or os.path.samefile(current, _PACKAGE_ROOT))

    sys.path[:] = filter(is_meant, sys.path)
    if "PYTHONPATH" in os.environ:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(is_meant, os.environ["PYTHONPATH"].split(os.pathsep)))


def share_source_tree() -> None:
    """Let child processes import the app from the same source tree, not an installed version.

    The fork server uses Python's default path, not this process's ``sys.path``.
    """
    if os.path.basename(_PACKAGE_ROOT) not in ("site-packages", "dist-packages"):
        before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        others = [folder for folder in before if folder not in ("", _PACKAGE_ROOT)]
        os.environ["PYTHONPATH"] = os.pathsep.join([_PACKAGE_ROOT, *others])


def open_streams() -> None:
    """Open closed standard streams: otherwise files would get their numbers, and receive their text."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def say(text: str) -> None:
    """Print a level's text; a reader that stops early, like ``| head -1``, is no failure of the level."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard(sys.stdout)


def complain(text: str) -> None:
    """Print an error, if standard error is open."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def release_streams() -> None:
    """Flush the streams; drop unwritable text, with which Python would fail at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def _discard(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
