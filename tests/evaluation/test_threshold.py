from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.config import LesionRule
from bids_cascade.evaluation.threshold import best_threshold, dice_by_threshold
from bids_cascade.lesions.overlap import dice
from bids_cascade.lesions.rule import lesion_mask

ANY = LesionRule(threshold=0.5, min_lesion_volume_mm3=0, peak_probability=0)


def test_worked_by_hand() -> None:
    values = np.array([0.9, 0.9, 0.6, 0.3, 0.0, 0.6, 0.0]).reshape(-1, 1, 1)
    reference = np.array([1, 1, 1, 0, 0, 0, 0], bool).reshape(-1, 1, 1)
    found = dice_by_threshold(values, reference, (0.2, 0.5, 0.8), LesionRule(0.5, 2, 0), 1)
    # From 0.2: four voxels (the single one is removed); from 0.5: the three; from 0.8: two of them.
    assert found == pytest.approx([6 / 7, 1, 4 / 5])


def test_it_is_what_the_mask_of_the_whole_map_gives() -> None:
    rng = np.random.default_rng(1)
    values, reference = rng.random((12, 9, 7)), np.zeros((12, 9, 7), bool)
    reference[3:6, 2:5, 1:4] = True
    thresholds = (0.3, 0.7, 0.95)
    values[4, 3, 2] = 0  # a cavity
    for rule in (LesionRule(0.5, 2, 0), LesionRule(0.5, 2, 0.9)):
        slow = [dice(reference, lesion_mask(values, replace(rule, threshold=one), 0.5)) for one in thresholds]
        assert dice_by_threshold(values, reference, thresholds, rule, 0.5) == pytest.approx(slow)


def test_values_need_not_be_probabilities() -> None:
    values = np.array([1.5, 1.3, 0.9, 1.2]).reshape(-1, 1, 1)
    assert dice_by_threshold(values, values > 1.25, (1.25, 1.1), ANY, 1).tolist() == [1, 0.8]


def test_empty_maps_and_references() -> None:
    nothing, something = np.zeros((3, 3, 3)), np.ones((3, 3, 3), bool)
    assert dice_by_threshold(nothing, ~something, (0.1, 0.5), ANY, 1).tolist() == [1, 1]
    assert dice_by_threshold(nothing, something, (0.1, 0.5), ANY, 1).tolist() == [0, 0]


def test_best_on_average_and_nearest_to_the_default() -> None:
    thresholds = (0.1, 0.3, 0.5, 0.7)
    assert best_threshold(thresholds, [np.array([0.1, 0.9, 0.4, 0]), np.array([0, 0.2, 0.6, 0])], 0.5) == 0.3
    assert best_threshold(thresholds, [np.array([0.8, 0.8, 0.1, 0.8])], 0.5) == 0.3
    assert best_threshold(thresholds, [np.array([0, 0, 0, 0])], 0.5) == 0.5
    assert best_threshold(thresholds, [], 0.45) == 0.45
