"""Quality flags: one list for each visit, whichever steps raised them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bids_cascade.dataset.tables import NOT_AVAILABLE, read_object, read_tsv
from bids_cascade.derivatives.names import sidecar_path
from bids_cascade.errors import BadDataError, MissingInputError

Flags = dict[str, str]
"""Reasons, in a sentence each, by flag, such as ``brain_volume_out_of_range``."""

FLAGS_KEY = "QualityFlags"
"""Key in the sidecars of a visit's tables of volumes and of quality measures; only the latter has all flags."""
FLAGS_COLUMN = "quality_flags"
"""Column of the table of quality measures."""


def join_flags(*all_flags: Mapping[str, str]) -> Flags:
    """Return all flags; the reasons of one that was raised several times are joined."""
    joined: dict[str, list[str]] = {}
    for flags in all_flags:
        for flag, reason in flags.items():
            joined.setdefault(flag, []).append(reason)
    return {flag: "; ".join(dict.fromkeys(reasons)) for flag, reasons in joined.items()}


def flags_of(sidecar: Mapping[str, Any]) -> Flags:
    """Return the flags that a sidecar holds."""
    flags = sidecar.get(FLAGS_KEY)
    return {str(flag): str(reason) for flag, reason in flags.items()} if isinstance(flags, dict) else {}


def read_quality_flags(path: Path) -> Flags | None:
    """Return the flags of a visit's table of quality measures; None if there is no such table.

    Raises
    ------
    BadDataError, ReadWriteError
        The table, or its sidecar, can't be read.
    """
    try:
        rows = read_tsv(path).dicts()
    except MissingInputError:
        return None
    if len(rows) != 1 or FLAGS_COLUMN not in rows[0]:
        raise BadDataError(f"{path.name}: expected one row with a column {FLAGS_COLUMN}")
    try:
        reasons = flags_of(read_object(sidecar_path(path)))
    except MissingInputError:
        reasons = {}
    cell = rows[0][FLAGS_COLUMN]
    return {flag: reasons.get(flag, "") for flag in cell.split(";") if flag and cell != NOT_AVAILABLE}


def reasons_of(flags: Mapping[str, str]) -> list[str]:
    """Return the reasons of flags as one line, with the names of those without a known reason."""
    return [reason.rstrip(".") or flag.replace("_", " ") for flag, reason in flags.items()]
