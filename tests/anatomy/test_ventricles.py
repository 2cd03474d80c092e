from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.ventricles import extend_to_walls, tell_fluid_apart

LATERAL, SULCAL, WHITE, CORTEX = (
    structure + 1
    for structure in (
        Structure.LATERAL_VENTRICLES,
        Structure.SULCAL_FLUID,
        Structure.WHITE_MATTER,
        Structure.CORTEX,
    )
)


@pytest.fixture
def head() -> dict[str, np.ndarray]:
    """A ventricle, its horn along x that the atlas does not know, a slit behind it, and the fluid around the brain."""
    structures = np.full((46, 20, 20), WHITE, np.uint8)
    structures[6:20, 5:15, 5:15] = LATERAL
    structures[20:28, 6:14, 6:14] = SULCAL  # the horn
    structures[28:34, 9:11, 9:11] = SULCAL  # the slit
    structures[34:] = SULCAL
    priors = np.full((len(Structure), *structures.shape), 0.01, np.float32)
    priors[Structure.LATERAL_VENTRICLES, 8:18, 7:13, 7:13] = 0.9
    priors[Structure.SULCAL_FLUID, 20:34] = 0.3
    priors[Structure.SULCAL_FLUID, 35:] = 0.8
    return {"structures": structures, "priors": priors, "lesion": np.zeros(structures.shape, bool)}


def test_a_horn_that_is_wide_open_to_its_ventricle_is_the_ventricles_and_what_a_slit_joins_is_not(
    head: dict[str, np.ndarray],
) -> None:
    structures = head["structures"]
    tell_fluid_apart(structures, head["priors"], head["lesion"])
    assert (structures[6:20, 5:15, 5:15] == LATERAL).all()
    assert (structures[20:27, 7:13, 7:13] == LATERAL).all()
    assert (structures[34:] == SULCAL).all()
    assert (structures[32:34, 9:11, 9:11] == SULCAL).all()


@pytest.mark.parametrize("end", [30, 50])
def test_a_horn_is_not_cut_off_far_from_where_the_atlas_has_its_ventricle(end: int) -> None:
    structures = np.full((70, 20, 20), WHITE, np.uint8)
    structures[6:20, 5:15, 5:15] = LATERAL
    structures[20:end, 5:15, 5:15] = SULCAL
    priors = np.full((len(Structure), *structures.shape), 0.01, np.float32)
    priors[Structure.LATERAL_VENTRICLES, 8:18, 7:13, 7:13] = 0.9
    tell_fluid_apart(structures, priors, np.zeros(structures.shape, bool))
    assert (structures[6:end, 5:15, 5:15] == LATERAL).all()
    assert (structures[end:] == WHITE).all()


@pytest.mark.parametrize(("prior", "expected"), [(0.12, LATERAL), (0.08, SULCAL)])
def test_fluid_apart_from_its_ventricle_needs_the_atlas(
    head: dict[str, np.ndarray], prior: float, expected: int
) -> None:
    horn = (slice(22, 26), slice(16, 19), slice(16, 19))
    head["structures"][horn] = LATERAL
    head["priors"][(Structure.LATERAL_VENTRICLES, *horn)] = prior
    tell_fluid_apart(head["structures"], head["priors"], head["lesion"])
    assert (head["structures"][horn] == expected).all()


def test_plexus_in_a_ventricle_is_part_of_it_and_a_lesion_is_not(head: dict[str, np.ndarray]) -> None:
    structures = head["structures"]
    structures[12:14, 10, 10] = structures[16, 10, 10] = CORTEX
    head["lesion"][16, 10, 10] = True
    tell_fluid_apart(structures, head["priors"], head["lesion"])
    assert (structures[12:14, 10, 10] == LATERAL).all()
    assert structures[16, 10, 10] == CORTEX


def test_voxels_at_a_wall_are_of_what_they_are_for_more_than_half() -> None:
    structures = np.full((12, 9, 9), WHITE, np.uint8)
    structures[:4] = LATERAL
    t1w = np.where(structures == LATERAL, 0.2, 1.0)
    structures[4] = CORTEX  # as such voxels look
    t1w[4], t1w[5, :4] = 0.55, 0.65  # midway is 0.6
    t1w[9] = 0.3  # dark, but nowhere near
    lesion = np.zeros(structures.shape, bool)
    lesion[4, 8] = True
    extend_to_walls(structures, t1w, lesion)
    assert (structures[4, :8] == LATERAL).all()
    assert (structures[4, 8] == CORTEX).all()
    assert (structures[5:] == WHITE).all()


def test_plexus_with_contrast_agent_is_part_of_the_ventricle_that_it_lies_in() -> None:
    structures = np.full((30, 3, 3), WHITE, np.uint8)
    structures[:4] = LATERAL
    t1w = np.where(structures == LATERAL, 0.2, 1.0)
    t1w[4:8] = t1w[14:18] = 1.5  # the further one may be a vessel
    lesion = np.zeros(structures.shape, bool)
    lesion[5:, 1, 1] = True
    extend_to_walls(structures, t1w, lesion)
    assert (structures[:8, 0] == LATERAL).all()
    assert (structures[8:] == WHITE).all()
    assert (structures[lesion] == WHITE).all()


def test_without_a_ventricle_or_white_matter_nothing_changes(head: dict[str, np.ndarray]) -> None:
    for value in (WHITE, LATERAL):
        structures = np.full((6, 6, 6), value, np.uint8)
        extend_to_walls(structures, np.zeros((6, 6, 6)), np.zeros((6, 6, 6), bool))
        assert (structures == value).all()
    structures = np.full(head["structures"].shape, SULCAL, np.uint8)
    tell_fluid_apart(structures, head["priors"], head["lesion"])
    assert (structures == SULCAL).all()
