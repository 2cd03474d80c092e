from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.anatomy.location import locate, looks
from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.zones import Places

WHITE, STEM, CORTEX = (s + 1 for s in (Structure.WHITE_MATTER, Structure.BRAINSTEM, Structure.CORTEX))


def places(structures: list[int], to_ventricle: list[float], to_cortex: list[float]) -> Places:
    return Places(np.array(structures, np.uint8), np.array(to_ventricle, np.float32), np.array(to_cortex, np.float32))


def test_a_lesion_is_where_its_nearest_voxel_is() -> None:
    found = locate(places([WHITE] * 3, [1.0, 3.0, 4.0], [9.0, 8.0, 7.0]), 2.0)
    assert found.location == "periventricular"
    assert (found.distance_to_ventricle_mm, found.distance_to_cortex_mm) == (1.0, 7.0)
    assert found.volumes_mm3 == {
        "infratentorial": 0,
        "periventricular": 2.0,
        "juxtacortical": 0,
        "deep_white_matter": 4.0,
    }
    assert not found.confluent


def test_volumes_by_zone_sum_up_to_the_lesion_and_a_confluent_one_hides_nothing() -> None:
    found = locate(places([WHITE] * 5, [1, 2, 5, 9, 9], [9, 9, 5, 1, 1.4]), 1.0)
    assert found.location == "periventricular"
    assert found.confluent
    assert sum(found.volumes_mm3.values()) == 5
    assert found.volumes_mm3["juxtacortical"] == 2


def test_most_of_an_infratentorial_lesion_lies_in_brainstem_or_cerebellum() -> None:
    beside_fourth_ventricle = locate(places([STEM] * 2, [30, 30], [1, 1]), 1.0)
    assert beside_fourth_ventricle.location == "infratentorial"
    mostly_above = locate(places([STEM, WHITE, WHITE], [30, 30, 30], [9, 9, 9]), 1.0)
    assert mostly_above.location == "deep_white_matter"


def test_no_voxel_is_refused() -> None:
    with pytest.raises(ValueError, match="without voxels"):
        locate(places([], [], []), 1.0)


def test_looks_are_ratios_to_the_white_matter_around() -> None:
    structures = np.full((20, 20, 20), WHITE, np.uint8)
    structures[0] = CORTEX
    labels = np.zeros(structures.shape, np.int32)
    labels[10:12, 10, 10] = 1
    t1w = np.full(structures.shape, 100.0, np.float32)
    t1w[0] = 70
    t1w[10:12, 10, 10] = 60, 80
    flair = np.full(structures.shape, 50.0, np.float32)
    flair[10:12, 10, 10] = 100
    (found,) = looks(labels, structures, t1w, flair, (1, 1, 1))
    assert found.t1w_ratio == pytest.approx(0.7)
    assert found.flair_ratio == pytest.approx(2.0)
    assert found.hypointense_volume_mm3 == 1.0


def test_looks_are_unknown_without_white_matter_around_or_without_the_sequence() -> None:
    structures = np.full((9, 9, 9), CORTEX, np.uint8)
    labels = np.zeros(structures.shape, np.int32)
    labels[4, 4, 4] = 1
    (found,) = looks(labels, structures, np.ones(structures.shape, np.float32), None, (1, 1, 1))
    assert (found.t1w_ratio, found.flair_ratio, found.hypointense_volume_mm3) == (None, None, 0.0)
