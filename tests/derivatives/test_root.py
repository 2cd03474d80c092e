"""The root of the derivative dataset."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bids_cascade import __version__
from bids_cascade.dataset.validation import find_validator
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.files import write_json, write_tsv
from bids_cascade.derivatives.names import derivative_path, sidecar_path
from bids_cascade.derivatives.root import _BIDSIGNORE, prepare_output
from bids_cascade.errors import OutputError
from bids_cascade.visit_key import VisitKey

from .names import IMAGES, VISITS, XFM

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


def test_a_readme_is_written_unless_there_is_one(tmp_path: Path) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    prepare_output(out, raw)
    assert "sub-<label>.html" in (out / "README.md").read_text()
    (out / "README.md").rename(out / "README")
    (out / "README").write_text("mine")
    prepare_output(out, raw)
    assert sorted(path.name for path in out.glob("README*")) == ["README"]
    assert (out / "README").read_text() == "mine"


def test_prepare_output(make_raw: MakeRaw, tmp_path: Path) -> None:
    raw = make_raw(files={"dataset_description.json": {"Name": "x", "BIDSVersion": "1.10.0", "DatasetDOI": "doi:1/2"}})
    out = tmp_path / "deep" / "out"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: prepare_output(out, raw), range(16)))
    assert sorted(path.name for path in out.iterdir()) == [
        *(".bidsignore", "README.md", "dataset_description.json", "logs")
    ]
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
    for visit in [*VISITS, VisitKey("02", None)]:
        write_every_output(out, visit, lambda path: make_tree(path.parent, {path.name: (1.0, 1.0, 1.0)}) and None)
    run = subprocess.run([validator, "--format", "json", str(out)], capture_output=True, text=True, check=False)
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert run.returncode == 0
