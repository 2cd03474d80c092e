"""Names of outputs, and files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_cascade import __version__
from bids_cascade.dataset.validation import find_validator
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.names import (
    _BIDSIGNORE,
    bids_uri,
    derivative_path,
    prepare_output,
    sidecar_path,
    write_json,
    write_tsv,
)
from bids_cascade.errors import OutputError

VISITS = [Visit("01", None, {}), Visit("01", "1", {})]

IMAGES: list[tuple[str, dict[str, str]]] = [
    ("T1w", {"desc": "preproc"}),
    ("FLAIR", {"space": "T1w", "desc": "preproc"}),
    ("mask", {"desc": "brain"}),
    ("mask", {"space": "T1w", "label": "L"}),
    ("probseg", {"space": "T1w", "label": "L"}),
    ("mask", {"space": "FLAIR", "label": "L"}),
    ("probseg", {"space": "FLAIR", "label": "L"}),
    ("dseg", {"space": "T1w", "seg": "lesions"}),
]
XFM = {"from_": "FLAIR", "to": "T1w", "mode": "image"}

MakeRaw = Callable[..., Path]


def test_bytes_of_others_in_bidsignore_are_kept(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    out.mkdir()
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    (out / ".bidsignore").write_bytes(b"caf\xe9/\n")
    prepare_output(out, raw)
    prepare_output(out, raw)
    lines = (out / ".bidsignore").read_bytes().splitlines()
    assert lines[0] == b"caf\xe9/"
    assert lines.count(b"logs/") == 1


def test_names_are_those_of_the_documentation() -> None:
    visit = VISITS[1]
    paths = [derivative_path(Path("out"), visit, suffix, ".nii.gz", **entities) for suffix, entities in IMAGES]
    paths += [
        derivative_path(Path("out"), visit, "xfm", ".txt", **XFM),
        derivative_path(Path("out"), visit, "dseg", ".tsv", space="T1w", seg="lesions"),
        derivative_path(Path("out"), visit, "stats", ".tsv", desc="lesions"),
        derivative_path(Path("out"), visit, "stats", ".json", desc="lesions"),
    ]
    stem = "out/sub-01/ses-1/anat/sub-01_ses-1"
    assert [path.as_posix() for path in paths] == [
        f"{stem}_desc-preproc_T1w.nii.gz",
        f"{stem}_space-T1w_desc-preproc_FLAIR.nii.gz",
        f"{stem}_desc-brain_mask.nii.gz",
        f"{stem}_space-T1w_label-L_mask.nii.gz",
        f"{stem}_space-T1w_label-L_probseg.nii.gz",
        f"{stem}_space-FLAIR_label-L_mask.nii.gz",
        f"{stem}_space-FLAIR_label-L_probseg.nii.gz",
        f"{stem}_space-T1w_seg-lesions_dseg.nii.gz",
        f"{stem}_from-FLAIR_to-T1w_mode-image_xfm.txt",
        f"{stem}_space-T1w_seg-lesions_dseg.tsv",
        f"{stem}_desc-lesions_stats.tsv",
        f"{stem}_desc-lesions_stats.json",
    ]


def test_name_without_session() -> None:
    path = derivative_path(Path("out"), VISITS[0], "T1w", ".nii.gz", desc="preproc")
    assert path == Path("out/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz")


@pytest.mark.parametrize(
    ("suffix", "extension", "entities"),
    [
        ("mask", ".nii.gz", {"seg": "lesions"}),
        ("dseg", ".nii.gz", {"seg": "lesions", "label": "L"}),
        ("T1w", ".tsv", {"desc": "preproc"}),
        ("bold", ".nii.gz", {}),
        ("xfm", ".txt", {"from_": "FLAIR"}),
        ("stats", ".tsv", {}),
        ("T1w", ".nii.gz", {"description": "preproc"}),
    ],
)
def test_other_names_are_refused(suffix: str, extension: str, entities: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="no derivative"):
        derivative_path(Path("out"), VISITS[0], suffix, extension, **entities)


@pytest.mark.parametrize("name", ["a_T1w.nii.gz", "a_T1w.nii", "a_T1w.tsv", "a_T1w.txt", "a_T1w.json"])
def test_sidecar_path(name: str) -> None:
    assert sidecar_path(Path("out.d") / name) == Path("out.d/a_T1w.json")


def test_bids_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "raw/sub-01/anat/sub-01_T1w.nii.gz"
    assert bids_uri(file, tmp_path / "raw") == "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
    assert bids_uri(file, tmp_path / "raw", "") == "bids::sub-01/anat/sub-01_T1w.nii.gz"
    with pytest.raises(ValueError, match="not inside"):
        bids_uri(file, tmp_path / "other")
    file.parent.mkdir(parents=True)
    file.symlink_to(tmp_path / "annexed")
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    assert bids_uri(file, Path("link")) == bids_uri(Path("raw") / file.relative_to(tmp_path / "raw"), tmp_path / "raw")


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


def test_prepare_output(make_raw: MakeRaw, tmp_path: Path) -> None:
    raw = make_raw(files={"dataset_description.json": {"Name": "x", "BIDSVersion": "1.10.0", "DatasetDOI": "doi:1/2"}})
    out = tmp_path / "deep" / "out"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: prepare_output(out, raw), range(16)))
    assert sorted(path.name for path in out.iterdir()) == [".bidsignore", "dataset_description.json", "logs"]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"] == [{"Name": "bids_cascade", "Version": __version__}]
    assert description["DatasetLinks"] == {"raw": raw.as_uri()}
    assert description["SourceDatasets"] == [{"URL": raw.as_uri(), "DOI": "doi:1/2"}]
    assert "figures\n" in (out / ".bidsignore").read_text()


def test_prepare_output_inside_derivatives_links_relatively(make_raw: MakeRaw) -> None:
    raw = make_raw()
    out = raw / "derivatives" / "lesions"
    prepare_output(out, raw)
    assert json.loads((out / "dataset_description.json").read_text())["DatasetLinks"] == {"raw": "../.."}


def test_prepare_output_keeps_lines_of_bidsignore(make_raw: MakeRaw, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.bidsignore").write_text("mine\n*.html")
    for _ in range(2):
        prepare_output(tmp_path / "out", make_raw())
    lines = (tmp_path / "out/.bidsignore").read_text().splitlines()
    assert lines[:3] == ["mine", "*.html", "logs/"]
    assert len(lines) == len(set(lines)) == 1 + len(_BIDSIGNORE)


@pytest.mark.parametrize("inside", [".", "sub-01", "out", "derivatives", "sourcedata/x", "derivatives/../code"])
def test_prepare_output_refuses_the_input(make_raw: MakeRaw, inside: str) -> None:
    raw = make_raw("sub-01/anat/sub-01_T1w.nii.gz")
    before = sorted(raw.rglob("*"))
    with pytest.raises(OutputError, match="input dataset"):
        prepare_output(raw / inside, raw)
    assert sorted(raw.rglob("*")) == before


def test_prepare_output_refuses_the_input_by_another_name(make_raw: MakeRaw, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(make_raw())
    with pytest.raises(OutputError, match="input dataset"):
        prepare_output(tmp_path / "link", tmp_path / "raw")


@pytest.mark.parametrize(
    "description", [{"GeneratedBy": [{"Name": "fMRIPrep"}]}, {"Name": "raw"}, {"GeneratedBy": "me"}, "{", "[]"]
)
def test_prepare_output_refuses_another_dataset(
    make_raw: MakeRaw, make_tree: Callable[..., Path], tmp_path: Path, description: object
) -> None:
    raw, out = make_raw(), make_tree(tmp_path / "out", {"dataset_description.json": description})
    with pytest.raises(OutputError, match=r"already holds|holds a dataset made by"):
        prepare_output(out, raw)


def test_prepare_output_that_cannot_be_made(make_raw: MakeRaw, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match=r"is a file|can't (create|write)"):
            prepare_output(out, make_raw())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_prepare_output_without_permission(make_raw: MakeRaw, tmp_path: Path) -> None:
    raw, out = make_raw(), tmp_path / "out"
    prepare_output(out, raw)
    out.chmod(0o555)
    with pytest.raises(OutputError, match="permission"):
        prepare_output(out, raw)


def sidecar_of(suffix: str, entities: dict[str, str]) -> dict[str, Any]:
    """Return what the app writes at least beside an image."""
    content: dict[str, Any] = {"Sources": ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"], "ModelName": "test"}
    if "space" in entities:
        content["SpatialReference"] = "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"
    if suffix in ("T1w", "FLAIR"):
        content["SkullStripped"] = False
    if suffix == "mask":
        content["Type"] = "Lesion" if entities.get("label") == "L" else "Brain"
    return content


def write_every_output(out: Path, visit: Visit, write_image: Callable[[Path], None]) -> None:
    for suffix, entities in IMAGES:
        path = derivative_path(out, visit, suffix, ".nii.gz", **entities)
        write_image(path)
        write_json(sidecar_of(suffix, entities), sidecar_path(path))
    columns = ["index", "name", "volume_mm3", "centre_x_mm", "mean_probability"]
    rows = [dict.fromkeys(columns, 1.5) | {"index": 1, "name": "lesion 1"}]
    write_tsv(rows, columns, derivative_path(out, visit, "dseg", ".tsv", space="T1w", seg="lesions"))
    xfm = derivative_path(out, visit, "xfm", ".txt", **XFM)
    xfm.write_text("#Insight Transform File V1.0\n")
    write_json({"Sources": []}, sidecar_path(xfm))
    stats = derivative_path(out, visit, "stats", ".tsv", desc="lesions")
    write_tsv([{"n_lesions": 1}], ["n_lesions"], stats, {"n_lesions": {"Description": "number of lesions"}})
    (out / "logs" / "run.json").write_text("{}")
    (out / "logs" / "crash.txt").write_text("x")
    (out / f"{visit.name}.html").write_text("<html></html>")
    (out / f"sub-{visit.participant}" / "figures").mkdir(exist_ok=True)
    (out / f"sub-{visit.participant}" / "figures" / f"{visit.name}_desc-lesions_FLAIR.svg").write_text("<svg/>")
    (xfm.parent / f".half.{xfm.name}").write_text("left over by a killed job")


def test_every_output_is_valid_bids(make_raw: MakeRaw, make_tree: Callable[..., Path], tmp_path: Path) -> None:
    validator = find_validator()
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    out = tmp_path / "out"
    prepare_output(out, make_raw())
    for visit in [*VISITS, Visit("02", None, {})]:
        write_every_output(out, visit, lambda path: make_tree(path.parent, {path.name: (1.0, 1.0, 1.0)}) and None)
    run = subprocess.run([validator, "--format", "json", str(out)], capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert run.returncode == 0
