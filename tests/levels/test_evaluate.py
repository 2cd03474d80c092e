"""The evaluate level through the command line: which masks are compared, and that the numbers are right."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import deque
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cli import main
from bids_cascade.dataset.validation import find_validator
from bids_cascade.imaging.fingerprint import hash_voxels

AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 4, 10], [0, 0, 0, 1]])
SHAPE = (24, 20, 8)
FILES = {
    "group_evaluation.json",
    "group_evaluation.tsv",
    "group_evaluation_agreement.json",
    "group_evaluation_agreement.tsv",
    "group_evaluation_lesions.json",
    "group_evaluation_lesions.tsv",
    "group_evaluation_sizes.json",
    "group_evaluation_sizes.tsv",
    "group_evaluation_summary.json",
    "group_evaluation_summary.tsv",
}


def read_tsv(path: Path) -> list[dict[str, str]]:
    header, *rows = (line.split("\t") for line in path.read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def write(data: np.ndarray, path: Path, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(data, affine).to_filename(path)


def describe(root: Path, kind: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    made_by = [{"Name": "someone"}]
    text = {"Name": root.name, "BIDSVersion": "1.10.0", "DatasetType": kind, "GeneratedBy": made_by}
    (root / "dataset_description.json").write_text(json.dumps(text))


def some_mask(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros(SHAPE, np.uint8)
    for x, y, z in zip(rng.integers(2, 20, 6), rng.integers(2, 16, 6), rng.integers(0, 7, 6), strict=True):
        mask[x : x + rng.integers(1, 5), y : y + rng.integers(1, 4), z : z + rng.integers(1, 3)] = 1
    return mask


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return three labelled visits with FLAIR images, and predictions of them in ``derivatives/other``."""
    root = tmp_path / "dataset"
    describe(root, "raw")
    for name in ("manual", "other"):
        describe(root / "derivatives" / name, "derivative")
    for number, (visit, folder) in enumerate(
        {"sub-01_ses-1": "sub-01/ses-1", "sub-01_ses-2": "sub-01/ses-2", "sub-02": "sub-02"}.items()
    ):
        scan = 100 + np.random.default_rng(number).random(SHAPE).astype(np.float32)
        write(scan, root / folder / "anat" / f"{visit}_FLAIR.nii.gz")
        mask = some_mask(number)
        write(mask, root / "derivatives" / "manual" / folder / "anat" / f"{visit}_space-orig_label-L_mask.nii.gz")
        predicted = np.roll(mask, (1, 0, 0), (0, 1, 2))
        predicted[:3, :3, :2] = 1
        path = root / "derivatives" / "other" / folder / "anat" / f"{visit}_space-FLAIR_label-lesion_mask.nii.gz"
        write(predicted, path)
    return root


def manual(dataset: Path, name: str = "sub-02/anat/sub-02") -> Path:
    return dataset / "derivatives" / "manual" / f"{name}_space-orig_label-L_mask.nii.gz"


def other(dataset: Path, name: str = "sub-02/anat/sub-02", space: str = "FLAIR") -> Path:
    return dataset / "derivatives" / "other" / f"{name}_space-{space}_label-lesion_mask.nii.gz"


def evaluate(dataset: Path, *options: str, predictions: str | None = "other") -> int:
    out, work = dataset.parent / "out", dataset.parent / "work"
    arguments = [str(dataset), str(out), "evaluate", "--labels", "manual", "-w", str(work), "--skip-bids-validation"]
    return main([*arguments, *(["--predictions", predictions] if predictions else []), *options])


def lesions_of(mask: np.ndarray) -> list[set[tuple[int, ...]]]:
    """Return 26-connected components, by walking from voxel to voxel."""
    left = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
    found = []
    while left:
        lesion, queue = set(), deque([left.pop()])
        while queue:
            voxel = queue.popleft()
            lesion.add(voxel)
            near = {other for other in left if max(abs(a - b) for a, b in zip(voxel, other, strict=True)) == 1}
            left -= near
            queue.extend(near)
        found.append(lesion)
    return found


