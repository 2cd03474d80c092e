"""JSON files and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bids_cascade.derivatives.files import write_json, write_tsv


def test_json_of_paths_arrays_and_nan(tmp_path: Path) -> None:
    content = {"path": Path("a/b"), "array": np.array([1.5, np.nan]), "one": np.float32(2), "flag": np.bool_(True)}
    write_json(content | {"many": ({"inf": float("inf")},), "name": "é"}, tmp_path / "x.json")
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    expected = {"path": "a/b", "array": [1.5, None], "one": 2, "flag": True, "many": [{"inf": None}], "name": "é"}
    assert json.loads(text) == expected
    assert "é" in text


def test_no_text_breaks_a_table(tmp_path: Path) -> None:
    write_tsv([{"a": "one\ttwo\r\nthree", "b": Path("x\ty")}], ["a", "b"], tmp_path / "x.tsv")
    assert (tmp_path / "x.tsv").read_text() == "a\tb\none two  three\tx y\n"


def test_tsv(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"label": np.int32(1), "volume_mm3": 1234.56789, "name": "a"},
        {"label": 2, "volume_mm3": float("nan"), "other": 3},
    ]
    write_tsv(rows, ["label", "volume_mm3", "name"], tmp_path / "x.tsv", {"label": {"Description": "number"}})
    assert (tmp_path / "x.tsv").read_text() == "label\tvolume_mm3\tname\n1\t1234.57\ta\n2\tn/a\tn/a\n"
    assert json.loads((tmp_path / "x.json").read_text()) == {"label": {"Description": "number"}}
    write_tsv([], ["label"], tmp_path / "empty.tsv")
    assert (tmp_path / "empty.tsv").read_text() == "label\n"
    assert not (tmp_path / "empty.json").exists()
