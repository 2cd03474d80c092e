"""The group level through the command line: a raw dataset and what runs have left in; tables, a page, a code out."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_cascade.anatomy.template import BUILT_IN, template_image
from bids_cascade.cli import main
from bids_cascade.dataset.tables import read_tsv
from bids_cascade.dataset.validation import find_validator
from bids_cascade.derivatives.course import flag_far_volumes
from bids_cascade.imaging.images import save_image
from bids_cascade.report.frequency import read_maps

Leave = Callable[..., Path]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Return a dataset of empty images: 01 at two visits, 02 and 03 at one, 04 without FLAIR."""
    root = tmp_path / "raw"
    for name in ("sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-03_ses-1", "sub-04_ses-1"):
        anat = root.joinpath(*name.split("_"), "anat")
        anat.mkdir(parents=True)
        for suffix in ("T1w", "FLAIR") if name != "sub-04_ses-1" else ("T1w",):
            (anat / f"{name}_{suffix}.nii.gz").touch()
    (root / "dataset_description.json").write_text('{"Name": "Three & one", "BIDSVersion": "1.10.0"}')
    people = ["sub-01\t30\tF", "sub-02\t40\tM", "sub-03\tn/a\tF", "sub-04\t50\tM"]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tage\tsex", *people]) + "\n")
    sessions = "session_id\tacq_time\nses-1\t2020-01-01\nses-2\t2021-01-01\n"
    (root / "sub-01" / "sub-01_sessions.tsv").write_text(sessions)
    return root


@pytest.fixture
def out(tmp_path: Path, raw: Path, leave_results: Leave) -> Path:
    """Return the results of all visits but that of 04."""
    folder = tmp_path / "out"
    leave_results(folder, "sub-01_ses-1", [150, 40, 10], flags={"low_contrast": "lesions are dark."})
    leave_results(folder, "sub-01_ses-2", [300, 100], flags={})
    leave_results(folder, "sub-02_ses-1", [])
    leave_results(folder, "sub-03_ses-1", [20])
    return folder


def rows(out: Path, table: str = "group_visits") -> dict[str, dict[str, str]]:
    found = read_tsv(out / f"{table}.tsv").dicts()
    return {f"{row['participant_id']}_{row['session_id']}": row for row in found}


def group(raw: Path, out: Path, *options: str) -> int:
    return main([str(raw), str(out), "group", *options])


