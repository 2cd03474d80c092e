"""What became of lesions: kinds, merging and splitting, numbers."""

from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.change.detection import Change
from bids_cascade.change.noise import PairNoise
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.change.tracking import Measured, keep_numbers, kind_of, least_change_mm3, track_lesions

SHAPE = (40, 20, 20)
NOISE = PairNoise(0.05, 0.0, ((1, 1.0), (1000, 1.0)))


def block(*spans):
    mask = np.zeros(SHAPE, bool)
    for span in spans:
        mask[span[0] : span[1], 5:10, 5:10] = True
    return mask


def tracked(before, after, growth_sd=0.0):
    change = Change(after & ~before, before & ~after, before, after)
    difference = 0.5 * (after.astype(np.float32) - before)
    measured = Measured(difference, difference / 0.05, difference)
    return track_lesions(change, measured, NOISE, growth_sd, np.eye(4), ChangeThresholds())


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ([], [(2, 6)], "new"),
        ([(2, 6)], [], "resolved"),
        ([(2, 6)], [(2, 6)], "stable"),
        ([(2, 6)], [(2, 9)], "enlarging"),
        ([(2, 9)], [(2, 6)], "shrinking"),
    ],
)
def test_kinds(before, after, kind):
    labels, (lesion,) = tracked(block(*before), block(*after))
    assert lesion.kind == kind
    assert lesion.before_mm3 == block(*before).sum()
    assert lesion.change_mm3 == block(*after).sum() - block(*before).sum()
    assert (labels > 0).sum() == (block(*before) | block(*after)).sum()
    assert np.sign(lesion.z) == {"new": 1, "enlarging": 1, "stable": 0}.get(kind, -1)
    assert lesion.topology == "same"


def test_two_that_merge_are_not_one_that_has_grown():
    # 4 and 5 slices of 25 mm^3 become 10: the slice that joins them, 25 mm^3, is the growth.
    _, (lesion,) = tracked(block((2, 6), (7, 12)), block((2, 12)))
    assert (lesion.before_mm3, lesion.after_mm3, lesion.topology) == (225, 250, "merged")
    assert lesion.kind == "stable"  # 25 mm^3 are less than 15 % of 237.5


def test_the_parts_of_one_that_splits_are_not_new():
    _, (lesion,) = tracked(block((2, 12)), block((2, 6), (7, 12)))
    assert (lesion.kind, lesion.topology, lesion.n_before, lesion.n_after) == ("stable", "split", 1, 2)


def test_a_lesion_beside_another_makes_that_one_larger():
    _, (lesion,) = tracked(block((2, 6)), block((2, 10)))
    assert lesion.kind == "enlarging"
    _, both = tracked(block((2, 6)), block((2, 6), (7, 10)))
    assert [one.kind for one in both] == ["stable", "new"]


def test_growth_within_the_noise_is_stable():
    assert tracked(block((2, 6)), block((2, 8)), 0.0)[1][0].kind == "enlarging"
    assert tracked(block((2, 6)), block((2, 8)), 2.0)[1][0].kind == "stable"


def test_least_change_by_hand():
    thresholds = ChangeThresholds(least_change_mm3=10, least_change_fraction=0.2, noise_factor=2)
    assert least_change_mm3(8, 0.1, thresholds) == 10
    assert least_change_mm3(1000, 0.1, thresholds) == pytest.approx(200)
    assert least_change_mm3(1000, 2, thresholds) == pytest.approx(400)


@pytest.mark.parametrize(("one", "other"), [(100, 150), (50, 0), (10, 1000), (100, 104)])
def test_kinds_exchange_with_the_visits(one, other):
    turned = {"new": "resolved", "resolved": "new", "enlarging": "shrinking", "shrinking": "enlarging"}
    kind = kind_of(one, other, 0.5, ChangeThresholds())
    assert kind_of(other, one, 0.5, ChangeThresholds()) == turned.get(kind, kind)


def test_per_cent_of_the_earlier_volume():
    assert tracked(block((2, 6)), block((2, 8)))[1][0].change_percent == pytest.approx(50)
    assert tracked(block(), block((2, 8)))[1][0].change_percent is None


def test_numbers_are_kept_and_new_ones_follow():
    labels = np.zeros(SHAPE, np.int32)
    labels[block((2, 6))], labels[block((10, 14))], labels[block((20, 24))] = 1, 2, 3
    earlier = np.zeros(SHAPE, np.int32)
    earlier[block((3, 7))], earlier[block((10, 12))] = 7, 4
    kept, numbers = keep_numbers(labels, earlier)
    assert numbers == {1: 7, 2: 4, 3: 8}
    assert set(np.unique(kept)) == {0, 4, 7, 8}
    assert keep_numbers(labels, earlier, taken=20)[1][3] == 21


def test_a_number_is_given_once():
    labels, earlier = np.zeros(SHAPE, np.int32), np.zeros(SHAPE, np.int32)
    labels[block((2, 6))], labels[block((7, 9))] = 1, 2
    earlier[block((2, 9))] = 3
    assert keep_numbers(labels, earlier)[1] == {1: 3, 2: 4}


def test_nothing_to_track():
    labels, lesions = tracked(block(), block())
    assert not labels.any()
    assert lesions == []
    assert keep_numbers(labels, labels)[1] == {}
