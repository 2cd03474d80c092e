"""Hostile model files and tables: refused in a line, at once; nothing runs, nothing is written elsewhere."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from safetensors.numpy import save

from bids_cascade.cascade.packing import KEY, pack, unpack
from bids_cascade.models.store import PACKAGED_MODEL
from tests.faults.scene import Row, Scene


class _Touch:
    """What unpickling would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def _contents(touched: Path) -> dict[str, bytes]:
    whole = PACKAGED_MODEL.read_bytes()
    arrays, header = unpack(whole)
    network = header["networks"][0][0]

    def with_network(**fields: Any) -> bytes:
        return pack(arrays, {**header, "networks": [[{**network, **fields}] * 2]})

    def with_cascade(**fields: Any) -> bytes:
        return pack(arrays, {**header, "cascade": {**header["cascade"], **fields}})

    name = next(key for key in sorted(arrays) if arrays[key].dtype.kind == "f")
    spoilt = np.array(arrays[name])
    spoilt.flat[0] = np.nan
    sealed = pack(arrays, header)
    return {
        "a pickle": pickle.dumps(_Touch(touched)),
        "nothing": b"",
        "a cut-off file": whole[: len(whole) // 2],
        "one NaN weight": pack({**arrays, name: spoilt}, header),
        "an edited header": sealed.replace(b'peak_probability\\": 0.8', b'peak_probability\\": 0.1'),
        "a flipped bit of a weight": sealed[:-999] + bytes([sealed[-999] ^ 1]) + sealed[-998:],
        "deep nesting": save(arrays, {KEY: "[" * 100_000 + "]" * 100_000}),
        "a header of 100 MB": (100 << 20).to_bytes(8, "little") + b"{" + b" " * (1 << 20),
        '`features: "ab"`': with_network(features="ab"),
        "10,000 layers": with_network(features=[1] * 10_000),
        "a layer of 10^9": with_network(dense=[10**9]),
        "a patch of 10^6": with_network(patch_size=10**6 + 1),
        "a voxel size of 10^-6 mm": with_cascade(voxel_size_mm=1e-6),
        "a level that is NaN": with_cascade(candidate_level=float("nan")),
        "a threshold that is text": with_cascade(threshold="0.5"),
        "unknown sequences": with_cascade(sequences=["../../T1w", "FLAIR"]),
        "a format of tomorrow": pack(arrays, {**header, "format": "bids_cascade model 99"}),
        "a name that is a list": pack(arrays, {**header, "name": [["x"] * 1000]}),
        "no networks": pack(arrays, {**header, "networks": []}),
        "weights of other types": pack({key: value.astype(np.float16) for key, value in arrays.items()}, header),
    }


def run_models(folder: Path) -> Iterator[Row]:
    """Offer each to the participant level; then hostile tables to the group level."""
    from bids_cascade.models.store import load_model

    scene = Scene(folder / "models")
    touched, model = scene.folder / "touched", scene.folder / "model.safetensors"
    for name, content in _contents(touched).items():
        model.write_bytes(content)
        yield _offer(name, model, touched, load_model)
    model.write_bytes(_contents(touched)["one NaN weight"])
    end = scene.run(scene.folder / "out", scene.folder / "work", "--model", str(model))
    fine = end.code == 65 and len(end.errors) == 1 and not (scene.folder / "out").exists()
    yield Row("models", "one NaN weight, by the command line", f"exit {end.code}, {len(end.errors)} line", fine)
    yield from _tables(scene)


def _offer(name: str, model: Path, touched: Path, load: Callable[[Path], Any]) -> Row:
    import time

    from bids_cascade.errors import BadDataError

    began = time.process_time()
    try:
        load(model)
        happened, refused = "taken", False
    except BadDataError as error:
        happened, refused = (
            f"65: {shorten(str(error).partition('model: ')[2], 110, placeholder='...')}",
            "\n" not in str(error),
        )
    except Exception as error:
        happened, refused = f"{type(error).__name__}", False
    seconds = time.process_time() - began
    kept = refused and seconds < 1 and not touched.exists()
    return Row("models", name, f"{happened} ({seconds:.2f} s)".replace("|", "/").replace("`", ""), kept)


_ROWS = {
    "formulas and markup": "sub-01\t=cmd|' /C calc'!A0\t<script>alert(1)</script>",
    "a path as label": "sub-../../etc\t1\t2",
    "an endless line": "sub-01\t" + "x" * 1_000_000 + "\t2",
    "no text": "sub-01\t\udc80\udcff\t2",
    "too many cells": "sub-01" + "\t1" * 1000,
    "the same participant thrice": "sub-01\t1\t2\nsub-01\t1\t2\nsub-01\t3\t4",
}


def _tables(scene: Scene) -> Iterator[Row]:
    """Let the group level read tables that somebody has prepared."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    from bids_cascade.cli import main

    table = scene.dataset / "participants.tsv"
    before = table.read_bytes()
    for name, row in _ROWS.items():
        table.write_bytes(f"participant_id\tage\tnote\n{row}\n".encode(errors="surrogateescape"))
        out = scene.folder / f"group_{len(name)}"
        outside = {path for path in scene.folder.iterdir() if path != out}
        said, complained = StringIO(), StringIO()
        with redirect_stdout(said), redirect_stderr(complained):
            code = main([str(scene.dataset), str(out), "group"])
        page = (out / "group.html").read_text() if (out / "group.html").exists() else ""
        fine = (
            code in (1, 65, 66)  # no results at all, and the table: 1 where these have no code in common
            and "<script>alert(1)" not in page
            and "Traceback" not in complained.getvalue()
            and {path for path in scene.folder.iterdir() if path != out} == outside
        )
        yield Row("tables", f"participants.tsv with {name}", f"exit {code}", fine)
    table.write_bytes(before)
    sidecar = scene.dataset / "participants.json"
    sidecar.write_text(json.dumps({"age": {"Description": "x" * 100_000, "Levels": {"</script>": "<img onerror=x>"}}}))