def test_tables_by_hand(raw: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert group(raw, out) == 0
    found = rows(out)
    assert list(found) == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1", "sub-03_ses-1", "sub-04_ses-1"]
    expected = {
        "status": "complete",
        "visit_number": "2",
        "acquisition_date": "2021-01-01",
        "days_since_first_visit": "366",
        "days_since_previous_visit": "366",
        "n_lesions": "2",
        "lesion_volume_t1w_ml": "0.4",
        "lesion_volume_flair_ml": "0.2",
        "lesion_volume_brain_percent": "0.04",
        "lesion_volume_change_ml": "0.2",
        "largest_lesion_mm3": "300",
        "median_lesion_mm3": "200",
        "n_lesions_14mm3": "2",
        "n_lesions_over_100_mm3": "2",
        "n_lesions_30_to_100_mm3": "0",
        "brain_volume_ml": "1000",
        "quality_flags": "n/a",
        "processing": "1",
        "threshold": "0.5",
        "age": "30",
        "sex": "F",
    }
    assert {name: found["sub-01_ses-2"][name] for name in expected} == expected
    assert found["sub-01_ses-1"]["quality_flags"] == "low_contrast"
    assert found["sub-03_ses-1"]["age"] == "n/a"
    assert (found["sub-04_ses-1"]["status"], found["sub-04_ses-1"]["status_reason"]) == ("missing", "no FLAIR image")
    assert (found["sub-04_ses-1"]["n_lesions"], found["sub-04_ses-1"]["age"]) == ("n/a", "50")
    lesions = (out / "group_lesions.tsv").read_text().splitlines()
    assert lesions[1] == "sub-01\tses-1\t1\t150\t1\t-2\t3.5\t0.75\t1"
    assert len(lesions) == 1 + 3 + 2 + 0 + 1
    said = capsys.readouterr().out
    assert "5 visits: 4 complete, 1 missing" in said
    assert "sub-04_ses-1: no FLAIR image" in said


@pytest.mark.parametrize("table", ["group_visits", "group_lesions", "group_summary"])
def test_every_column_is_described_beside_its_table(raw: Path, out: Path, table: str) -> None:
    group(raw, out)
    sidecar = json.loads((out / f"{table}.json").read_text())
    for column in read_tsv(out / f"{table}.tsv").columns:
        assert sidecar[column]["Description"]
        assert re.fullmatch("[a-z0-9_]+", column)
    assert sidecar["Processings"]["1"]["model_name"] == "tiny"


def test_output_is_valid_bids(raw: Path, out: Path) -> None:
    validator = find_validator()
    if validator is None:
        pytest.skip("needs bids-validator-deno")
    group(raw, out)
    # The made-up results have no images; the validator misses them, but nothing of this level's.
    found = subprocess.run([validator, str(out), "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(found.stdout)["issues"]["issues"]
    assert not [issue for issue in issues if "group" in str(issue.get("location"))]


def test_running_again_gives_the_same_bytes(raw: Path, out: Path) -> None:
    group(raw, out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert group(raw, out) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert {"group.html", "group_visits.tsv", "group_visits.json"} <= set(before)


def test_a_participant_who_comes_later_is_added(raw: Path, out: Path, leave_results: Leave) -> None:
    group(raw, out)
    (raw / "sub-04" / "ses-1" / "anat" / "sub-04_ses-1_FLAIR.nii.gz").touch()
    group(raw, out)
    assert rows(out)["sub-04_ses-1"]["status_reason"] == "not processed yet"
    leave_results(out, "sub-04_ses-1", [77])
    assert group(raw, out) == 0
    assert rows(out)["sub-04_ses-1"]["lesion_volume_t1w_ml"] == "0.077"


def test_a_volume_far_from_the_other_visits_is_flagged_in_table_and_closing_text(
    raw: Path, out: Path, leave_results: Leave, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_results(out, "sub-01_ses-2", [9000], flags={})
    flag_far_volumes(out, "01")
    assert group(raw, out) == 0
    assert rows(out)["sub-01_ses-2"]["quality_flags"] == "lesion_volume_far_from_other_visit"
    assert "sub-01_ses-2: the lesion volume is 9 ml, at ses-1 it is 0.2 ml" in capsys.readouterr().out


def test_half_written_results_are_named_and_not_used(raw: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_desc-lesions_stats.tsv").unlink()
    (out / ".sub-04_ses-1.0123abcd").mkdir()
    assert group(raw, out) == 75
    found = rows(out)
    assert found["sub-02_ses-1"]["status"] == found["sub-04_ses-1"]["status"] == "incomplete"
    assert "desc-lesions_stats.tsv missing" in found["sub-02_ses-1"]["status_reason"]
    assert found["sub-04_ses-1"]["status_reason"] == "being written, or a run was killed"
    assert found["sub-02_ses-1"]["brain_volume_ml"] == "n/a"
    assert "2 incomplete" in capsys.readouterr().out


def test_unreadable_results_are_named_and_not_used(raw: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "sub-02" / "ses-1" / "anat" / "sub-02_ses-1_desc-lesions_stats.tsv").write_text("n_lesions\tx\n1\n")
    assert group(raw, out) == 65
    assert rows(out)["sub-02_ses-1"]["status"] == "unreadable"
    assert "line 2 has 1 cells" in capsys.readouterr().out


def test_other_models_thresholds_and_versions_are_named(
    raw: Path, out: Path, leave_results: Leave, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_results(out, "sub-02_ses-1", [30], ModelName="other", ModelSHA256="cd" * 32, Threshold=0.3)
    leave_results(out, "sub-03_ses-1", [30], GeneratedByVersion="0.9.0")
    assert group(raw, out) == 0
    found = rows(out)
    assert [row["processing"] for row in found.values()] == ["1", "1", "2", "3", "n/a"]
    assert found["sub-02_ses-1"]["group_flags"] == found["sub-03_ses-1"]["group_flags"] == "different_processing"
    said = capsys.readouterr().out
    rest = "lesions from 10 mm^3, single precision, bids_cascade"
    assert f"not processed like most (T1w+FLAIR, model tiny (abababab), threshold 0.5, {rest} 1.0.0):" in said
    assert "median lesion volume, of processing 1" in (out / "group.html").read_text().replace("\n", " ")
    assert f"sub-02_ses-1: T1w+FLAIR, model other (cdcdcdcd), threshold 0.3, {rest} 1.0.0" in said
    assert (
        "sub-03_ses-1: T1w+FLAIR, model tiny (abababab), threshold 0.5, lesions from 10 mm^3, single precision, "
        "bids_cascade 0.9.0" in said
    )
    lesions = read_tsv(out / "group_lesions.tsv").dicts()
    assert [row["processing"] for row in lesions] == ["1"] * 5 + ["2", "3"]


@pytest.mark.parametrize(
    ("visit", "code", "message", "status"),
    [
        ("sub-03_ses-1", 65, "FAILED: it is cut off", "failed"),
        ("sub-03_ses-1", 75, "not finished: the run was stopped", "missing"),
        ("sub-04_ses-1", 66, "no FLAIR image", "missing"),
    ],
)
def test_a_failed_visit_is_told_from_one_that_was_not_run(
    raw: Path, out: Path, visit: str, code: int, message: str, status: str
) -> None:
    record = out / "logs" / "visits" / f"{visit}.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"exit_code": code, "message": message}))
    for path in (out / "sub-03" / "ses-1" / "anat").iterdir():
        path.unlink()
    assert group(raw, out) == 0
    assert (rows(out)[visit]["status"], rows(out)[visit]["status_reason"]) == (status, message)


def test_results_of_a_visit_that_the_dataset_does_not_have(
    raw: Path, out: Path, leave_results: Leave, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_results(out, "sub-99")
    with (raw / "participants.tsv").open("a") as file:
        file.write("sub-77\t1\tF\n")
    assert group(raw, out) == 0
    assert rows(out)["sub-99_n/a"]["group_flags"] == "not_in_dataset"
    said = capsys.readouterr().out
    assert "with results, but not in the dataset:\n  sub-99" in said
    assert "sub-77: in participants.tsv, but there is no such folder" in said


def test_selection(raw: Path, out: Path, leave_results: Leave, capsys: pytest.CaptureFixture[str]) -> None:
    assert group(raw, out, "--participant-label", "sub-01", "03", "--session-label", "ses-1") == 0
    assert list(rows(out)) == ["sub-01_ses-1", "sub-03_ses-1"]
    assert json.loads((out / "group_visits.json").read_text())["Selection"] == {
        "Participants": ["01", "03"],
        "Sessions": ["1"],
    }
    assert "only participants 01, 03; only sessions 1" in (out / "group.html").read_text()
    assert group(raw, out, "--participant-label", "5") == 18
    assert group(raw, out, "--session-label", "5") == 18
    assert group(raw, out, "--participant-label", "03", "--session-label", "2") == 18
    said = capsys.readouterr().err
    assert "no participant 5 in" in said
    assert "no session 5 in" in said
    assert "none of the participants asked for has one of the sessions" in said


def test_without_any_results(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert group(raw, tmp_path / "new") == 66
    assert {row["status"] for row in rows(tmp_path / "new").values()} == {"missing"}
    assert "5 visits: 5 missing" in capsys.readouterr().out
    assert "No visit has complete results" in (tmp_path / "new" / "group.html").read_text()


@pytest.mark.parametrize(
    ("break_it", "code", "message"),
    [
        (lambda raw: (raw / "dataset_description.json").unlink(), 16, "is not a BIDS dataset"),
        (
            lambda raw: (raw / "dataset_description.json").write_text('{"DatasetType": "derivative"}'),
            16,
            "is a derivative dataset",
        ),
        (lambda raw: (raw / "participants.tsv").write_text("participant_id\tage\nsub-01\n"), 65, "line 2 has 1 cells"),
    ],
)
def test_a_bad_dataset(
    raw: Path, out: Path, break_it: Callable[[Path], Any], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(raw)
    assert group(raw, out) == code
    said = capsys.readouterr()
    assert message in said.out + said.err
    assert (out / "group_visits.tsv").exists() == (code == 65)


def test_an_empty_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "empty"
    raw.mkdir()
    (raw / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    assert group(raw, tmp_path / "out") == 16
    assert "no participant" in capsys.readouterr().err


def test_a_long_list_is_cut_in_the_closing_text(
    tmp_path: Path, raw: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(100, 130):
        (raw / f"sub-{n}" / "anat").mkdir(parents=True)
    assert group(raw, out) == 0
    said = capsys.readouterr().out
    assert "31 missing" in said
    assert "  and 11 more, see group_visits.tsv" in said
    assert "sub-100: no T1w and no FLAIR image" in said


def test_lesions_are_mapped_by_a_column_of_participants_tsv(
    raw: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = template_image()
    for name, voxel in (("sub-01_ses-1", (90, 100, 80)), ("sub-02_ses-1", (95, 100, 80)), ("sub-03_ses-1", None)):
        mask = np.zeros(template.shape, np.uint8)
        if voxel:
            mask[voxel] = 1
        anat = out.joinpath(*name.split("_"), "anat")
        save_image(mask, template.affine, anat / f"{name}_space-{BUILT_IN}_label-L_mask.nii.gz", np.uint8)
    assert group(raw, out, "--group-by", "sex") == 0
    found = [(view.group, view.n_participants, view.highest) for view in read_maps(out)]
    assert found == [(None, 3, pytest.approx(1 / 3)), ("F", 2, 0.5), ("M", 1, 1.0)]
    assert group(raw, out, "--group-by", "handedness") == 64
    assert "--group-by handedness" in capsys.readouterr().err
