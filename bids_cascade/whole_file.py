"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from bids_cascade.errors import OutputError, ReadWriteError


def write_whole_file(content: bytes, path: str | Path) -> None:
    """Write a file under a hidden name beside its destination, then move it into place.

    Parameters
    ----------
    content : bytes
        All of the file.
    path : str or Path
        Destination; an existing file is replaced, folders are made as needed.

    Raises
    ------
    OutputError
        If the folder can't be made.
    ReadWriteError
        If the file can't be written; nothing is left behind.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"can't create the folder {path.parent}: {error.strerror or error}") from error
    # Hidden, so that a validator overlooks what a killed process leaves.
    temporary = path.with_name(f".{uuid.uuid4().hex}.{path.name}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise ReadWriteError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
