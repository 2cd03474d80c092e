"""Errors that carry the exit code of the BIDS Apps execution specification.

Each is raised with one line that says what is wrong, in which file, what was expected and
found, and what to do. Only :mod:`bids_cascade.cli` turns them into an exit.
"""

from __future__ import annotations

import errno
import os

OK = 0
FULL_OR_BROKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of the system for a disk that is full, allows no file as large, or fails."""


def one_line(text: str) -> str:
    r"""Return a text without its line breaks.

    >>> one_line("Expected 8 bytes,\n  got 5")
    'Expected 8 bytes, got 5'
    """
    return " ".join(line.strip() for line in text.splitlines())


class BidsCascadeError(Exception):
    """Any failure this app reports by itself; exit code 1 (unspecified failure).

    Its message is always one line, even if a library's message, a part of it, has several.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class InvalidDatasetError(BidsCascadeError):
    """The input folder is not a valid BIDS dataset."""

    exit_code = 16


class UnknownLevelError(BidsCascadeError):
    """The analysis level does not exist."""

    exit_code = 17


class NothingSelectedError(BidsCascadeError):
    """The participant, session and other filters select nothing."""

    exit_code = 18


class UsageError(BidsCascadeError):
    """The command line can't be used as it is."""

    exit_code = 64


class BadDataError(BidsCascadeError):
    """An existing file has content that can't be used."""

    exit_code = 65


class MissingInputError(BidsCascadeError):
    """A required file is missing."""

    exit_code = 66


class OutputError(BidsCascadeError):
    """An output can't be created."""

    exit_code = 73


class ReadWriteError(BidsCascadeError):
    """Reading or writing failed (disk full, file system gone)."""

    exit_code = 74


class TemporaryError(BidsCascadeError):
    """A temporary obstacle; the same command may succeed later."""

    exit_code = 75


def cannot_create(path: str | os.PathLike[str], error: OSError) -> BidsCascadeError:
    """Return the error for a file or folder that the system refuses to create: by its reason, 74 or 73."""
    kind = ReadWriteError if error.errno in FULL_OR_BROKEN else OutputError
    return kind(f"can't create {os.fspath(path)}: {error.strerror or error}")
