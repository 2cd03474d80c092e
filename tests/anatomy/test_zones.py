from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.anatomy.structures import FREESURFER_LABELS, Structure
from bids_cascade.anatomy.zones import REGION_COLOURS, Places, Region, Zone, find_places, find_regions, find_zones


def value(structure: Structure) -> int:
    return structure + 1


@pytest.fixture
def row() -> np.ndarray:
    """Along x: lateral ventricle, nine voxels of white matter, cortex, and nothing."""
    structures = np.full((12, 3, 3), value(Structure.WHITE_MATTER), np.uint8)
    structures[0] = value(Structure.LATERAL_VENTRICLES)
    structures[10] = value(Structure.CORTEX)
    structures[11] = 0
    return structures


def test_white_matter_is_split_by_its_distance_from_ventricle_and_cortex(row: np.ndarray) -> None:
    regions = find_regions(find_places(row, 1.0))[:, 1, 1]
    names = [Region(number).name if number else "" for number in regions]
    assert names == [
        "LATERAL_VENTRICLES",
        *["PERIVENTRICULAR_WHITE_MATTER"] * 2,
        *["DEEP_WHITE_MATTER"] * 6,
        "JUXTACORTICAL_WHITE_MATTER",
        "CORTEX",
        "",
    ]


def test_distances_are_in_mm_on_voxels_of_any_shape(row: np.ndarray) -> None:
    places = find_places(row, np.array([0.5, 1.0, 4.0]))
    assert places.to_ventricle_mm[:, 1, 1].tolist() == [0.5 * step for step in range(12)]
    assert places.to_cortex_mm[8, 1, 1] == 1.0


def test_of_near_ventricle_and_cortex_the_ventricle_comes_first() -> None:
    places = Places(np.array([value(Structure.WHITE_MATTER)]), np.array([2.0], np.float32), np.array([1.0], np.float32))
    assert find_zones(places).tolist() == [Zone.PERIVENTRICULAR]


@pytest.mark.parametrize("structure", [Structure.BRAINSTEM, Structure.CEREBELLUM, Structure.FOURTH_VENTRICLE])
def test_brainstem_and_cerebellum_are_infratentorial_whatever_else_is_near(structure: Structure) -> None:
    places = Places(np.array([value(structure)]), np.zeros(1, np.float32), np.zeros(1, np.float32))
    assert find_zones(places).tolist() == [Zone.INFRATENTORIAL]


@pytest.mark.parametrize("structure", [Structure.THIRD_VENTRICLE, Structure.FOURTH_VENTRICLE])
def test_only_lateral_ventricles_make_periventricular(row: np.ndarray, structure: Structure) -> None:
    row[0] = value(structure)
    places = find_places(row, 1.0)
    assert np.isinf(places.to_ventricle_mm).all()
    assert Zone.PERIVENTRICULAR not in find_zones(places)


def test_each_label_is_of_one_structure_and_each_region_has_a_colour_of_its_own() -> None:
    labels = [label for values in FREESURFER_LABELS.values() for label in values]
    assert len(labels) == len(set(labels))
    assert set(FREESURFER_LABELS) == set(Structure)
    assert set(REGION_COLOURS) == set(Region)
    assert len(set(REGION_COLOURS.values())) == len(Region)
