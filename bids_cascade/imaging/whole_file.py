"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from bids_cascade.errors import ReadWriteError


def write_whole_file(content: bytes, path: str | Path) -> None:
    """Write a file under a hidden name beside its destination, then move it into place.

    Parameters
    ----------
    content : bytes
        All of the file.
    path : str or Path
        Destination; an existing file is replaced.

    Raises
    ------
    ReadWriteError
        If the file can't be written; nothing is left behind.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ReadWriteError(f"Can't write {path}: {error.strerror or error}.") from error
