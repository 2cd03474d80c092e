"""What the steps have left is read back, whether a visit has one image or two."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy.visit import no_anatomy, save_anatomy
from bids_cascade.config import LesionRule
from bids_cascade.derivatives.visit_images import load_visit_images
from bids_cascade.imaging.grid import grid_of
from bids_cascade.imaging.registration import write_itk_transform
from bids_cascade.lesions.visit import find_visit_lesions, save_lesions

AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture
def of_one(tmp_path: Path) -> dict[str, Any]:
    """Return what the steps leave of a visit with a T1w image alone."""
    mask = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), AFFINE)
    nib.save(mask, tmp_path / "mask.nii")
    probability = nib.Nifti1Image(np.full((4, 4, 4), 0.9, np.float32), AFFINE)
    lesions = find_visit_lesions(probability, {"T1w": grid_of(mask)}, {"T1w": np.eye(4)}, LesionRule(0.5, 3, 0.5))
    return {
        "packed": ["t1w.nii.gz"],
        "mask": str(tmp_path / "mask.nii"),
        "mask_method": "deepbet",
        "lesions": str(save_lesions(lesions, tmp_path / "lesions.json")),
    }


def test_one_image_lies_on_its_own_grid_and_resembles_itself(of_one: dict[str, Any]) -> None:
    images = load_visit_images(of_one)
    assert images.packed == [Path("t1w.nii.gz")]
    np.testing.assert_array_equal(images.transforms, [np.eye(4)])
    assert (images.qualities, images.flags, images.spaces) == ([1.0], [], [])
    assert np.asarray(images.mask.dataobj).sum() == 64
    assert images.mask_method == "deepbet"
    assert images.lesions.volume_ml("T1w") == pytest.approx(64 * 8 / 1000)
    assert (images.uncertainty, images.anatomy) == ([], None)


def test_what_the_other_steps_leave_follows_the_first_image(of_one: dict[str, Any], tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 5
    write_itk_transform(moved, tmp_path / "transform.txt")
    save_anatomy(no_anatomy("no template"), tmp_path / "anatomy.json")
    flags = {"registration_looks_failed": "see it"}
    others = {
        "packed": ["t1w.nii.gz", "flair.nii.gz"],
        "transforms": [str(tmp_path / "transform.txt")],
        "qualities": [0.4],
        "flags": [flags],
        "uncertainty": [of_one["mask"]],
        "anatomy": str(tmp_path / "anatomy.json"),
    }
    images = load_visit_images(of_one | others)
    np.testing.assert_allclose(images.transforms, [np.eye(4), moved])
    assert (images.qualities, images.flags) == ([1.0, 0.4], [flags])
    assert images.uncertainty[0].shape == (4, 4, 4)
    assert images.anatomy is not None
    assert images.anatomy.structures is None
    assert list(images.anatomy.flags) == ["anatomy_looks_failed"]
