from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.tissue import (
    TOLD_BY_FLAIR,
    _likeliest,
    agreement,
    find_structures,
    tissue_likelihoods,
    widen_fluid,
)

LV, CORTEX, WHITE, SULCI = (
    Structure.LATERAL_VENTRICLES,
    Structure.CORTEX,
    Structure.WHITE_MATTER,
    Structure.SULCAL_FLUID,
)
LEVELS = {LV: (0.0, 0.0), SULCI: (0.0, 0.0), CORTEX: (0.6, 1.3), WHITE: (1.0, 1.0)}


@pytest.fixture
def head() -> dict[str, np.ndarray]:
    """From inside out, in boxes: ventricle, white matter, cortex, fluid of sulci."""
    truth = np.zeros((36, 36, 36), np.uint8)
    for structure, depth in ((SULCI, 1), (CORTEX, 3), (WHITE, 7), (LV, 14)):
        truth[depth:-depth, depth:-depth, depth:-depth] = structure + 1
    rng = np.random.default_rng(1)
    channels = np.zeros((2, *truth.shape), np.float32)
    for structure, levels in LEVELS.items():
        for channel, level in zip(channels, levels, strict=True):
            channel[truth == structure + 1] = level
    channels += rng.normal(0, 0.05, channels.shape).astype(np.float32)
    return {"truth": truth, "channels": channels, "brain": truth > 0}


def priors_of(truth: np.ndarray) -> np.ndarray:
    return np.stack([(truth == structure + 1).astype(np.float32) for structure in Structure])


