"""Changes: called where image and probability say so, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.change.detection import Lesions, diameter, find_change
from bids_cascade.change.noise import PairNoise
from bids_cascade.change.thresholds import ChangeThresholds

SHAPE = (30, 30, 30)
NOISE = PairNoise(0.05, 0.0, ((1, 1.0), (1000, 0.1)))
SMALL, LARGE = (slice(10, 14),) * 3, (slice(8, 16),) * 3
FAR = (slice(20, 24),) * 3


def lesions(*places, probability=0.9):
    mask = np.zeros(SHAPE, bool)
    for place in places:
        mask[place] = True
    return Lesions(np.where(mask, probability, 0.01).astype(np.float32), mask)


def brighter(earlier, later, contrast=0.6):
    """Return the difference of FLAIR images in which all lesion is so much brighter."""
    return (contrast * (later.mask.astype(np.float32) - earlier.mask)).astype(np.float32)


def change_of(earlier, later, difference):
    return find_change(earlier, later, difference, difference / NOISE.white_sd, NOISE, ChangeThresholds())


@pytest.mark.parametrize(
    ("before", "after"),
    [((), (SMALL,)), ((SMALL,), ()), ((SMALL,), (LARGE,)), ((LARGE,), (SMALL,)), ((SMALL, FAR), (LARGE,))],
)
def test_what_both_show_is_called_voxel_for_voxel(before, after):
    earlier, later = lesions(*before), lesions(*after)
    change = change_of(earlier, later, brighter(earlier, later))
    np.testing.assert_array_equal(change.before, earlier.mask)
    np.testing.assert_array_equal(change.after, later.mask)
    np.testing.assert_array_equal(change.gained, later.mask & ~earlier.mask)
    np.testing.assert_array_equal(change.lost, earlier.mask & ~later.mask)


def test_a_new_lesion_in_the_mask_alone_is_lesion_at_both_visits():
    earlier, later = lesions(), lesions(SMALL)
    change = change_of(earlier, later, np.zeros(SHAPE, np.float32))
    assert not change.gained.any()
    np.testing.assert_array_equal(change.before, later.mask)
    np.testing.assert_array_equal(change.after, later.mask)


def test_a_brighter_place_in_the_image_alone_is_nothing():
    earlier = later = lesions(FAR)
    difference = np.zeros(SHAPE, np.float32)
    difference[SMALL] = 0.6
    change = change_of(earlier, later, difference)
    assert not change.gained.any()
    np.testing.assert_array_equal(change.after, earlier.mask)


def test_a_lesion_that_the_mask_has_missed_is_new_where_it_is_likely_enough_and_brighter():
    earlier = lesions(FAR)
    later = lesions(FAR)
    later.probability[SMALL] = 0.2
    later.probability[11, 11, 11] = 0.3
    difference = np.zeros(SHAPE, np.float32)
    difference[SMALL] = 0.6
    change = change_of(earlier, later, difference)
    expected = np.zeros(SHAPE, bool)
    expected[SMALL] = True
    np.testing.assert_array_equal(change.gained, expected)
    later.probability[11, 11, 11] = 0.2  # nowhere likely enough
    assert not change_of(earlier, later, difference).gained.any()
    assert change_of(earlier, later, difference).after.sum() == later.mask.sum()


def test_of_a_blurred_rise_the_brighter_part_is_new():
    earlier, later = lesions(), lesions()
    later.probability[LARGE] = 0.3
    difference = np.zeros(SHAPE, np.float32)
    difference[LARGE] = 0.15  # three standard deviations
    difference[SMALL] = 0.6
    change = change_of(earlier, later, difference)
    expected = np.zeros(SHAPE, bool)
    expected[SMALL] = True
    np.testing.assert_array_equal(change.gained, expected)


def test_what_was_lesion_before_and_is_brighter_now_has_not_grown():
    earlier = later = lesions(SMALL)
    difference = np.zeros(SHAPE, np.float32)
    difference[SMALL] = 0.6
    assert not change_of(earlier, later, difference).gained.any()


def test_a_faint_difference_is_nothing():
    earlier, later = lesions(), lesions(SMALL)
    assert not change_of(earlier, later, brighter(earlier, later, 0.1)).gained.any()


def test_of_a_new_lesion_what_lies_beyond_the_rim_in_its_mask_is_new_too():
    earlier, later = lesions(), lesions(LARGE, (slice(8, 12), slice(8, 12), slice(16, 20)))
    difference = np.zeros(SHAPE, np.float32)
    difference[LARGE] = 0.6
    change = change_of(earlier, later, difference)
    np.testing.assert_array_equal(change.gained, later.mask)
    assert not change.before.any()


def test_a_small_rise_in_a_lesion_of_one_mask_alone_makes_no_new_lesion():
    earlier, later = lesions(), lesions(LARGE)
    difference = np.zeros(SHAPE, np.float32)
    difference[slice(8, 10), slice(8, 10), slice(8, 12)] = 0.6
    change = change_of(earlier, later, difference)
    assert 16 <= change.gained.sum() < later.mask.sum() / 2
    assert change.before.sum() == later.mask.sum() - change.gained.sum()


def test_exchanging_the_visits_exchanges_gained_and_lost():
    rng = np.random.default_rng(0)
    earlier, later = (Lesions(p := rng.uniform(0, 1, SHAPE).astype(np.float32), p > 0.7) for _ in range(2))
    difference = rng.normal(0, 0.2, SHAPE).astype(np.float32)
    one, other = change_of(earlier, later, difference), change_of(later, earlier, -difference)
    np.testing.assert_array_equal(one.gained, other.lost)
    np.testing.assert_array_equal(one.before, other.after)
    assert one.gained.any()


def test_the_fading_rim_of_a_new_lesion_is_new():
    earlier, later = lesions(), lesions(LARGE)
    difference = np.zeros(SHAPE, np.float32)
    difference[LARGE] = 0.09  # below two standard deviations
    difference[SMALL] = 0.6
    change = change_of(earlier, later, difference)
    np.testing.assert_array_equal(change.gained, later.mask)
    assert not change.before.any()


@pytest.mark.parametrize("place", [(slice(10, 12), slice(10, 11), slice(10, 11)), (slice(10, 12),) * 3])
def test_new_lesions_must_be_large_and_long_enough(place):
    thresholds = ChangeThresholds()
    earlier, later = lesions(), lesions(place)
    n = int(later.mask.sum())
    long_enough = n >= thresholds.least_mm3 and diameter(later.mask) >= thresholds.least_diameter_mm
    change = change_of(earlier, later, brighter(earlier, later))
    assert change.gained.any() == long_enough


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 1, 1), 1), ((3, 1, 1), 3), ((2, 2, 1), 1 + 2**0.5), ((20, 20, 20), 20)]
)
def test_diameter(shape, expected):
    mask = np.zeros((25, 25, 25), bool)
    mask[tuple(slice(2, 2 + n) for n in shape)] = True
    if expected == 20:
        assert diameter(mask) >= expected
    else:
        assert diameter(mask) == pytest.approx(expected)


def test_nothing_at_all_is_no_change():
    nothing = lesions()
    change = change_of(nothing, nothing, np.zeros(SHAPE, np.float32))
    assert not change.before.any()
    assert not change.after.any()