def by_hand(reference: np.ndarray, predicted: np.ndarray, size_mm: np.ndarray) -> dict[str, float]:
    """Compute a visit's measures from sets of voxels and pairs of points, with nothing of the app."""
    a, b = ({tuple(voxel) for voxel in np.argwhere(mask).tolist()} for mask in (reference, predicted))
    voxel_mm3 = float(np.prod(size_mm))
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    surfaces = [
        np.array([v for v in mask if any(tuple(np.add(v, step)) not in mask for step in steps)]) * size_mm
        for mask in (a, b)
    ]
    distances = np.linalg.norm(surfaces[0][:, None] - surfaces[1][None], axis=2)
    ways = [distances.min(axis=1), distances.min(axis=0)]
    lesions = [[one for one in lesions_of(mask) if len(one) * voxel_mm3 >= 3] for mask in (reference, predicted)]
    found, right = (sum(bool(one & mask) for one in own) for own, mask in zip(lesions, (b, a), strict=True))
    sensitivity, precision = found / len(lesions[0]), right / len(lesions[1])
    medium = [one for one in lesions[0] if 30 <= len(one) * voxel_mm3 < 100]
    return {
        "dice": 2 * len(a & b) / (len(a) + len(b)),
        "sensitivity": len(a & b) / len(a),
        "precision": len(a & b) / len(b),
        "reference_volume_ml": len(a) * voxel_mm3 / 1000,
        "absolute_volume_difference_ml": abs(len(a) - len(b)) * voxel_mm3 / 1000,
        "hd95_mm": max(np.percentile(way, 95) for way in ways),
        "average_surface_distance_mm": np.concatenate(ways).mean(),
        "reference_lesions": len(lesions[0]),
        "predicted_lesions": len(lesions[1]),
        "reference_lesions_14mm3": sum(len(one) * voxel_mm3 >= 14 for one in lesions[0]),
        "predicted_lesions_14mm3": sum(len(one) * voxel_mm3 >= 14 for one in lesions[1]),
        "lesion_sensitivity": sensitivity,
        "lesion_precision": precision,
        "lesion_f1": 2 * sensitivity * precision / (sensitivity + precision),
        "lesion_sensitivity_30_to_100": sum(bool(one & b) for one in medium) / len(medium) if medium else np.nan,
        "missed_lesion_ml": sum(len(one) for one in lesions_of(reference) if not one & b) * voxel_mm3 / 1000,
        "false_border_ml": sum(len(one - a) for one in lesions_of(predicted) if one & a) * voxel_mm3 / 1000,
    }


def test_numbers_agree_with_a_check_by_hand(dataset: Path) -> None:
    assert evaluate(dataset) == 0
    rows = read_tsv(dataset.parent / "out" / "group_evaluation.tsv")
    assert [(row["participant_id"], row["session_id"]) for row in rows] == [
        ("sub-01", "ses-1"),
        ("sub-01", "ses-2"),
        ("sub-02", "n/a"),
    ]
    names = ("sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2", "sub-02/anat/sub-02")
    for row, name in zip(rows, names, strict=True):
        reference, predicted = (
            np.asarray(nib.Nifti1Image.from_filename(path(dataset, name)).dataobj) > 0 for path in (manual, other)
        )
        for measure, value in by_hand(reference, predicted, np.array([1, 1.5, 4])).items():
            found = float(row[measure].replace("n/a", "nan"))
            assert found == pytest.approx(value, rel=1e-5, nan_ok=True), measure


