from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.demo.phantom import Phantom, _place_lesion, make_phantom

VOLUMES_MM3 = (1500, 700, 300, 150, 80)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=3, lesion_volumes_mm3=VOLUMES_MM3, flair_voxel_mm=(1.0, 1.0, 3.0))


def data(image: nib.Nifti1Image) -> np.ndarray:
    return np.asarray(image.dataobj)


def test_scans_have_the_grids_asked_for(phantom: Phantom) -> None:
    assert phantom.t1w.header.get_zooms() == (1, 1, 1)
    assert phantom.flair.header.get_zooms() == (1, 1, 3)
    assert phantom.t1w_lesions.shape == phantom.t1w_brain.shape == phantom.t1w.shape
    assert phantom.flair_lesions.shape == phantom.flair.shape
    for image in (phantom.t1w, phantom.flair, phantom.t1w_lesions, phantom.flair_lesions):
        assert image.header.get_xyzt_units()[0] == "mm"
        assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1


def test_every_lesion_asked_for_is_there(phantom: Phantom) -> None:
    labels, n_lesions = ndimage.label(data(phantom.t1w_lesions), np.ones((3, 3, 3)))
    volumes = np.sort(np.bincount(labels.ravel())[1:])[::-1]
    assert n_lesions == len(VOLUMES_MM3)
    assert np.all(np.abs(np.log(volumes / VOLUMES_MM3)) < np.log(2))


def test_lesions_look_like_lesions(phantom: Phantom) -> None:
    lesion, brain = data(phantom.t1w_lesions) > 0, data(phantom.t1w_brain) > 0
    surround = ndimage.binary_dilation(lesion, iterations=5) & ~ndimage.binary_dilation(lesion, iterations=2) & brain
    t1w = data(phantom.t1w)
    assert t1w[lesion].mean() < 0.9 * t1w[surround].mean()
    lesion = data(phantom.flair_lesions) > 0
    surround = ndimage.binary_dilation(lesion, iterations=4) & ~ndimage.binary_dilation(lesion, iterations=1)
    flair = data(phantom.flair)
    assert flair[lesion].mean() > 1.2 * flair[surround].mean()


def test_brain_has_a_common_size_and_a_head_around_it(phantom: Phantom) -> None:
    brain, t1w = data(phantom.t1w_brain) > 0, data(phantom.t1w)
    assert 1200 < brain.sum() / 1000 < 1700
    near_ml = (ndimage.binary_dilation(brain, iterations=15) & ~brain & (t1w > 300)).sum() / 1000
    assert near_ml > 100, "expected scalp"
    assert np.median(t1w[:5]) < 50, "expected air at the sides"


def test_motion_carries_lesions_from_one_scan_to_the_other(phantom: Phantom) -> None:
    centre_t1w, centre_flair = (centre_of_largest_mm(mask) for mask in (phantom.t1w_lesions, phantom.flair_lesions))
    moved = nib.affines.apply_affine(phantom.t1w_to_flair, centre_t1w)
    assert np.linalg.norm(moved - centre_t1w) > 1
    np.testing.assert_allclose(moved, centre_flair, atol=0.3)


def centre_of_largest_mm(mask: nib.Nifti1Image) -> np.ndarray:
    labels, _ = ndimage.label(data(mask), np.ones((3, 3, 3)))
    largest = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    return nib.affines.apply_affine(mask.affine, np.argwhere(largest).mean(axis=0))


def test_motion_is_rigid(phantom: Phantom) -> None:
    rotation = phantom.t1w_to_flair[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) > 0


def test_lesions_without_room_are_refused() -> None:
    everywhere = np.ones((40, 40, 40), np.float32)
    with pytest.raises(ValueError, match="no room for a lesion of 500 mm"):
        _place_lesion(np.random.default_rng(0), everywhere, everywhere, np.array([[20, 20, 20]]), everywhere * 0, 500)


@pytest.mark.slow
def test_brain_extraction_works_on_it(phantom: Phantom) -> None:
    from bids_cascade.imaging.brain import brain_mask

    found = brain_mask(phantom.t1w, "auto")
    mask, truth = data(found.mask) > 0, data(phantom.t1w_brain) > 0
    assert found.method == "deepbet"
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95
    assert mask[data(phantom.t1w_lesions) > 0].all()
