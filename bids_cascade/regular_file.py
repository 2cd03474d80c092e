"""Opens regular files only, and reads text only up to a plausible size."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from bids_cascade.errors import BadDataError, MissingInputError, ReadWriteError

MAX_TABLE_BYTES = 100 << 20
MAX_JSON_BYTES = 10 << 20

_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
    stat.S_ISSOCK: "a socket",
}


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; anything but a regular file, after links, is refused before it can block or never end.

    Raises
    ------
    MissingInputError
        There is no such file, for example if a link's target has not been fetched.
    BadDataError
        It is a folder, a named pipe, a device or a socket.
    ReadWriteError
        It can't be opened.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for is_kind, name in _KINDS.items() if is_kind(mode)), "something else")
            raise BadDataError(f"{path} is {kind}, or a link to one; expected a regular file")
        return open(path, "rb")
    except FileNotFoundError as error:
        hint = "its target does not exist: fetch it first (datalad get)" if path.is_symlink() else "check the path"
        raise MissingInputError(f"{path} does not exist; {hint}") from error
    except OSError as error:
        raise ReadWriteError(f"{path} can't be read: {error.strerror or error}") from error


def read_text(path: Path, limit_bytes: int) -> str:
    """Read a regular file as UTF-8 text, with or without a byte-order mark; line ends are kept.

    Parameters
    ----------
    path : Path
    limit_bytes : int
        A larger file is refused.

    Raises
    ------
    MissingInputError, ReadWriteError
        See :func:`open_regular`.
    BadDataError
        It is no regular file, is larger than the limit, or is not UTF-8 text.
    """
    with open_regular(path) as file:
        try:
            content = file.read(limit_bytes + 1)
        except OSError as error:
            raise ReadWriteError(f"{path} can't be read: {error.strerror or error}") from error
    if len(content) > limit_bytes:
        raise BadDataError(f"{path} is larger than {limit_bytes >> 20} MiB, too large for such a file; check it")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadDataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); correct it") from error
