"""Outputs of the anatomy and of templates, of a small cube of white matter in the template's own place."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy.registration import Deformation
from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.template import BUILT_IN
from bids_cascade.anatomy.visit import VisitAnatomy, no_anatomy
from bids_cascade.config import LesionRule
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.derivatives.anatomy import write_anatomy
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.derivatives.spaces import TemplateSpace, write_space
from bids_cascade.derivatives.writer import Writer
from bids_cascade.imaging.grid import grid_of
from bids_cascade.imaging.registration import write_itk_transform
from bids_cascade.lesions.visit import VisitLesions, find_visit_lesions

RULE = LesionRule(0.5, 3, 0.6)
AFFINE = np.diag([2.0, 2, 2, 1])
AFFINE[:3, 3] = -20
SHAPE = (20, 20, 20)
VENTRICLE = (slice(9, 11), slice(9, 11), slice(9, 11))
BESIDE = (slice(11, 13), slice(9, 11), slice(9, 11))  # 8 voxels of 8 mm3, 2 mm from the ventricle
APART = (slice(3, 4), slice(3, 4), slice(15, 17))  # 2 voxels in deep white matter


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    raw = tmp_path / "raw"
    images = {name: ImageChoice(raw / f"sub-01_{name}.nii.gz", "the only one") for name in ("T1w", "FLAIR")}
    plan = OutputPlan(Visit("01", None, images), raw, tmp_path / "out", "tiny", "0" * 64, RULE, (0.2, 0.6))
    return Writer(plan, tmp_path / "out", skull_stripped=True)


@pytest.fixture
def packed(tmp_path: Path) -> dict[str, Path]:
    """Return a T1w with dark lesions and a FLAIR with bright ones, in white matter of 100."""
    paths = {}
    for name, lesion in (("T1w", 60), ("FLAIR", 150)):
        data = np.full(SHAPE, 100, np.float32)
        data[BESIDE] = data[APART] = lesion
        paths[name] = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(data, AFFINE), paths[name])
    return paths


@pytest.fixture
def lesions() -> VisitLesions:
    probability = np.zeros(SHAPE, np.float32)
    probability[BESIDE] = probability[APART] = 0.9
    image = nib.Nifti1Image(probability, AFFINE)
    return find_visit_lesions(image, {"T1w": grid_of(image)}, {"T1w": np.eye(4)}, RULE)


@pytest.fixture
def deformation(tmp_path: Path) -> Deformation:
    """Return the registration of a head that lies in the template's place already."""
    paths = tmp_path / "to.txt", tmp_path / "from.txt"
    for path in paths:
        write_itk_transform(np.eye(4), path)
    return Deformation(*paths)


def sidecar_of(path: Path) -> dict[str, object]:
    return json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


def test_each_lesion_has_its_place_and_the_t1w_is_refilled(writer, packed, lesions, deformation, tmp_path) -> None:
    structures = np.full(SHAPE, Structure.WHITE_MATTER + 1, np.uint8)
    structures[VENTRICLE] = Structure.LATERAL_VENTRICLES + 1
    anatomy = VisitAnatomy(nib.Nifti1Image(structures, AFFINE), deformation, 0.9, {})
    cells = write_anatomy(writer, anatomy, lesions, packed)
    large, small = cells.of_lesions
    assert large["location"] == "periventricular"
    assert small["location"] == "deep_white_matter"
    assert large["t1w_ratio"] == pytest.approx(0.6)
    assert large["flair_ratio"] == pytest.approx(1.5)
    # The nearest of the voxels beside the ventricle to the lesion's centre of mass, (11.5, 9.5, 9.5), is (11, 9, 9).
    assert [large[f"mni_{axis}_mm"] for axis in "xyz"] == pytest.approx([2, -2, -2])
    assert cells.of_visit["n_lesions_periventricular"] == cells.of_visit["n_lesions_deep_white_matter"] == 1
    assert cells.of_visit["lateral_ventricle_volume_ml"] == pytest.approx(8 * 8 / 1000)
    anat = tmp_path / "out" / "sub-01" / "anat"
    filled = np.asarray(nib.load(anat / "sub-01_desc-lesionfilled_T1w.nii.gz").dataobj)
    np.testing.assert_allclose(filled[BESIDE], 100, atol=1)
    mask = nib.load(anat / f"sub-01_space-{BUILT_IN}_label-L_mask.nii.gz")
    volume_mm3 = np.asarray(mask.dataobj).sum() * abs(np.linalg.det(mask.affine[:3, :3]))
    assert volume_mm3 == pytest.approx(10 * 8, rel=0.5), "linear interpolation of coarse voxels"
    for start, end in (("T1w", BUILT_IN), (BUILT_IN, "T1w")):
        copied = anat / f"sub-01_from-{start}_to-{end}_mode-image_xfm.h5"
        assert copied.read_bytes() == deformation.to_template.read_bytes()


def test_without_structures_there_is_nothing_to_write(writer, packed, lesions) -> None:
    with pytest.raises(ValueError, match="the visit has no structures"):
        write_anatomy(writer, no_anatomy("no template"), lesions, packed)


def test_images_and_lesions_are_written_in_a_templates_space(
    writer, packed, lesions, deformation, tmp_path: Path, monkeypatch
) -> None:
    folder = tmp_path / "templates" / "tpl-Small"
    folder.mkdir(parents=True)
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = -20
    brain = np.random.default_rng(0).uniform(1, 2, (40, 40, 40)).astype(np.float32)
    nib.save(nib.Nifti1Image(brain, affine), folder / "tpl-Small_desc-brain_T1w.nii.gz")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(folder.parent))
    write_space(writer, TemplateSpace("Small", deformation), lesions, packed)
    anat = tmp_path / "out" / "sub-01" / "anat"
    for name, level in (("T1w", 60), ("FLAIR", 150)):
        path = anat / f"sub-01_space-Small_desc-preproc_{name}.nii.gz"
        image = nib.load(path)
        assert image.shape == (40, 40, 40)
        assert float(image.dataobj[23, 19, 19]) == pytest.approx(level)  # in the middle of the larger lesion
        assert float(image.dataobj[30, 30, 30]) == pytest.approx(100)
        sidecar = sidecar_of(path)
        assert sidecar["SkullStripped"] is True
        assert sidecar["Interpolation"] == "linear"
    mask = np.asarray(nib.load(anat / "sub-01_space-Small_label-L_mask.nii.gz").dataobj)
    probability = np.asarray(nib.load(anat / "sub-01_space-Small_label-L_probseg.nii.gz").dataobj)
    np.testing.assert_array_equal(mask > 0, probability >= 0.5 * 0.9)
    (source,) = sidecar_of(anat / "sub-01_space-Small_label-L_mask.nii.gz")["Sources"]
    assert str(source).endswith("sub-01_space-T1w_label-L_mask.nii.gz")


def test_a_failed_registration_writes_nothing(writer, packed, lesions, tmp_path: Path) -> None:
    write_space(writer, TemplateSpace(BUILT_IN, None, "no brain"), lesions, packed)
    assert not (tmp_path / "out").exists()