def test_tables_are_whole_and_described(dataset: Path) -> None:
    assert evaluate(dataset) == 0
    out = dataset.parent / "out"
    assert {path.name for path in out.glob("group_*")} == FILES
    for path in out.glob("group_*.tsv"):
        described = json.loads(path.with_suffix(".json").read_text())
        assert list(described) == path.read_text().splitlines()[0].split("\t")
        assert all(entry["Description"] for entry in described.values())
        assert not re.search(r"\b(inf|nan)\b", path.with_suffix(".json").read_text())
    visits, lesions = read_tsv(out / "group_evaluation.tsv"), read_tsv(out / "group_evaluation_lesions.tsv")
    for visit in visits:
        own = [one for one in lesions if (one["participant_id"], one["session_id"]) == tuple(visit.values())[:2]]
        assert sum(float(one["volume_mm3"]) for one in own if one["mask"] == "reference") == pytest.approx(
            1000 * float(visit["reference_volume_ml"]), rel=1e-4
        )
        found = [one["outcome"] for one in own if one["mask"] == "reference"].count("found")
        assert found / float(visit["reference_lesions"]) == pytest.approx(float(visit["lesion_sensitivity"]), rel=1e-4)
    summary = {row["measure"]: row for row in read_tsv(out / "group_evaluation_summary.tsv")}
    assert (summary["dice"]["n_visits"], summary["dice"]["n_subjects"]) == ("3", "2")
    assert float(summary["dice"]["mean"]) == pytest.approx(np.mean([float(row["dice"]) for row in visits]), rel=1e-4)


def test_output_is_valid_bids_and_the_same_again(dataset: Path) -> None:
    assert evaluate(dataset) == 0
    out = dataset.parent / "out"
    files = {path: path.read_bytes() for path in [*out.glob("group_*"), out / "evaluation.html"]}
    assert evaluate(dataset) == 0
    assert {path: path.read_bytes() for path in files} == files
    validator = find_validator()
    if validator is None:
        pytest.skip("needs bids-validator-deno")
    found = subprocess.run([validator, str(out), "--json"], capture_output=True, text=True, check=False)
    errors = [one for one in json.loads(found.stdout)["issues"]["issues"] if one["severity"] == "error"]
    assert [error["code"] for error in errors if error["code"] != "NO_SUBJECTS"] == []


def test_page_names_the_worst_and_what_is_not_evaluated(dataset: Path, capsys) -> None:
    manual(dataset, "sub-01/ses-1/anat/sub-01_ses-1").unlink()
    assert evaluate(dataset) == 0, "visits without reference are no failure"
    assert "sub-01_ses-1  NOT EVALUATED: no reference mask" in capsys.readouterr().out
    page = (dataset.parent / "out" / "evaluation.html").read_text()
    assert "sub-01_ses-1: no reference mask" in page
    assert page.count("data:image/png;base64,") == 2
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "The largest part of the wrong volume lies in <strong>" in page


def test_visits_without_prediction_are_named(dataset: Path, capsys) -> None:
    other(dataset).unlink()
    assert evaluate(dataset) == 66
    said = capsys.readouterr().out
    assert "sub-02        NOT EVALUATED: there is no predicted lesion mask of this visit" in said
    assert "2 of 3 visits evaluated" in said


@pytest.mark.parametrize("change", ["shape", "place"])
def test_grids_are_checked(dataset: Path, capsys, change: str) -> None:
    mask, affine = some_mask(2), AFFINE.copy()
    if change == "shape":
        mask = mask[:-1]
    else:
        affine[2, 3] += 0.5
    write(mask, other(dataset), affine)
    assert evaluate(dataset) == 65
    said = capsys.readouterr().out
    assert "sub-02_space-orig_label-L_mask.nii.gz: the reference mask, 24 x 20 x 8 voxels of 1 x 1.5 x 4 mm" in said
    assert "is on the grid of no predicted mask; found sub-02_space-FLAIR_label-lesion_mask.nii.gz" in said
    assert "2 of 3 visits evaluated" in said


def test_of_several_predictions_that_on_the_grid_is_taken(dataset: Path) -> None:
    write(np.zeros((9, 9, 9), np.uint8), other(dataset, space="T1w"), np.eye(4))
    write(some_mask(7), other(dataset, "sub-01/ses-1/anat/sub-01_ses-1", space="T1w"))
    assert evaluate(dataset) == 0
    rows = read_tsv(dataset.parent / "out" / "group_evaluation.tsv")
    assert {row["predicted_mask"].split("_space-")[1] for row in rows} == {"FLAIR_label-lesion_mask.nii.gz"}


