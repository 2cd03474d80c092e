"""JSON files and tables, written atomically."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_cascade.derivatives.names import sidecar_path
from bids_cascade.whole_file import write_whole_file

_BLANKS = str.maketrans("\t\n\r", "   ")


def write_json(obj: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file atomically; paths become strings, numpy values plain ones, NaN and infinity null.

    Raises
    ------
    OutputError, ReadWriteError
        See :func:`bids_cascade.whole_file.write_whole_file`.
    """
    text = json.dumps(_plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole_file(text.encode(), path)


def write_tsv(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    path: Path,
    descriptions: Mapping[str, Any] | None = None,
) -> None:
    """Write a table atomically, and its sidecar if `descriptions` is given.

    Parameters
    ----------
    rows : iterable of mapping
        By column; None, NaN or infinity is written as ``n/a``, a float with at most 6 significant digits.
    columns : sequence of str
        In their order; other keys of a row are left out.
    path : Path
        The ``.tsv`` file.
    descriptions : mapping, optional
        Content of the sidecar. Leave it out for a table that shares its sidecar with an image.

    Raises
    ------
    OutputError, ReadWriteError
        See :func:`bids_cascade.whole_file.write_whole_file`.
    """
    lines = ["\t".join(columns), *("\t".join(_cell(row.get(column)) for column in columns) for row in rows)]
    write_whole_file(("\n".join(lines) + "\n").encode(), path)
    if descriptions is not None:
        write_json(descriptions, sidecar_path(path))


def _plain(value: object) -> object:
    """Return a value, with all its content, as JSON types."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> str:
    """Return one cell of a table; tabs and line breaks, in a message or a name, become blanks."""
    if isinstance(value, str):
        return value.translate(_BLANKS)
    plain = _plain(value)
    if plain is None:
        return "n/a"
    return f"{plain:.6g}" if isinstance(plain, float) else str(plain).translate(_BLANKS)
