"""Matching: scale and smooth fields go, changes stay."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.change.matching import match_visits, robust_sd, smooth_difference


@pytest.fixture(scope="module")
def head():
    """T1w and FLAIR of a ball of white matter in grey matter with fluid inside, its brain, and a lesion in it."""
    rng = np.random.default_rng(0)
    distance = np.sqrt(sum((g - 24.5) ** 2 for g in np.ogrid[:50, :50, :50]))
    brain = distance < 23
    t1w = np.select([distance < 5, distance < 18, brain], [0.3, 1.0, 0.7])
    flair = np.select([distance < 5, distance < 18, brain], [0.3, 0.8, 1.0])
    channels = np.stack([t1w, flair]) + 0.01 * rng.standard_normal((2, 50, 50, 50))
    lesion = np.zeros_like(brain)
    lesion[30:35, 30:34, 24:28] = True
    return (channels * brain).astype(np.float32), brain, lesion


def test_scale_and_field_between_visits_are_removed(head):
    channels, brain, lesion = head
    field = np.exp(0.05 * np.linspace(-1, 1, 50))[:, None, None]
    pair = match_visits(channels, channels * 700 * field, brain, lesion, 1.0, ("T1w", "FLAIR"))
    difference = (pair.later - pair.earlier)[1][pair.white]
    assert abs(np.median(difference)) < 0.02
    assert robust_sd(difference) < 0.08  # 0.04 is the noise of both, in units of this head's contrast


def test_a_new_lesion_is_left_in_the_difference(head):
    channels, brain, lesion = head
    later = channels.copy()
    later[1][lesion] += 0.5
    pair = match_visits(channels, later, brain, lesion, 1.0, ("T1w", "FLAIR"))
    difference = (pair.later - pair.earlier)[1]
    assert difference[lesion].mean() > 10 * abs(difference[pair.white].mean())
    assert not (pair.usual & lesion).any()
    assert not (pair.white & ~pair.usual).any()


def test_exchanging_the_visits_exchanges_the_result(head):
    channels, brain, lesion = head
    later = channels * 3 + np.linspace(0, 0.2, 50, dtype=np.float32) * brain
    one = match_visits(channels, later, brain, lesion, 1.0, ("T1w", "FLAIR"))
    other = match_visits(later, channels, brain, lesion, 1.0, ("T1w", "FLAIR"))
    np.testing.assert_allclose(one.earlier, other.later, atol=1e-6)
    np.testing.assert_array_equal(one.white, other.white)


def test_a_brain_that_may_all_be_lesion_is_refused(head):
    channels, brain, _ = head
    with pytest.raises(ValueError, match="may be lesion"):
        match_visits(channels, channels, brain, brain, 1.0, ("T1w", "FLAIR"))


def test_inputs_stay_as_they_are(head):
    channels, brain, lesion = head
    before = channels.copy()
    match_visits(channels, channels, brain, lesion, 1.0, ("T1w", "FLAIR"))
    np.testing.assert_array_equal(channels, before)


def test_field_ignores_what_stands_out():
    difference = np.full((41, 37, 30), 0.2, np.float32)
    difference += 0.01 * np.random.default_rng(0).standard_normal(difference.shape).astype(np.float32)
    difference[10:14, 10:14, 10:14] = 50
    field = smooth_difference(difference, np.ones(difference.shape, bool), 1.0)
    np.testing.assert_allclose(field, 0.2, atol=0.01)


def test_field_without_usual_voxels_is_nothing():
    assert not smooth_difference(np.ones((8, 8, 8), np.float32), np.zeros((8, 8, 8), bool), 1.0).any()


def test_robust_sd_of_normal_values():
    values = np.random.default_rng(0).normal(3, 2, 100_000)
    assert robust_sd(np.append(values, [1e6] * 100)) == pytest.approx(2, rel=0.02)
    assert robust_sd(values[:0]) == 0


def test_white_matter_keeps_away_from_lesions(head):
    channels, brain, lesion = head
    pair = match_visits(channels, channels, brain, lesion, 1.0, ("T1w", "FLAIR"))
    away = ndimage.distance_transform_edt(~lesion)[pair.white]
    assert away.min() > 2
