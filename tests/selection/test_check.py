"""What is said of images before any work is done."""

from __future__ import annotations

import gzip
import logging
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.dataset.choice import ImageChoice
from bids_cascade.dataset.visits import Visit
from bids_cascade.selection.check import check_visits


def write(path: Path, codes: int = 1, shape: tuple[int, ...] = (30, 30, 30)) -> Path:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, shape).astype(np.int16), np.eye(4))
    content = bytearray(image.to_bytes())
    content[252:256] = bytes((codes, 0, codes, 0))  # qform_code and sform_code
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def visit_of(participant: str, *paths: Path) -> Visit:
    sequences = ("T1w", "FLAIR")
    missing = sequences[len(paths) :]
    images = {name: ImageChoice(path, "the only one") for name, path in zip(sequences, paths, strict=False)}
    return Visit(participant, None, images, missing)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, four_d = write(tmp_path / "good.nii.gz"), write(tmp_path / "many.nii.gz", shape=(30, 30, 30, 3))
    cut = write(tmp_path / "cut.nii.gz")
    cut.write_bytes(cut.read_bytes()[:-8])
    pipe = tmp_path / "pipe.nii.gz"
    os.mkfifo(pipe)
    gone = tmp_path / "gone.nii.gz"
    visits = [
        visit_of("1", good, good),
        visit_of("2", cut, four_d),
        visit_of("3", good, pipe),
        visit_of("4", good, gone),
        visit_of("5", good),
    ]
    with caplog.at_level(logging.ERROR):
        found = check_visits(visits, 2, guess_orientation=False)
    assert [visit.name for visit in found.ready] == ["sub-1"]
    assert {name: result.exit_code for name, result in found.refused.items()} == {
        "sub-2": 65,
        "sub-3": 65,
        "sub-4": 66,
        "sub-5": 66,
    }
    both = found.refused["sub-2"].message
    assert "cut.nii.gz is not a readable NIfTI image" in both
    assert "many.nii.gz has 30 x 30 x 30 x 3 voxels" in both
    assert (
        found.refused["sub-3"].message == f"FAILED: {pipe} is a named pipe, or a link to one; expected a regular file"
    )
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["sub-2", "sub-3", "sub-4"]


def test_a_guessed_orientation_is_refused_unless_asked_for_and_then_flagged(tmp_path: Path) -> None:
    visit = visit_of("1", write(tmp_path / "t1w.nii.gz", codes=0), write(tmp_path / "flair.nii.gz", codes=0))
    refused = check_visits([visit], 1, guess_orientation=False).refused["sub-1"]
    assert refused.exit_code == 65
    assert f"{tmp_path}/t1w.nii.gz has neither sform nor qform" in refused.message
    assert "--guess-orientation" in refused.message
    found = check_visits([visit], 1, guess_orientation=True)
    assert [one.name for one in found.ready] == ["sub-1"]
    said = "{} has neither sform nor qform: its orientation is a guess; left and right may be swapped"
    reason = f"{said.format('t1w.nii.gz')}; {said.format('flair.nii.gz')}"
    assert found.flags["sub-1"] == {"orientation_is_a_guess": reason}


def test_manual_masks_are_read_to_their_end(tmp_path: Path) -> None:
    good = write(tmp_path / "good.nii.gz")
    mask = write(tmp_path / "mask.nii.gz")
    visit = visit_of("1", good, good)
    assert check_visits([visit], 1, guess_orientation=False, masks={"sub-1": mask}).ready == [visit]
    mask.write_bytes(mask.read_bytes()[:-1])
    refused = check_visits([visit], 1, guess_orientation=False, masks={"sub-1": mask}).refused
    assert "mask.nii.gz is not a readable NIfTI image" in refused["sub-1"].message


def test_no_visit_at_all() -> None:
    found = check_visits([], 4, guess_orientation=False)
    assert (found.ready, found.refused) == ([], {})
