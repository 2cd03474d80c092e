from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.config import LesionRule
from bids_cascade.lesions.components import label_lesions
from bids_cascade.lesions.rule import fill_cavities, fill_planes, lesion_mask

RULE = LesionRule(threshold=0.5, min_lesion_volume_mm3=0, peak_probability=0)


def box(size: int = 5, inner: int = 1) -> np.ndarray:
    """Return a cube of this edge, away from the border of its image, with a cubic cavity of another."""
    mask = np.zeros((size + 4,) * 3, bool)
    mask[2:-2, 2:-2, 2:-2] = True
    start = 2 + (size - inner) // 2
    mask[start : start + inner, start : start + inner, start : start + inner] = False
    return mask


def test_threshold_is_included() -> None:
    probability = np.array([[[0.49, 0.5, 0.51]]])
    assert lesion_mask(probability, RULE, 1).tolist() == [[[False, True, True]]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"threshold": 0}, "expected 0 < threshold <= 1"),
        ({"threshold": 1.1}, "expected 0 < threshold <= 1"),
        ({"threshold": float("nan")}, "expected 0 < threshold <= 1"),
        ({"peak_probability": -0.1}, "expected 0 to 1"),
        ({"min_lesion_volume_mm3": float("nan")}, "smallest lesion volume"),
    ],
)
def test_a_rule_that_can_not_be_meant(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RULE, **fields)


def test_a_lesion_has_a_peak_and_keeps_what_is_around_it() -> None:
    probability = np.array([[[0.5, 0.8, 0.6, 0.4, 0.7, 0.7, 0.1, 0.79]]])

    def found(threshold: float, smallest_mm3: float, peak: float) -> list[int]:
        return np.flatnonzero(lesion_mask(probability, LesionRule(threshold, smallest_mm3, peak), 1)).tolist()

    assert found(0.5, 0, 0.8) == [0, 1, 2]
    assert found(0.5, 2, 0.7) == [0, 1, 2, 4, 5]
    assert found(0.75, 0, 0.7) == found(0.75, 0, 0) == [1, 7]
    assert found(0.5, 0, 0.9) == []
    assert not lesion_mask(np.zeros((2, 2, 2)), RULE, 1).any()


def test_an_enclosed_cavity_is_filled_and_the_probability_stays() -> None:
    mask = box()
    probability = np.where(mask, 0.9, 0.0)
    before = probability.copy()
    lesion = lesion_mask(probability, replace(RULE, min_lesion_volume_mm3=10, peak_probability=0.8), 1)
    assert (mask.sum(), lesion.sum()) == (124, 125)
    assert lesion[4, 4, 4]
    assert (probability == before).all()
    assert fill_cavities(mask, 1).sum() == 125
    assert mask.sum() == 124, "the mask that is given stays"


@pytest.mark.parametrize(
    ("opening", "filled"), [((4, 4, slice(2, 4)), False), ((3, 3, 3), True), ((4, 3, 3), True), ((4, 4, 3), True)]
)
def test_a_path_out_goes_through_faces(opening: tuple[int, ...], filled: bool) -> None:
    """A channel to the surface opens the cavity; a hole that touches nothing outside only makes it larger."""
    mask = box()
    mask[opening] = False
    assert bool(fill_cavities(mask, 1)[4, 4, 4]) is filled
    assert bool(fill_cavities(mask, 1).sum() == 125) is filled


def test_a_corner_is_no_way_out() -> None:
    mask = box(3)
    mask[2, 2, 3] = False  # meets the cavity (3, 3, 3) at an edge, along which lesion voxels are neighbours
    filled = fill_cavities(mask, 1)
    assert filled[3, 3, 3]
    assert not filled[2, 2, 3]


def test_a_ring_in_one_slice_and_a_lesion_cut_by_the_border_are_open() -> None:
    ring = np.zeros((5, 5, 3), bool)
    ring[1:4, 1:4, 1] = True
    ring[2, 2, 1] = False
    assert (fill_cavities(ring, 1) == ring).all()
    cut = box()[4:]
    assert (fill_cavities(cut, 1) == cut).all()


def test_cavities_of_several_lesions_and_none_between_them() -> None:
    two = np.concatenate([box(), box()], axis=0)
    filled = fill_cavities(two, 1)
    assert filled.sum() == 250
    assert label_lesions(filled)[1] == label_lesions(two)[1] == 2


@pytest.mark.parametrize(("largest_mm3", "is_filled"), [(27, True), (26.9, False), (0, False)])
def test_what_is_larger_than_a_core_stays_open(largest_mm3: float, is_filled: bool) -> None:
    assert fill_cavities(box(7, 3), 1, largest_mm3).sum() == (343 if is_filled else 343 - 27)


def test_rounding_leaves_no_cavity_open() -> None:
    mask = box()
    mask[3:6, 4, 4] = False  # 3 * 0.1 is more than 0.3 in binary
    assert fill_cavities(mask, 0.1, 0.3).sum() == 125


def test_cavities_do_not_decide_what_a_lesion_is() -> None:
    """The smallest volume and the peak are those of the voxels that reach the threshold."""
    probability = np.where(box(3), 0.6, 0.0)
    probability[3, 3, 3] = 0.1
    assert not lesion_mask(probability, replace(RULE, min_lesion_volume_mm3=27), 1).any()
    assert lesion_mask(probability, replace(RULE, min_lesion_volume_mm3=26), 1).sum() == 27
    assert not lesion_mask(probability, replace(RULE, peak_probability=0.7), 1).any()


def test_nothing_to_fill() -> None:
    empty, full = np.zeros((4, 3, 2), bool), np.ones((4, 3, 2), bool)
    assert not fill_cavities(empty, 1).any()
    assert fill_cavities(full, 1).all()


def test_a_likely_core_of_a_ring_is_filled_and_an_unlikely_one_is_not() -> None:
    """A tube along z, open at both ends: its axis is surrounded in each plane, but no cavity."""
    probability = np.zeros((9, 9, 7), np.float32)
    probability[2:7, 2:7, 2:5] = 0.9
    probability[4, 4, 2:5] = 0.25, 0.24, 0.4
    probability[4, 4, 5] = 0.4  # beyond the tube
    mask = lesion_mask(probability, LesionRule(0.5, 0, 0), 1.0)
    assert mask[4, 4].tolist() == [False, False, True, False, True, False, False]
    assert mask.sum() == 25 * 3 - 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_holes_in_planes_of_any_axis(axis: int) -> None:
    mask = np.zeros((7, 7, 7), bool)
    mask[2:5, 2:5, 3] = True
    mask[3, 3, 3] = False
    mask = np.moveaxis(mask, 2, axis)
    filled = fill_planes(mask, np.ones_like(mask))
    assert filled.sum() == 9
    assert not (fill_planes(mask, np.zeros_like(mask)) != mask).any()
    empty = np.zeros_like(mask)
    assert not fill_planes(empty, ~empty).any()
