"""The bar, and the log around it."""

from __future__ import annotations

import logging
from io import StringIO

import pytest

from bids_cascade.progress_bar import BarHandler, progress_bar


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def show(stream: StringIO, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    handler = BarHandler(stream)
    with progress_bar(2, "heads") as bar:
        bar.update()
        handler.emit(logging.makeLogRecord({"msg": "one is done"}))
        bar.update()
    handler.emit(logging.makeLogRecord({"msg": "all are done"}))
    return stream.getvalue()


def test_lines_stand_alone_on_a_terminal_and_the_bar_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    written = show(Terminal(), monkeypatch)
    lines = [part.split("\r")[-1] for part in written.split("\n")]
    assert lines == ["one is done", "all are done", ""]
    assert "1 of 2 heads |" in written
    assert written.endswith("\rall are done\n")


def test_nothing_but_lines_goes_into_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show(StringIO(), monkeypatch) == "one is done\nall are done\n"
