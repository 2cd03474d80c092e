"""Lesion shapes, and where they end up."""

from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.lesions.components import label_lesions
from bids_cascade.synthesis.anatomy import CORTICAL, DEEP_GREY, WHITE_MATTER, Tissue, is_any
from bids_cascade.synthesis.config import LesionConfig, LesionSignalConfig
from bids_cascade.synthesis.lesions import (
    MASK_CENTRES_MM,
    gain_by_size,
    make_patient,
    make_single_lesions,
    mask_space_to_voxels,
    paint_lesions,
)

from .conftest import make_mask

ALL_KEPT = LesionConfig(none_fraction=0, kept=(1.0, 1.0), n_other_patients=(0, 0), n_moved=(0, 0), band_fraction=0)


def paint(anatomy, patients, config=ALL_KEPT, signal=None, seed=0):
    return paint_lesions(anatomy, patients, config, signal or LesionSignalConfig(), np.random.default_rng(seed))


def test_mask_is_taken_apart() -> None:
    mask, affine = make_mask()
    affine = affine @ np.diag([1, 1, 2, 1])
    patient = make_patient(mask, affine, "p")
    _, n_lesions = label_lesions(mask)
    assert len(patient.shapes) == n_lesions == 7
    assert sorted(shape.volume_mm3 for shape in patient.shapes)[:6] == [5 * 7 * 5 * 2] * 6
    assert sum(shape.volume_mm3 for shape in patient.shapes) == mask.sum() * 2
    for shape in patient.shapes:
        assert (shape.depth > 0).sum() * 2 == shape.volume_mm3
        middle = (np.array(shape.depth.shape) - 1) // 2
        assert shape.depth[tuple(middle)] == shape.depth.max()
    box = min(patient.shapes, key=lambda shape: shape.centre_mm[0])
    assert np.allclose(box.centre_mm, [-30, -20, 100])  # slices are 2 mm: the 70th from -40
    assert box.depth.max() == 2.5  # half of five voxels


def test_lesion_at_the_edge_of_the_mask() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[0] = True
    (shape,) = make_patient(mask, np.eye(4), "p").shapes
    assert shape.volume_mm3 == 25
    assert np.allclose(shape.centre_mm, [0, 2, 2])


def test_empty_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no lesion in it"):
        make_patient(np.zeros((4, 4, 4), bool), np.eye(4), "p")


def test_masks_are_laid_over_the_anatomy(anatomy) -> None:
    """Structures of the invented head lie where its making says: 0.6 times life-size."""
    affine = mask_space_to_voxels(anatomy)
    assert np.allclose(affine[:3, :3], 0.6 * np.eye(3), atol=0.1)
    laid = MASK_CENTRES_MM @ affine[:3, :3].T + affine[:3, 3]
    assert np.abs(laid - anatomy.centres)[[0, 1, 2, 3, 4, 5, 14]].max() < 3


def test_map_with_few_structures_is_refused(anatomy) -> None:
    centres = anatomy.centres.copy()
    centres[:8] = np.nan
    with pytest.raises(ValueError, match="only 7 of 15 structures are in it"):
        mask_space_to_voxels(replace(anatomy, centres=centres))


def test_lesions_lie_where_they_may(anatomy, patients) -> None:
    tissue = anatomy.brain_tissue
    for seed in range(4):
        painted = paint(anatomy, patients, LesionConfig(none_fraction=0), seed=seed)
        mask = painted.fraction >= 0.5
        assert mask.any()
        assert is_any(tissue, (*WHITE_MATTER, *DEEP_GREY, Tissue.CORTEX))[painted.fraction > 0].all()
        assert is_any(tissue, WHITE_MATTER)[mask].mean() > 0.5


def test_white_matter_only_if_asked_for(anatomy, patients) -> None:
    config = replace(LesionConfig(none_fraction=0), cortex_fraction=0, deep_grey_fraction=0)
    painted = paint(anatomy, patients, config, seed=1)
    assert not is_any(anatomy.brain_tissue, (*DEEP_GREY, *CORTICAL))[painted.fraction > 0].any()


