"""Errors are one line, whatever they are made of."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import bids_cascade
from bids_cascade.errors import BadDataError, cannot_create


def test_a_message_is_one_line() -> None:
    error = BadDataError("a.nii.gz is damaged (Expected 8 bytes, got 5\n - could the file be damaged?); copy it again.")
    assert str(error) == "a.nii.gz is damaged (Expected 8 bytes, got 5 - could the file be damaged?); copy it again."


def test_a_path_with_a_line_break_stays_one_line() -> None:
    assert str(cannot_create("/data/a\nb", OSError(13, "Permission denied"))) == (
        "can't create /data/a b: Permission denied"
    )


def test_what_is_missing_comes_with_what_to_do() -> None:
    said = [
        (path.name, ast.unparse(call.args[0]))
        for path in Path(bids_cascade.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("MissingInputError", "NothingSelectedError")
    ]
    assert len(said) > 20
    assert [message for message in said if not re.search("; |: set ", message[1])] == []