def test_a_reference_in_another_space_is_compared_there(dataset: Path) -> None:
    affine = np.diag([2.0, 2, 2, 1])
    write(some_mask(2), manual(dataset).with_name("sub-02_space-T1w_label-L_mask.nii.gz"), affine)
    manual(dataset).unlink()
    write(some_mask(2), other(dataset, space="T1w"), affine)
    assert evaluate(dataset) == 0
    row = read_tsv(dataset.parent / "out" / "group_evaluation.tsv")[-1]
    assert row["predicted_mask"] == "sub-02_space-T1w_label-lesion_mask.nii.gz"
    assert float(row["dice"]) == 1


def test_empty_masks_on_either_side(dataset: Path, capsys) -> None:
    nothing = np.zeros(SHAPE, np.uint8)
    write(nothing, other(dataset))
    write(nothing, manual(dataset, "sub-01/ses-1/anat/sub-01_ses-1"))
    write(nothing, manual(dataset, "sub-01/ses-2/anat/sub-01_ses-2"))
    write(nothing, other(dataset, "sub-01/ses-2/anat/sub-01_ses-2"))
    assert evaluate(dataset) == 0
    rows = read_tsv(dataset.parent / "out" / "group_evaluation.tsv")
    assert [row["dice"] for row in rows] == ["0", "1", "0"]
    assert [row["lesion_sensitivity"] for row in rows] == ["n/a", "n/a", "0"]
    assert [row["lesion_precision"] for row in rows] == ["0", "n/a", "n/a"]
    assert [row["hd95_mm"] for row in rows] == ["n/a"] * 3
    assert "has no lesion" in capsys.readouterr().err


def test_what_is_no_mask(dataset: Path, capsys) -> None:
    write(np.linspace(0, 1, num=np.prod(SHAPE)).reshape(SHAPE).astype(np.float32), other(dataset))
    cut = other(dataset, "sub-01/ses-1/anat/sub-01_ses-1")
    cut.write_bytes(cut.read_bytes()[:60])
    write(np.zeros((*SHAPE, 2), np.uint8), other(dataset, "sub-01/ses-2/anat/sub-01_ses-2"))
    assert evaluate(dataset) == 65
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("sub-")}
    assert "expected a mask: 0 and one other. Threshold it first" in rows["sub-02"]
    assert "is not a readable NIfTI image" in rows["sub-01_ses-1"]
    assert "expected a 3D image" in rows["sub-01_ses-2"]
    assert not (dataset.parent / "out" / "evaluation.html").exists()


def test_a_broken_mask_or_scan_stops_no_other_visit(dataset: Path, capsys) -> None:
    colours = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    write(colours, manual(dataset))
    other(dataset, "sub-01/ses-1/anat/sub-01_ses-1").write_bytes(b"")
    scan = dataset / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_FLAIR.nii.gz"
    scan.write_bytes(scan.read_bytes()[:-600])
    assert evaluate(dataset) == 65
    said = capsys.readouterr()
    rows = {line.split()[0]: line for line in said.out.splitlines() if line.startswith("sub-")}
    assert f"{manual(dataset)} is not a readable NIfTI image" in rows["sub-02"]
    assert "_mask.nii.gz is empty" in rows["sub-01_ses-1"]
    assert "NOT EVALUATED" not in rows["sub-01_ses-2"]
    assert "1 of 3 visits evaluated" in said.out
    assert "sub-01_ses-2: drawn without its scan" in said.err


def test_an_earlier_evaluation_is_not_taken_for_this_one(dataset: Path, capsys) -> None:
    assert evaluate(dataset) == 0
    for path in (dataset / "derivatives" / "other").rglob("*.nii.gz"):
        path.write_bytes(b"")
    assert evaluate(dataset) == 65
    assert "evaluation.html and the tables beside it are from an earlier evaluation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "predictions", "code", "message"),
    [
        (["--predictions", ""], None, 64, "--predictions: expected the name or path of a derivative dataset"),
        ([], "nowhere", 66, "no derivative dataset `nowhere`"),
        ([], None, 66, "no derivative dataset"),
        (["--labels", "nowhere"], "other", 66, "no derivative dataset `nowhere`"),
        (["--labels", "blank"], "other", 66, "no lesion mask (label-L or label-lesion"),
        ([], "blank", 66, "no lesion mask (label-L or label-lesion"),
        (["--participant-label", "09"], "other", 18, "09"),
    ],
)
def test_what_can_not_be_done(dataset: Path, capsys, options, predictions, code: int, message: str) -> None:
    describe(dataset / "derivatives" / "blank", "derivative")
    assert evaluate(dataset, *options, predictions=predictions) == code
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("bids_cascade: error"))
    assert message in error
    assert not (dataset.parent / "out").exists()


