"""Tests."""

import numpy as np
import pytest

from bids_cascade.cascade.samples import LabelledVisit, Samples, candidates, first_stage_samples, second_stage_samples
from bids_cascade.config import CascadeConfig

from .conftest import random_samples

CONFIG = CascadeConfig()


def small_visit() -> LabelledVisit:
    channels = np.ones((2, 4, 4, 4), np.float32)
    channels[1, :2] = 2
    brain = np.ones((4, 4, 4), bool)
    brain[:, :, 3] = False
    lesion = np.zeros((4, 4, 4), bool)
    lesion[0, 0, :3] = True
    return LabelledVisit("a", channels, brain, lesion)


def test_candidates_are_bright_brain() -> None:
    visit = small_visit()
    found = candidates(visit.channels, visit.brain, CONFIG)
    assert found.sum() == 2 * 4 * 3
    edge = visit.channels.copy()
    edge[1, 0, 0, 0] = CONFIG.candidate_level
    assert not candidates(edge, visit.brain, CONFIG)[0, 0, 0]


def test_samples_are_packed_and_hold_no_lesion() -> None:
    visit, other = small_visit(), np.random.default_rng(0).random((4, 4, 4)) > 0.5
    samples = Samples.of(visit, other)
    assert samples.negative_bits.nbytes == 8
    np.testing.assert_array_equal(samples.negative, other & ~visit.lesion)
    odd = random_samples((3, 5, 7), 4, 9)
    assert (odd.negative.sum(), (odd.negative & odd.visit.lesion).sum()) == (9, 0)


def test_first_stage_takes_all_candidates_without_lesion() -> None:
    visit = small_visit()
    samples = first_stage_samples(visit, CONFIG)
    np.testing.assert_array_equal(samples.negative, candidates(visit.channels, visit.brain, CONFIG) & ~visit.lesion)
    assert samples.negative.sum() == 2 * 4 * 3 - 3


def test_second_stage_takes_the_first_ones_false_positives() -> None:
    visit, probability = small_visit(), np.zeros((4, 4, 4), np.float32)
    hard = [(0, 3, 1), (1, 1, 0), (1, 1, 1), (1, 1, 2), (1, 2, 0)]
    for voxel in hard:
        probability[voxel] = 0.9
    probability[0, 0, 0], probability[1, 3, 1] = 0.99, CONFIG.hard_negative_probability
    samples = second_stage_samples(visit, probability, CONFIG)
    assert [tuple(row) for row in np.argwhere(samples.negative).tolist()] == hard


def test_second_stage_fills_up_with_the_next_hardest() -> None:
    visit, probability = small_visit(), np.zeros((4, 4, 4), np.float32)
    probability[1, 1, 0], probability[1, 2, 0], probability[0, 3, 1], probability[1, 3, 1] = 0.9, 0.4, 0.3, 0.2
    samples = second_stage_samples(visit, probability, CONFIG)
    assert {tuple(row) for row in np.argwhere(samples.negative).tolist()} == {(1, 1, 0), (1, 2, 0), (0, 3, 1)}
    probability[probability < 0.5] = 0
    assert second_stage_samples(visit, probability, CONFIG).negative.sum() == 1, "what is no candidate is never taken"


def test_an_ignored_mask_of_another_grid_is_refused() -> None:
    full = np.ones((4, 4, 4), bool)
    with pytest.raises(ValueError, match=r"one grid.*\(4, 4, 5\)"):
        LabelledVisit("one", np.ones((1, 4, 4, 4)), full, full, ignored=np.ones((4, 4, 5), bool))
