"""What a model of several cascades leaves, which one with a single cascade does not."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import CascadeConfig, LesionRule, NetworkConfig
from bids_cascade.dataset.tables import read_tsv
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.derivatives.visit_images import VisitImages
from bids_cascade.derivatives.write import write_outputs
from bids_cascade.derivatives.written import read_agreement
from bids_cascade.imaging.grid import grid_of
from bids_cascade.lesions.visit import find_visit_lesions
from bids_cascade.models.store import save_model
from bids_cascade.workflow.interfaces import Segment

TINY = NetworkConfig(2, patch_size=7, features=(3,), dense=())
AFFINE = np.diag([2.0, 2, 2, 1])  # voxels of 8 mm^3
RULE = LesionRule(0.5, 10, 0.7)


def image(*boxes: tuple[slice, float], dtype=np.float32) -> nib.Nifti1Image:
    """Return a volume of 10 x 4 x 4 voxels with values in boxes along X, two voxels wide in Y and Z."""
    data = np.zeros((10, 4, 4), dtype)
    for along, value in boxes:
        data[along, 1:3, 1:3] = value
    return nib.Nifti1Image(data, AFFINE)


@pytest.fixture
def plan(tmp_path: Path) -> OutputPlan:
    t1w = tmp_path / "raw" / "sub-01_T1w.nii.gz"
    visit = Visit("01", None, {"T1w": ImageChoice(t1w, "the only one")})
    return OutputPlan(visit, t1w.parent, tmp_path / "out", "two", "0" * 64, RULE, (0.2, 0.6))


def images(tmp_path: Path, probability: nib.Nifti1Image, members=(), uncertainty=()) -> VisitImages:
    packed = tmp_path / "packed.nii.gz"
    packed.write_bytes(b"x")
    brain = image((slice(None), 1), dtype=np.uint8)
    lesions = find_visit_lesions(probability, {"T1w": grid_of(brain)}, {"T1w": np.eye(4)}, RULE, members)
    return VisitImages([packed], [np.eye(4)], [1.0], [], brain, "deepbet", lesions, list(uncertainty))


def found_by(first: tuple, second: tuple) -> dict:
    members = [image(*first), image(*second)]
    mean, apart = (
        nib.Nifti1Image(of(np.stack([one.get_fdata() for one in members]), axis=0).astype(np.float32), AFFINE)
        for of in (np.mean, np.std)
    )
    return {"probability": mean, "members": members, "uncertainty": [apart]}


def test_lesions_and_the_visit_say_how_sure_they_are(plan: OutputPlan, tmp_path: Path) -> None:
    # A lesion of four slices, of which the second member has two, and one of two slices that only the first has.
    both = ((slice(0, 4), 1.0), (slice(6, 8), 1.0)), ((slice(0, 2), 0.8), (slice(2, 4), 0.4), (slice(6, 8), 0.45))
    write_outputs(plan, images(tmp_path, **found_by(*both)))
    folder = plan.out_dir / "sub-01" / "anat"
    lesions = read_tsv(folder / "sub-01_space-T1w_seg-lesions_dseg.tsv").dicts()
    assert [float(row["uncertainty"]) for row in lesions] == [0.25, 0.5]  # 1 - (1 + 2/4) / 2; 1 - (1 + 0) / 2
    assert read_agreement(plan) == 0.5  # 24 voxels and 8, all of them in both
    stats = json.loads((folder / "sub-01_desc-lesions_stats.json").read_text())
    assert "Mean pairwise Dice" in stats["cascade_agreement"]["Description"]
    name = "sub-01_space-T1w_label-L_desc-uncertainty_probseg"
    uncertainty = nib.load(folder / f"{name}.nii.gz").get_fdata()
    np.testing.assert_allclose(uncertainty[[0, 2, 5, 6], 1, 1], [0.1, 0.3, 0, 0.275], atol=1e-6)
    assert json.loads((folder / f"{name}.json").read_text())["ModelName"] == "two"


def test_a_single_cascade_leaves_none_of_it_and_removes_it(plan: OutputPlan, tmp_path: Path) -> None:
    box = (slice(0, 4), 1.0)
    write_outputs(plan, images(tmp_path, **found_by((box,), (box,))))
    folder = plan.out_dir / "sub-01" / "anat"
    assert list(folder.glob("*uncertainty*"))
    assert read_agreement(plan) == 1
    write_outputs(plan, images(tmp_path, probability=image(box)))
    assert not list(folder.glob("*uncertainty*"))
    assert read_agreement(plan) is None
    assert "uncertainty" not in read_tsv(folder / "sub-01_space-T1w_seg-lesions_dseg.tsv").columns
    assert "cascade_agreement" not in json.loads((folder / "sub-01_desc-lesions_stats.json").read_text())


@pytest.mark.parametrize("n", [1, 2])
def test_the_step_writes_each_members_probability(tmp_path: Path, monkeypatch, n: int) -> None:
    config = CascadeConfig(gate_probability=0.0, hard_negative_probability=0.0)
    members = [Cascade(config, (build_network(TINY, 2 * i), build_network(TINY, 2 * i + 1))) for i in range(n)]
    stored = save_model(Model(Ensemble(tuple(members)), "some"), tmp_path / "some.safetensors")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "channels.npy", rng.uniform(1, 2, (2, 12, 12, 12)).astype(np.float32))
    nib.save(nib.Nifti1Image(np.ones((12, 12, 12), np.uint8), AFFINE), tmp_path / "brain.nii")
    monkeypatch.chdir(tmp_path)
    step = Segment(
        channels=str(tmp_path / "channels.npy"),
        brain=str(tmp_path / "brain.nii"),
        model=str(stored.path),
        model_sha256=stored.sha256,
    )
    outputs = step.run().outputs
    if n == 1:
        assert (outputs.members, outputs.uncertainty) == ([], [])
        return
    first, second = (nib.load(path).get_fdata() for path in outputs.members)
    mean, apart = (nib.load(path).get_fdata() for path in (outputs.probability, *outputs.uncertainty))
    assert abs(first - second).max() > 0.01
    np.testing.assert_allclose(mean, (first + second) / 2, atol=1e-6)
    np.testing.assert_allclose(apart, abs(first - second) / 2, atol=1e-6)