def test_the_apps_own_output_is_the_default(dataset: Path) -> None:
    out = dataset.parent / "out"
    shutil.copytree(dataset / "derivatives" / "other", out)
    describe_ours = json.loads((out / "dataset_description.json").read_text())
    describe_ours["GeneratedBy"] = [{"Name": "bids_cascade"}]
    (out / "dataset_description.json").write_text(json.dumps(describe_ours))
    assert evaluate(dataset, predictions=None) == 0
    assert len(read_tsv(out / "group_evaluation.tsv")) == 3


def say_of_model(dataset: Path, name: str, **fields: object) -> None:
    path = other(dataset, name)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(
        json.dumps({"ModelName": "tiny", "ModelSHA256": "ab" * 32, "Threshold": 0.35, **fields})
    )


def test_visits_that_the_model_has_learnt_from_are_named(dataset: Path, capsys) -> None:
    names = ("sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2", "sub-02/anat/sub-02")
    image = hash_voxels(dataset / f"{names[0]}_FLAIR.nii.gz")
    elsewhere = {"Dataset": "another", "Participants": ["02"], "ImageSHA256": ["0" * 64]}
    own = {"Dataset": "renamed", "Participants": ["77"], "ImageSHA256": [image]}
    say_of_model(dataset, names[0], ModelLearntFrom=[elsewhere, own])
    say_of_model(dataset, names[1], ModelLearntFrom=[elsewhere, {"Dataset": "dataset", "Participants": ["01"]}])
    say_of_model(dataset, names[2], ModelLearntFrom=[elsewhere])
    assert evaluate(dataset) == 0
    out = dataset.parent / "out"
    rows = read_tsv(out / "group_evaluation.tsv")
    assert [row["learnt_from"] for row in rows] == ["visit", "participant", "no"]
    assert {(row["model_name"], row["model_sha256"], row["threshold"]) for row in rows} == {("tiny", "ab" * 32, "0.35")}
    said = capsys.readouterr().out
    assert "WARNING: The model was trained on this visit: its file lists this image: sub-01_ses-1\n" in said
    assert re.search("WARNING: The model may have been trained on this visit: .*: sub-01_ses-2\n", said)
    assert f"predictions by model tiny (SHA-256 {'ab' * 32}), threshold 0.35: 3 visits" in said
    page = (out / "evaluation.html").read_text()
    assert "Not all of these visits are new to the model" in page
    assert "unknown whether" not in said
    assert re.search("The model was trained on this visit: its file lists this image: sub-01_ses-1", page)
    assert re.search("may have been trained on this visit: .*: sub-01_ses-2", page)
    assert f"model tiny (SHA-256 {'ab' * 32}), threshold 0.35." in page


def test_nothing_is_said_of_what_is_not_known(dataset: Path, capsys) -> None:
    say_of_model(dataset, "sub-02/anat/sub-02", ModelName=None, ModelLearntFrom="all of them", Threshold="half")
    assert evaluate(dataset) == 0
    out = dataset.parent / "out"
    for row in read_tsv(out / "group_evaluation.tsv"):
        assert (row["learnt_from"], row["model_name"], row["threshold"]) == ("n/a", "n/a", "n/a")
    said, page = capsys.readouterr().out, (out / "evaluation.html").read_text()
    assert "WARNING" not in said
    assert "unknown whether it was trained on 3 of 3 visits" in said
    assert "new to the model" not in page
    assert "was trained on 3 of the 3 visits is unknown" in page


