from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.anatomy.filling import fill_lesions
from bids_cascade.anatomy.structures import Structure

WHITE, CORTEX, VENTRICLE = (s + 1 for s in (Structure.WHITE_MATTER, Structure.CORTEX, Structure.LATERAL_VENTRICLES))


@pytest.fixture
def head() -> dict[str, np.ndarray]:
    """White matter that grows brighter along x, with noise; cortex behind x = 30; a dark lesion in the middle."""
    rng = np.random.default_rng(0)
    structures = np.full((36, 24, 24), WHITE, np.uint8)
    structures[30:] = CORTEX
    structures[:3] = VENTRICLE
    clean = np.broadcast_to(100 + 0.5 * np.arange(36.0)[:, None, None], structures.shape)
    t1w = clean + rng.normal(0, 2, structures.shape)
    t1w[30:] = 60
    t1w[:3] = 10
    lesion = np.zeros(structures.shape, bool)
    lesion[12:18, 9:15, 9:15] = True
    with_lesion = t1w.copy()
    with_lesion[lesion] = 65
    return {"clean": clean, "healthy": t1w, "t1w": with_lesion, "lesion": lesion, "structures": structures}


def test_lesions_become_the_white_matter_around_them_with_its_noise(head: dict[str, np.ndarray]) -> None:
    filled, refilled = fill_lesions(head["t1w"], head["lesion"], head["structures"], (1, 1, 1))
    assert refilled[head["lesion"]].all()
    error = filled[refilled] - head["clean"][refilled]
    assert abs(error.mean()) < 0.5
    assert 1.5 < error.std() < 3.5
    assert (filled[~refilled] == head["t1w"][~refilled].astype(np.float32)).all()


def test_fluid_and_cortex_outside_the_mask_stay(head: dict[str, np.ndarray]) -> None:
    lesion = np.zeros_like(head["lesion"])
    lesion[3:6, 10:13, 10:13] = lesion[27:30, 10:13, 10:13] = True
    filled, refilled = fill_lesions(head["t1w"], lesion, head["structures"], (1, 1, 1))
    other = head["structures"] != WHITE
    assert not refilled[other].any()
    assert (filled[other] == head["t1w"][other].astype(np.float32)).all()
    assert refilled[6, 11, 11]  # the white matter that touches it


def test_all_of_a_lesion_is_filled_but_cortex_beside_it_stays(head: dict[str, np.ndarray]) -> None:
    lesion = np.zeros_like(head["lesion"])
    lesion[27:32, 10:13, 10:13] = True
    _, refilled = fill_lesions(head["t1w"], lesion, head["structures"], (1, 1, 1))
    assert refilled[lesion].all()
    assert not refilled[30:][~lesion[30:]].any()


@pytest.mark.parametrize("sigma", [0.0, 0.8, 1.5])
def test_noise_is_as_smooth_as_the_white_matter_around(sigma: float) -> None:
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.normal(0, 1, (48, 48, 48)), sigma)
    t1w, structures = 100 + 3 * noise / noise.std(), np.full(noise.shape, WHITE, np.uint8)
    lesion = np.zeros(noise.shape, bool)
    lesion[14:34, 14:34, 14:34] = True
    filled, _ = fill_lesions(np.where(lesion, 60, t1w), lesion, structures, (1, 1, 1))
    for axis in range(3):
        here, before = (np.moveaxis(image[14:34, 14:34, 14:34], axis, 0) for image in (filled, t1w))
        found, expected = (np.corrcoef(a[1:].ravel(), a[:-1].ravel())[0, 1] for a in (here, before))
        assert abs(found - expected) < 0.15
    assert 2 < filled[lesion].std() < 4


def test_a_single_voxel_is_filled(head: dict[str, np.ndarray]) -> None:
    lesion = np.zeros_like(head["lesion"])
    lesion[15, 12, 12] = True
    filled, refilled = fill_lesions(head["t1w"], lesion, head["structures"], (1, 1, 1))
    assert refilled.sum() == 27
    assert np.abs(filled[refilled] - 107).max() < 10


def test_equal_seeds_give_equal_images(head: dict[str, np.ndarray]) -> None:
    one, other = (fill_lesions(head["t1w"], head["lesion"], head["structures"], (1, 1, 1), 3)[0] for _ in range(2))
    assert (one == other).all()


def test_nothing_changes_without_lesion_or_without_white_matter(head: dict[str, np.ndarray]) -> None:
    none = np.zeros_like(head["lesion"])
    assert (fill_lesions(head["t1w"], none, head["structures"], (1, 1, 1))[0] == head["t1w"].astype(np.float32)).all()
    filled, refilled = fill_lesions(head["t1w"], head["lesion"], np.full_like(head["structures"], CORTEX), (1, 1, 1))
    assert (filled == head["t1w"].astype(np.float32)).all()
    assert not refilled.any()


def test_grids_must_agree(head: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="one grid"):
        fill_lesions(head["t1w"], head["lesion"][1:], head["structures"], (1, 1, 1))


def test_nothing_is_refilled_where_all_white_matter_is_lesion(head: dict[str, np.ndarray]) -> None:
    filled, refilled = fill_lesions(head["t1w"], head["structures"] == WHITE, head["structures"], (1, 1, 1))
    assert not refilled.any()
    np.testing.assert_array_equal(filled, head["t1w"].astype(np.float32))
