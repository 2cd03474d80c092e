"""Values of options: what is accepted, and what each message expects."""

import argparse
import os
from pathlib import Path

import pytest

from bids_cascade.cli import values


def test_a_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert values.path_of("a/b") == tmp_path / "a" / "b"


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (values.path_of, "", "expected a path, found nothing"),
        (values.template, "MNI/../x", "expected a template such as MNI152NLin2009cAsym, found `MNI/../x`"),
        (values.number, "nan", "expected a number, found `nan`"),
        (values.number, "1e999", "expected a number, found `1e999`"),
        (values.gb_of_mb, "0", "expected a number of MB above 0"),
    ],
)
def test_what_can_not_be_meant_is_refused(parse, text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse(text)


@pytest.mark.parametrize(("text", "gb"), [("16000", 16), ("16G", 16), ("500M", 0.5), ("0.5T", 500)])
def test_memory_is_in_mb_or_has_a_unit(text: str, gb: float) -> None:
    assert values.gb_of_mb(text) == pytest.approx(gb)


def test_a_relative_path_needs_a_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    with pytest.raises(argparse.ArgumentTypeError, match="`data`: the current folder is gone; give an absolute"):
        values.path_of("data")
    assert values.path_of("/data") == Path("/data")