def test_kept_lesions_stay_near_their_place(anatomy, patients) -> None:
    config = replace(
        ALL_KEPT,
        shift_mm=0,
        search_mm=0.5,
        contact_fraction=0,
        smallest_fit=0.9,
        rotation_deg=(0.0, 0.0),
        scale=(1.0, 1.0),
        ripple_mm=(0.0, 0.0),
    )
    painted = paint(anatomy, [patients[0]], config)
    labels, n_lesions = label_lesions(painted.fraction >= 0.5)
    assert 3 <= n_lesions <= 7
    affine = mask_space_to_voxels(anatomy)
    centres = np.array([shape.centre_mm for shape in patients[0].shapes])
    as_is, mirrored = (one @ affine[:3, :3].T + affine[:3, 3] for one in (centres, centres * [-1, 1, 1]))
    for number in range(1, n_lesions + 1):
        found = np.argwhere(labels == number).mean(axis=0) + anatomy.corner
        assert min(np.linalg.norm(places - found, axis=1).min() for places in (as_is, mirrored)) < 1


def test_no_lesions_if_asked_for(anatomy, patients) -> None:
    painted = paint(anatomy, patients, LesionConfig(none_fraction=1))
    assert not painted.fraction.any()
    assert not painted.flair_gain.any()
    assert not painted.t1w_drop.any()
    assert painted.patients == ()


def test_lesions_are_bright_in_flair_and_dark_in_t1w(anatomy, patients) -> None:
    signal = LesionSignalConfig(
        flair_gain=(0.4, 0.4),
        flair_gain_sd=0,
        small_gain=1,
        hole_fraction=(0, 0),
        halo_gain=(0, 0),
        enhanced_fraction=0,
    )
    painted = paint(anatomy, patients, signal=signal)
    inside = painted.fraction == 1
    assert np.isclose(painted.flair_gain[inside].mean(), 0.4, rtol=0.1)
    assert painted.t1w_drop[inside].min() > 0
    assert not painted.flair_gain[painted.fraction == 0].any()


def test_every_lesion_a_hole(anatomy, patients) -> None:
    signal = LesionSignalConfig(hole_fraction=(1, 1), cavity_fraction=1)
    painted = paint(anatomy, patients, signal=signal)
    inside = painted.fraction == 1
    low, high = signal.hole_t1w_drop
    assert painted.t1w_drop[inside].min() > low - 0.01
    assert painted.t1w_drop[inside].max() < high + 0.01
    deep = painted.flair_gain[inside]
    assert deep.min() < signal.cavity_flair_gain[1] < deep.max()


def test_a_cavity_stays_dark_beside_lesions_painted_later(anatomy, patients) -> None:
    """The band along the ventricles comes last, and its box covers all that is near them."""
    signal = LesionSignalConfig(
        hole_fraction=(1, 1), cavity_fraction=1, cavity_flair_gain=(-0.5, -0.5), cavity_depth_mm=0.0
    )
    painted = paint(anatomy, patients, replace(ALL_KEPT, band_fraction=1.0), signal)
    inside = painted.fraction == 1
    assert inside.sum() > 100
    assert (painted.flair_gain[inside] == 0).mean() < 0.01
    assert np.median(painted.flair_gain[inside]) < -0.3


def test_halo_fades_and_is_not_lesion(anatomy, patients) -> None:
    painted = paint(anatomy, patients, signal=LesionSignalConfig(halo_gain=(0.1, 0.1), halo_mm=(4.0, 4.0)))
    halo = (painted.fraction == 0) & (painted.flair_gain > 0)
    assert halo.sum() > 100
    assert painted.flair_gain[halo].max() <= 0.1


def test_bands_follow_the_walls_of_the_ventricles_in_places(anatomy, patients) -> None:
    config = LesionConfig(
        none_fraction=0, kept=(0, 0), n_other_patients=(0, 0), n_moved=(0, 0), band_fraction=1.0, band_mm=(2.0, 2.0)
    )
    wall = (anatomy.brain_tissue == Tissue.WHITE) & (anatomy.from_ventricle_mm <= 1)
    covered = []
    for seed in range(5):
        drawn = paint(anatomy, patients, config, seed=seed).fraction >= 0.5
        assert (anatomy.brain_tissue[drawn] == Tissue.WHITE).all()
        assert anatomy.from_ventricle_mm[drawn].max() <= 8
        covered.append((drawn & wall).sum() / wall.sum())
    assert 0.1 < np.mean(covered) < 0.9
    assert not paint(anatomy, patients, replace(config, band_fraction=0.0)).fraction.any()


