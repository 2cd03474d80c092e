"""A registration that fails costs regions, and nothing else."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy.template import BUILT_IN
from bids_cascade.anatomy.visit import ANATOMY_FAILED, load_anatomy
from bids_cascade.config import LesionRule
from bids_cascade.derivatives.spaces import TemplateSpace
from bids_cascade.workflow.interfaces import FindAnatomy, RegisterTemplate


@pytest.fixture
def visit(tmp_path: Path) -> dict[str, str]:
    """Return the files of a brain of too few voxels to tell its tissues apart."""
    brain = np.zeros((12, 12, 12), np.uint8)
    brain[3:9, 3:9, 3:9] = 1
    np.save(tmp_path / "channels.npy", np.stack([brain, brain]).astype(np.float32))
    nib.Nifti1Image(brain, np.eye(4)).to_filename(tmp_path / "brain.nii")
    nib.Nifti1Image(np.zeros(brain.shape, np.float32), np.eye(4)).to_filename(tmp_path / "probability.nii")
    return {name: str(tmp_path / name) for name in ("channels.npy", "brain.nii", "probability.nii")}


def test_a_registration_that_fails_is_a_flag_of_one_line(visit: dict[str, str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    common = {"channels": visit["channels.npy"], "brain": visit["brain.nii"], "sequences": ["T1w", "FLAIR"]}
    space = RegisterTemplate(template=BUILT_IN, **common).run().outputs.space
    assert space.deformation is None
    find = FindAnatomy(probability=visit["probability.nii"], rule=LesionRule(0.5, 3.0, 0.5), space=space, **common)
    found = load_anatomy(Path(find.run().outputs.anatomy))
    assert found.structures is None
    assert list(found.flags) == [ANATOMY_FAILED]
    assert "216 voxels; at least 1000 are needed" in found.flags[ANATOMY_FAILED]
    assert "\n" not in found.flags[ANATOMY_FAILED]


def test_a_space_that_failed_says_which() -> None:
    flags = TemplateSpace("MNI152NLin2009cAsym", None, "the head could not be registered to the template").flags
    assert list(flags.values()) == [
        "no images in MNI152NLin2009cAsym: the head could not be registered to the template"
    ]
