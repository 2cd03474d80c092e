"""Names of outputs, and files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_cascade.derivatives.names import bids_uri, derivative_path, sidecar_path

from .names import IMAGES, VISITS, XFM


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