def test_moved_lesions_reach_every_zone(anatomy, patients) -> None:
    for zone, kinds in ((0, WHITE_MATTER), (3, (Tissue.BRAINSTEM, Tissue.CEREBELLAR_WHITE))):
        fractions = tuple(float(zone == i) for i in range(4))
        config = replace(
            ALL_KEPT,
            kept=(0.0, 0.0),
            n_moved=(30, 30),
            zone_fractions=fractions,
            cortex_fraction=0,
            deep_grey_fraction=0,
            scale=(0.5, 0.6),
        )
        painted = paint(anatomy, patients, config)
        mask = painted.fraction >= 0.5
        assert mask.any()
        assert is_any(anatomy.brain_tissue, kinds)[mask].mean() > 0.5
        if zone == 0:
            assert anatomy.from_ventricle_mm[mask].min() <= 1.5


def test_a_lesion_near_a_ventricle_touches_it(anatomy, patients) -> None:
    """The gap between lesion and ventricle is closed, if it is smaller than `contact_reach_mm`."""
    for reach_mm, touches in ((0.0, False), (12.0, True)):
        config = replace(
            ALL_KEPT, shift_mm=0, search_mm=0, rotation_deg=(0.0, 0.0), ripple_mm=(0.0, 0.0), contact_reach_mm=reach_mm
        )
        painted = paint(anatomy, [patients[0]], config, seed=2)
        labels, n_lesions = label_lesions(painted.fraction >= 0.5)
        gaps = [anatomy.from_ventricle_mm[labels == number].min() for number in range(1, n_lesions + 1)]
        near = [gap for gap in gaps if gap <= 2]
        assert (len(near) >= 3) == touches


def test_small_lesions_are_fainter() -> None:
    gains = [gain_by_size(volume_mm3, (15, 400), 0.55) for volume_mm3 in (5, 15, np.sqrt(15 * 400), 400, 5000)]
    assert gains == pytest.approx([0.55, 0.55, (0.55 + 1) / 2, 1, 1])


@pytest.mark.parametrize("ring", [0.0, 1.0])
def test_lesions_enhance_wholly_or_at_their_rim(anatomy, patients, ring) -> None:
    signal = LesionSignalConfig(
        enhanced_fraction=1,
        enhancing=(1, 1),
        enhancement=(0.8, 0.8),
        ring_fraction=ring,
        hole_fraction=(0, 0),
        t1w_drop=(0.2, 0.2),
        t1w_drop_spread=(1, 1),
        halo_gain=(0, 0),
    )
    painted = paint(anatomy, patients, signal=signal)
    assert painted.enhanced
    inside = painted.fraction == 1
    assert np.isclose(painted.t1w_drop[inside].min(), -0.8)
    core = np.isclose(painted.t1w_drop[inside], 0.2, atol=1e-3)
    assert core.any() == bool(ring)


def test_single_lesions_lie_where_they_do_in_mni_space(anatomy) -> None:
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [90, -126, -72]
    voxels = np.array([[60, 110, 100], [61, 110, 100], [61, 111, 100]])
    large = np.argwhere(np.ones((20, 20, 20)))
    pool = make_single_lesions([voxels, large, voxels[:0]], affine, "pool")
    assert pool.single
    (shape,) = pool.shapes
    assert shape.centre_mm == pytest.approx(0.87 * np.array([90 - 60.5, 110.5 - 126, 100 - 72]))
    assert shape.volume_mm3 == pytest.approx(3 * 0.87**3)
    assert (shape.depth > 0).sum() == 3
    with pytest.raises(ValueError, match="no lesion of at most 5000 mm3"):
        make_single_lesions([large], affine, "pool")


def test_heads_have_a_patients_lesions_or_single_ones(anatomy, patients) -> None:
    pool = replace(patients[0], name="pool", single=True)
    names = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        places = LesionConfig(none_fraction=0, n_single=(3.0, 6.0))
        names.add(paint_lesions(anatomy, [*patients, pool], places, LesionSignalConfig(), rng).patients)
    assert ("pool",) in names
    assert all(name == ("pool",) or "pool" not in name for name in names)
    assert len(names) > 1
    alone = paint_lesions(
        anatomy, [pool], LesionConfig(none_fraction=0), LesionSignalConfig(), np.random.default_rng(0)
    )
    assert alone.patients == ("pool",)