def test_lesions_by_size_add_up(dataset: Path, capsys) -> None:
    assert evaluate(dataset) == 0
    sizes = {row["size"]: row for row in read_tsv(dataset.parent / "out" / "group_evaluation_sizes.tsv")}
    lesions = read_tsv(dataset.parent / "out" / "group_evaluation_lesions.tsv")
    bounds = {"all": (3, 1e9), "at_least_14": (14, 1e9), "3_to_10": (3, 10), "10_to_30": (10, 30)}
    bounds |= {"30_to_100": (30, 100), "over_100": (100, 1e9)}
    assert list(sizes) == list(bounds)
    for name, (low, high) in bounds.items():
        outcomes = [one["outcome"] for one in lesions if low <= float(one["volume_mm3"]) < high]
        n = {outcome: outcomes.count(outcome) for outcome in ("found", "missed", "right", "false")}
        row = sizes[name]
        assert [int(row[column]) for column in ("n_reference", "n_found", "n_predicted", "n_right")] == [
            n["found"] + n["missed"],
            n["found"],
            n["right"] + n["false"],
            n["right"],
        ]
        if n["found"] + n["missed"]:
            assert float(row["sensitivity"]) == pytest.approx(n["found"] / (n["found"] + n["missed"]), rel=1e-5)
        assert row["sensitivity_ci95_low"] == "n/a", "two participants have no interval"
    said = capsys.readouterr().out
    assert f"({sizes['all']['n_found']} of {sizes['all']['n_reference']})" in said
    assert "over 3 visits of 2 participants: mean (no interval: fewer than 5), median" in said
    assert re.search(r"lesions of all visits together: sensitivity, precision, F1\n", said)


def test_few_participants_have_no_correlation(dataset: Path) -> None:
    assert evaluate(dataset) == 0
    out = dataset.parent / "out"
    found = {row["measure"]: row["value"] for row in read_tsv(out / "group_evaluation_agreement.tsv")}
    assert found.pop("volume_bias_ml") != "n/a"
    assert set(found.values()) == {"n/a"}
    assert {row["mean_ci95_low"] for row in read_tsv(out / "group_evaluation_summary.tsv")} == {"n/a"}


def test_the_page_leads_to_the_pages_beside_it(dataset: Path) -> None:
    out = dataset.parent / "out"
    assert evaluate(dataset) == 0
    assert "group.html" not in (out / "evaluation.html").read_text()
    for name in ("group.html", "sub-01.html"):
        (out / name).touch()
    assert evaluate(dataset) == 0
    links = re.findall(r'<a href="(\./[^"]*)"', (out / "evaluation.html").read_text())
    assert links == ["./group.html", "./sub-01.html#sub-01_ses-1", "./sub-01.html#sub-01_ses-2"]


@pytest.mark.data
def test_real_masks_beside_themselves(shared_data: Path, tmp_path: Path) -> None:
    arguments = [str(shared_data / "labelled-thick"), str(tmp_path / "out"), "evaluate", "-w", str(tmp_path / "work")]
    assert main([*arguments, "--labels", "manual", "--predictions", "manual", "--skip-bids-validation"]) == 0
    rows = read_tsv(tmp_path / "out" / "group_evaluation.tsv")
    assert len(rows) == 10
    for row in rows:
        assert {row[name] for name in ("dice", "lesion_sensitivity", "lesion_precision", "lesion_f1")} == {"1"}
        assert row["hd95_mm"] == row["volume_difference_ml"] == row["false_border_ml"] == "0"
        assert 3 < float(row["reference_volume_ml"]) < 30
        assert 10 < float(row["reference_lesions"]) < 60


def test_masks_on_one_grid_are_compared_in_whatever_order_they_are_stored(dataset: Path) -> None:
    assert evaluate(dataset) == 0
    table = dataset.parent / "out" / "group_evaluation.tsv"
    expected = read_tsv(table)
    turned = nib.load(other(dataset)).as_reoriented([[2, -1], [0, 1], [1, -1]])
    write(np.asarray(turned.dataobj).copy(), other(dataset), turned.affine)
    assert evaluate(dataset) == 0
    assert [row["dice"] for row in read_tsv(table)] == [row["dice"] for row in expected]
