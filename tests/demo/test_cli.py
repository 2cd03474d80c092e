from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.demo import cli as demo

MASK = "sub-01/anat/sub-01_space-T1w_label-L_mask.nii.gz"


def write_result(dataset: Path, results: Path, change: Sequence[tuple[tuple[slice, ...], int]] = ()) -> None:
    """Write the known lesions, with changed voxels, as if the app had found them."""
    known = nib.Nifti1Image.from_filename(dataset / "derivatives" / "truth" / MASK)
    segmented = np.asarray(known.dataobj).copy()
    for box, value in change:
        segmented[box] = value
    (results / MASK).parent.mkdir(parents=True)
    nib.Nifti1Image(segmented, known.affine).to_filename(results / MASK)


def validator() -> str:
    """Return the path of the BIDS validator, or skip the test."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    found = str(beside) if beside.is_file() else shutil.which("bids-validator-deno")
    if not found:
        pytest.skip("bids-validator-deno isn't installed")
    return found


@pytest.mark.parametrize("root", [".", "derivatives/truth"])
def test_phantom_dataset_is_valid_bids(phantom_dataset: Path, root: str) -> None:
    command = [validator(), "--json", str(phantom_dataset / root)]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    errors = [issue for issue in report["issues"]["issues"] if issue.get("severity") == "error"]
    assert not errors


def test_phantom_dataset_has_known_lesions_for_each_scan(phantom_dataset: Path) -> None:
    assert (phantom_dataset / "participants.tsv").read_text() == "participant_id\tseed\nsub-01\t1\n"
    for sequence in ("T1w", "FLAIR"):
        scan = nib.load(phantom_dataset / f"sub-01/anat/sub-01_{sequence}.nii.gz")
        mask = nib.load(phantom_dataset / "derivatives/truth" / MASK.replace("T1w", sequence))
        assert mask.shape == scan.shape
        np.testing.assert_array_equal(mask.affine, scan.affine)


@pytest.mark.slow
def test_phantom_dataset_is_written_alike_again(phantom_dataset: Path, tmp_path: Path) -> None:
    demo.write_phantom_dataset(tmp_path, 1, t1w_voxel_mm=(1.2, 1.2, 1.2), flair_voxel_mm=(1.2, 1.2, 3.6))
    for first in (path for path in phantom_dataset.rglob("*") if path.is_file()):
        assert (tmp_path / first.relative_to(phantom_dataset)).read_bytes() == first.read_bytes(), first.name


def test_perfect_segmentation_scores_full(phantom_dataset: Path, tmp_path: Path) -> None:
    write_result(phantom_dataset, tmp_path)
    score = demo.score_participant(phantom_dataset, tmp_path, "01")
    assert (score.n_known, score.n_found, score.n_false) == (12, 12, 0)
    assert score.dice == 1
    assert score.known_ml == score.segmented_ml
    assert 4 < score.known_ml < 8


def test_missed_and_false_lesions_are_counted(phantom_dataset: Path, tmp_path: Path) -> None:
    from scipy import ndimage

    known = np.asarray(nib.Nifti1Image.from_filename(phantom_dataset / "derivatives/truth" / MASK).dataobj)
    missed = ndimage.find_objects(ndimage.label(known, np.ones((3, 3, 3)))[0])[0]
    false = (slice(0, 2), slice(0, 2), slice(0, 2))
    write_result(phantom_dataset, tmp_path, [(missed, 0), (false, 1)])
    score = demo.score_participant(phantom_dataset, tmp_path, "01")
    assert (score.n_known, score.n_found, score.n_false) == (12, 11, 1)
    assert 0 < score.dice < 1


@pytest.fixture
def quick_demo(phantom_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Replace the making of phantoms and the app; return the list of command lines the app gets."""
    commands: list[list[str]] = []

    def write(folder: Path, n_participants: int, seed: int) -> list[str]:
        shutil.copytree(phantom_dataset, folder)
        return ["01"]

    def run_app(arguments: list[str]) -> int:
        commands.append(arguments)
        if "--model" in arguments:
            return 65
        write_result(Path(arguments[0]), Path(arguments[1]))
        return 0

    cli = ModuleType("bids_cascade.cli")
    cli.main = run_app  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bids_cascade.cli", cli)
    monkeypatch.setattr(demo, "write_phantom_dataset", write)
    return commands


def test_demo_says_what_was_found(
    quick_demo: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main([str(tmp_path), "--nprocs", "2"]) == 0
    dataset, results, work = (str(tmp_path / name) for name in ("dataset", "results", "work"))
    assert quick_demo == [[dataset, results, "participant", "--no-anatomy", "--work-dir", work, "--nprocs", "2"]]
    printed = capsys.readouterr().out
    assert "12 of 12" in printed
    assert f"Results: {results}" in printed


def test_demo_hands_back_the_failure_of_the_app(quick_demo: list[list[str]], tmp_path: Path) -> None:
    assert demo.main([str(tmp_path), "--model", "broken"]) == 65


def test_demo_needs_a_folder_it_can_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    assert demo.main([str(in_the_way)]) == 73
    assert str(in_the_way) in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "100", "two"])
def test_demo_refuses_odd_counts(count: str, tmp_path: Path) -> None:
    assert demo.main([str(tmp_path), f"--participants={count}"]) == 64
    assert not any(tmp_path.iterdir())
