"""One list of flags, whatever has raised them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bids_cascade.derivatives.flags import flags_of, join_flags, read_quality_flags, reasons_of
from bids_cascade.errors import BadDataError


def test_reasons_of_one_flag_are_joined_once_each() -> None:
    found = join_flags({"a": "T1w", "b": "x"}, {}, {"a": "FLAIR"}, {"b": "x"})
    assert found == {"a": "T1w; FLAIR", "b": "x"}


def test_what_a_line_says_of_flags() -> None:
    assert reasons_of({"a": "it is dark.", "b_c": ""}) == ["it is dark", "b c"]


@pytest.mark.parametrize("sidecar", [{}, {"QualityFlags": None}, {"QualityFlags": ["a"]}])
def test_a_sidecar_without_flags(sidecar: dict[str, object]) -> None:
    assert flags_of(sidecar) == {}


def test_flags_of_a_table_with_and_without_its_sidecar(tmp_path: Path) -> None:
    path = tmp_path / "stats.tsv"
    assert read_quality_flags(path) is None
    path.write_text("noise\tquality_flags\n0.1\ta;b\n")
    assert read_quality_flags(path) == {"a": "", "b": ""}
    (tmp_path / "stats.json").write_text(json.dumps({"QualityFlags": {"b": "why", "old": "gone"}}))
    assert read_quality_flags(path) == {"a": "", "b": "why"}
    path.write_text("noise\tquality_flags\n0.1\tn/a\n")
    assert read_quality_flags(path) == {}
    path.write_text("noise\n0.1\n")
    with pytest.raises(BadDataError, match=r"stats\.tsv: expected one row with a column quality_flags"):
        read_quality_flags(path)
