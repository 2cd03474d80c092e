from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.anatomy.template import BUILT_IN
from bids_cascade.anatomy.visit import ANATOMY_FAILED
from bids_cascade.derivatives.spaces import NO_OUTPUT_SPACE, anatomy_in, reference, register_space

SHAPE = (12, 12, 12)
CHANNELS = np.random.default_rng(0).normal(1, 0.3, (1, *SHAPE)).astype(np.float32)
BRAIN = nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4))


def test_a_registration_that_fails_leaves_its_reason_and_costs_the_anatomy_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    space = register_space("MNIInfant", CHANNELS, BRAIN, ["FLAIR"], tmp_path)
    assert space.deformation is None
    assert "MNIInfant" in space.failure
    assert space.flags == {NO_OUTPUT_SPACE: f"no images in MNIInfant: {space.failure}"}
    anatomy = anatomy_in(space, CHANNELS, BRAIN, ["FLAIR"], np.zeros(SHAPE, bool))
    assert anatomy.structures is None
    assert anatomy.flags == {ANATOMY_FAILED: f"there are no regions of lesions: {space.failure}"}


def test_a_brain_without_tissues_has_no_registration(tmp_path: Path) -> None:
    space = register_space(BUILT_IN, 0 * CHANNELS, BRAIN, ["FLAIR"], tmp_path)
    assert "tissues can't be told apart" in space.failure


def test_sidecars_say_where_a_space_is_described() -> None:
    described = {"SpatialReference": "https://github.com/templateflow/tpl-MNI152NLin2009cAsym"}
    assert reference("MNI152NLin2009cAsym") == described
    assert reference(BUILT_IN)["SpatialReference"].startswith("https://www.bic.mni.mcgill.ca/")
