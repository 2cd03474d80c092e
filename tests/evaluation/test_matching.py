import math

import numpy as np
import pytest

from bids_cascade.evaluation.matching import (
    MEASURES,
    compare_masks,
    count_lesions,
    match_lesions,
)
from bids_cascade.evaluation.metrics import LesionWise
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3

AFFINE = np.array([[0.0, -2, 0, 10], [1, 0, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
"""Voxels of 1 x 2 x 3 mm: 6 mm^3 each."""


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Return a reference with lesions of 24, 12 and 6 mm^3 and a prediction with lesions of 24, 6 and 6 mm^3."""
    reference, predicted = np.zeros((2, 12, 8, 4), bool)
    reference[0:4, 0, 0] = reference[6:8, 0, 0] = reference[10, 6, 3] = True
    predicted[1:5, 0, 0] = predicted[7, 0, 0] = predicted[11, 2, 3] = True
    return reference, predicted


def test_lesions_by_hand() -> None:
    lesions = match_lesions(*masks(), AFFINE)
    assert [(one.mask, one.index, one.outcome, one.volume_mm3, one.overlap_mm3) for one in lesions] == [
        ("reference", 1, "found", 24, 18),
        ("reference", 2, "found", 12, 6),
        ("reference", 3, "missed", 6, 0),
        ("predicted", 1, "right", 24, 18),
        ("predicted", 2, "right", 6, 6),
        ("predicted", 3, "false", 6, 0),
    ]
    assert [one.size_class for one in lesions] == ["10_to_30", "10_to_30", "3_to_10", "10_to_30", "3_to_10", "3_to_10"]
    # The missed voxel (10, 6, 3) lies at x = -2 * 6 + 10, y = 10 + 20, z = 3 * 3 + 30.
    missed = lesions[2]
    assert (missed.centre_x_mm, missed.centre_y_mm, missed.centre_z_mm) == (-2, 30, 39)


def test_counts_go_by_the_size_of_the_lesion_itself() -> None:
    lesions = match_lesions(*masks(), AFFINE)
    assert count_lesions(lesions) == LesionWise(3, 2, 3, 2)
    assert count_lesions(lesions, "3_to_10") == LesionWise(1, 0, 2, 1)
    assert count_lesions(lesions, "10_to_30") == LesionWise(2, 2, 1, 1)
    assert count_lesions(lesions, "over_100") == LesionWise(0, 0, 0, 0)


def test_specks_are_listed_but_not_counted() -> None:
    reference, predicted = masks()
    lesions = match_lesions(reference, predicted, np.diag([1, 1, 1, 1]))
    assert [one.size_class for one in lesions] == ["3_to_10", "under_3", "under_3", "3_to_10", "under_3", "under_3"]
    assert count_lesions(lesions) == LesionWise(1, 1, 1, 1)


def test_measures_by_hand() -> None:
    measures = compare_masks(*masks(), AFFINE).measures
    assert set(measures) == set(MEASURES)
    expected = {
        "reference_volume_ml": 0.042,
        "predicted_volume_ml": 0.036,
        "volume_difference_ml": -0.006,
        "absolute_volume_difference_ml": 0.006,
        "absolute_volume_difference_percent": 100 / 7,
        "dice": 8 / 13,
        "sensitivity": 4 / 7,
        "precision": 4 / 6,
        "reference_lesions": 3,
        "predicted_lesions": 3,
        "reference_lesions_14mm3": 1,
        "predicted_lesions_14mm3": 1,
        "lesion_sensitivity": 2 / 3,
        "lesion_precision": 2 / 3,
        "lesion_f1": 2 / 3,
        "lesion_sensitivity_3_to_10": 0,
        "lesion_precision_3_to_10": 1 / 2,
        "lesion_f1_3_to_10": 0,
        "lesion_f1_10_to_30": 1,
        "lesion_sensitivity_30_to_100": math.nan,
        "lesion_f1_30_to_100": math.nan,
        "reference_lesions_30_to_100": 0,
        "missed_lesion_ml": 0.006,
        "missed_border_ml": 0.012,
        "false_lesion_ml": 0.006,
        "false_border_ml": 0.006,
    }
    assert {name: measures[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_errors_add_up() -> None:
    reference, predicted = masks()
    measures = compare_masks(reference, predicted, AFFINE).measures
    wrong_ml = (reference ^ predicted).sum() * 6 / 1000
    kinds = ("missed_lesion_ml", "missed_border_ml", "false_lesion_ml", "false_border_ml")
    assert sum(measures[kind] for kind in kinds) == pytest.approx(wrong_ml)


def test_distances_are_in_mm_along_each_axis() -> None:
    reference, predicted = np.zeros((2, 5, 5, 5), bool)
    reference[2, 2, 2] = True
    # The voxel axes are 1 mm (towards y), 2 mm (towards -x) and 3 mm long.
    for axis, step_mm in enumerate((1, 2, 3)):
        measures = compare_masks(reference, np.roll(reference, 2, axis), AFFINE).measures
        assert measures["hd95_mm"] == measures["average_surface_distance_mm"] == 2 * step_mm
    assert not predicted.any()


def test_empty_masks() -> None:
    some, empty = masks()[0], np.zeros((12, 8, 4), bool)
    both = compare_masks(empty, empty, AFFINE)
    assert both.lesions == []
    assert both.measures["dice"] == both.measures["lesion_f1"] == 1
    assert math.isnan(both.measures["absolute_volume_difference_percent"])
    assert math.isnan(both.measures["hd95_mm"])
    missed, invented = compare_masks(some, empty, AFFINE).measures, compare_masks(empty, some, AFFINE).measures
    assert missed["dice"] == invented["dice"] == missed["lesion_f1"] == invented["lesion_f1"] == 0
    assert (missed["lesion_sensitivity"], invented["lesion_precision"]) == (0, 0)
    assert math.isnan(missed["lesion_precision"])
    assert math.isnan(invented["lesion_sensitivity"])
    assert missed["missed_lesion_ml"] == invented["false_lesion_ml"] == pytest.approx(0.042)


def test_every_size_class_is_described() -> None:
    for name in COUNTED_CLASSES_MM3:
        assert f"lesion_sensitivity_{name}" in MEASURES
    assert all(entry["Description"] for entry in MEASURES.values())


def test_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match="reference mask has shape"):
        compare_masks(np.zeros((2, 2, 2), bool), np.zeros((2, 2, 3), bool), AFFINE)
