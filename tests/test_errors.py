"""Errors are one line, whatever they are made of."""

from __future__ import annotations

from bids_cascade.errors import BadDataError, cannot_create


def test_a_message_is_one_line() -> None:
    error = BadDataError("a.nii.gz is damaged (Expected 8 bytes, got 5\n - could the file be damaged?); copy it again.")
    assert str(error) == "a.nii.gz is damaged (Expected 8 bytes, got 5 - could the file be damaged?); copy it again."


def test_a_path_with_a_line_break_stays_one_line() -> None:
    assert str(cannot_create("/data/a\nb", OSError(13, "Permission denied"))) == (
        "can't create /data/a b: Permission denied"
    )