def structures_of(head: dict[str, np.ndarray], priors: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    return find_structures(head["channels"], priors, head["brain"], lesion)


def test_ventricles_larger_than_the_atlas_stay_ventricles(head: dict[str, np.ndarray]) -> None:
    small = head["truth"].copy()
    small[small == LV + 1] = WHITE + 1
    small[16:-16, 16:-16, 16:-16] = LV + 1
    found = structures_of(head, widen_fluid(priors_of(small), (2, 2, 2)), np.zeros_like(head["brain"]))
    ventricle, expected = found == LV + 1, head["truth"] == LV + 1
    assert 2 * (ventricle & expected).sum() / (ventricle.sum() + expected.sum()) > 0.9


def test_a_lesion_is_white_matter_however_dark_it_is(head: dict[str, np.ndarray]) -> None:
    lesion = np.zeros_like(head["brain"])
    lesion[10:13, 15:20, 15:20] = True
    head["channels"][:, lesion] = [[0.0], [0.2]]
    found = structures_of(head, priors_of(head["truth"]), lesion)
    assert (found[lesion] == WHITE + 1).all()


def test_the_rim_of_a_lesion_that_its_mask_leaves_out_is_no_cortex(head: dict[str, np.ndarray]) -> None:
    head["channels"][:, 9:14, 12:24, 12:24] = np.array([0.6, 1.3])[:, None, None, None]
    lesion = np.zeros_like(head["brain"])
    lesion[10:13, 13:23, 13:23] = True
    priors = priors_of(head["truth"]) * 0.9 + 0.02
    found = structures_of(head, priors, lesion)
    assert (found[9:14, 12:24, 12:24] == WHITE + 1).all()
    assert (found[7, 12:24, 12:24] == WHITE + 1).all()


@pytest.mark.parametrize("structure", [CORTEX, Structure.CEREBELLUM, Structure.BRAINSTEM])
def test_islands_in_white_matter_are_white_matter(head: dict[str, np.ndarray], structure: Structure) -> None:
    head["channels"][:, 9:12, 9:12, 9:12] = np.array([0.6, 1.3])[:, None, None, None]
    priors = priors_of(head["truth"]) * 0.8 + 0.1
    if structure != CORTEX:
        priors[structure, 9:12, 9:12, 9:12] = 9.0
    found = structures_of(head, priors, np.zeros_like(head["brain"]))
    assert (found[9:12, 9:12, 9:12] == WHITE + 1).all()


def test_cortex_must_be_far_likelier_than_white_matter_but_not_than_others() -> None:
    score = np.zeros((len(Structure), 4))
    score[CORTEX] = [0.7, 0.8, 0.55, 0.4]
    score[WHITE] = [0.3, 0.2, 0.0, 0.1]
    score[Structure.DEEP_GREY] = [0.0, 0.0, 0.45, 0.5]
    assert _likeliest(score).tolist() == [WHITE, CORTEX, CORTEX, Structure.DEEP_GREY]


def test_no_voxel_of_a_lesion_is_cortex(head: dict[str, np.ndarray]) -> None:
    lesion = np.zeros_like(head["brain"])
    lesion[4:12, 10:26, 10:26] = True
    found = structures_of(head, priors_of(head["truth"]) * 0.9 + 0.01, lesion)
    assert (found[lesion] != CORTEX + 1).all()
    assert (found[9:12, 15:19, 15:19] == WHITE + 1).all()


def test_white_matter_between_a_lesion_and_cortex_is_not_called_cortex(head: dict[str, np.ndarray]) -> None:
    channels, lesion = head["channels"], np.zeros_like(head["brain"])
    lesion[8:12, 15:20, 15:20] = True
    channels[:, 7, 14:21, 14:21] = np.array([0.9, 1.12])[:, None, None]  # the limit in T1w is 0.86
    channels[:, 7, 3:9, 14:21] = np.array([0.9, 1.12])[:, None, None]  # there is no lesion
    priors = priors_of(head["truth"]) * 0.9 + 0.02
    priors[[CORTEX, WHITE], 7] = [[[0.9]], [[0.1]]]
    found = structures_of(head, priors, lesion)
    assert (found[7, 15:20, 15:20] == WHITE + 1).all()
    assert (found[6, 15:20, 15:20] == CORTEX + 1).all()


@pytest.mark.parametrize(("sure", "called"), [(0.6, CORTEX), (0.3, WHITE)])
def test_a_lesions_rim_as_dark_as_half_cortex_is_cortex_only_where_the_atlas_is_sure(
    head: dict[str, np.ndarray], sure: float, called: Structure
) -> None:
    lesion = np.zeros_like(head["brain"])
    lesion[8:12, 15:20, 15:20] = True
    head["channels"][:, 7, 14:21, 14:21] = np.array([0.83, 1.2])[:, None, None]  # 0.58 of the way to white matter
    priors = priors_of(head["truth"]) * 0.9 + 0.02
    priors[[CORTEX, WHITE], 7] = [[[sure]], [[sure / 4]]]
    found = structures_of(head, priors, lesion)
    assert (found[7, 15:20, 15:20] == called + 1).all()


@pytest.mark.parametrize(("prior", "called"), [(0.7, LV), (0.3, WHITE)])
def test_a_slit_of_a_ventricle_beside_a_lesion_is_ventricle_where_the_atlas_expects_it(
    head: dict[str, np.ndarray], prior: float, called: Structure
) -> None:
    lesion = np.zeros_like(head["brain"])
    lesion[9:13, 15:20, 15:20] = True
    head["channels"][:, 13, 15:20, 15:20] = 0.57  # 0.43 of the way to fluid
    priors = priors_of(head["truth"]) * 0.9 + 0.02
    priors[[LV, WHITE], 13] = [[[prior]], [[1 - prior]]]
    found = structures_of(head, priors, lesion)
    assert (found[13, 15:20, 15:20] == called + 1).all()


def test_a_ventricle_does_not_go_through_a_narrow_sulcus(head: dict[str, np.ndarray]) -> None:
    truth = head["truth"].copy()
    head["channels"][:, 3:14, 17:19, 17:19] = 0.0
    priors = priors_of(truth) * 0.8 + 0.02
    priors[SULCI] += 0.02
    found = structures_of(head, priors, np.zeros_like(head["brain"]))
    assert not (found[:8] == LV + 1).any()


def test_without_t1w_only_fluid_is_held_against_the_atlas(head: dict[str, np.ndarray]) -> None:
    flair, brain = head["channels"][1:], head["brain"]
    flair[0, head["truth"] == CORTEX + 1] = 1.0  # no contrast of grey and white
    likelihoods, priors = tissue_likelihoods(flair, brain, ("FLAIR",)), priors_of(head["truth"])
    assert agreement(likelihoods, priors, brain, TOLD_BY_FLAIR) > 0.9
    assert agreement(likelihoods, np.roll(priors, 8, 1), brain, TOLD_BY_FLAIR) < 0.6


def test_flair_alone_tells_fluid_and_the_atlas_the_rest(head: dict[str, np.ndarray]) -> None:
    flair, lesion = head["channels"][1:], np.zeros_like(head["brain"])
    flair[0, 9:12, 9:12, 9:12] = 1.4  # white matter as bright as cortex
    small = head["truth"].copy()
    small[small == LV + 1] = WHITE + 1
    small[15:-15, 15:-15, 15:-15] = LV + 1
    priors = widen_fluid(priors_of(small), (2, 2, 2))
    found = find_structures(flair, priors, head["brain"], lesion, with_t1w=False)
    assert ((found == head["truth"]) | (head["truth"] == SULCI + 1))[head["brain"]].mean() > 0.97
    assert (found[9:12, 9:12, 9:12] == WHITE + 1).all()


def test_nothing_is_outside_the_brain_and_everything_inside(head: dict[str, np.ndarray]) -> None:
    found = structures_of(head, priors_of(head["truth"]), np.zeros_like(head["brain"]))
    assert ((found > 0) == head["brain"]).all()


def test_agreement_falls_where_the_registration_is_off(head: dict[str, np.ndarray]) -> None:
    likelihoods = tissue_likelihoods(head["channels"], head["brain"], ("T1w", "FLAIR"))
    priors = priors_of(head["truth"])
    right, off = (agreement(likelihoods, one, head["brain"]) for one in (priors, np.roll(priors, 8, 1)))
    assert right > 0.9
    assert off < 0.5
    assert agreement(likelihoods, np.zeros_like(priors), np.zeros_like(head["brain"])) == 0


def test_shapes_must_agree(head: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="expected priors"):
        find_structures(head["channels"], priors_of(head["truth"])[1:], head["brain"], head["brain"])


def test_a_head_that_is_all_lesion_has_no_structures(head: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="no voxel of normal tissue"):
        structures_of(head, priors_of(head["truth"]), head["brain"])


def test_tissues_need_t1w_or_flair(head: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="not in T2w"):
        tissue_likelihoods(head["channels"][:1], head["brain"], ("T2w",))


def test_voxels_that_mix_fluid_and_grey_matter_are_not_taken_for_grey_matter() -> None:
    rng = np.random.default_rng(0)
    levels = np.array([[0.2, -0.3], [0.35, 0.0], [0.55, 0.6], [0.75, 1.1], [1.0, 1.0]])
    kinds = np.repeat(np.arange(5), [4000, 2000, 2000, 2500, 2500])
    channels = (levels[kinds] + rng.normal(0, 0.06, (len(kinds), 2))).T.astype(np.float32)[..., None, None]
    found = tissue_likelihoods(channels, np.ones((len(kinds), 1, 1), bool), ("T1w", "FLAIR"))[..., 0, 0]
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)
    assert (found.argmax(axis=0)[kinds == 0] == 0).mean() > 0.95
    assert (found.argmax(axis=0)[kinds == 3] == 1).mean() > 0.95
    assert (found.argmax(axis=0)[kinds == 4] == 2).mean() > 0.95
