"""Variation of training crops' appearance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.cascade.appearance import AppearanceConfig, blur_brain, change_contrast, vary_appearance
from bids_cascade.cascade.patches import coarsen, read_crop

SCALES = (1, 2, 4)
BEFORE = 3
STILL = AppearanceConfig(contrast=1.0, field=0.0, noise_chance=0.0, blur_chance=0.0)
BOX = [slice(16, 32)] * 3


def _crop(seed: int = 0, n_channels: int = 2) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the views of a crop at a brain's edge, and how much of their voxels is brain."""
    rng = np.random.default_rng(seed)
    brain = np.zeros((1, 48, 48, 48), np.float32)
    brain[:, 8:40, 8:40, 8:27] = 1
    channels = (rng.uniform(0.2, 1.8, (n_channels, 48, 48, 48)) * brain).astype(np.float32)
    views, covered = (read_crop(volume, BOX, SCALES, (BEFORE, BEFORE), {}) for volume in (channels, brain))
    return views, covered


def test_nothing_changes_when_nothing_may() -> None:
    views, covered = _crop()
    for view, varied in zip(
        views, vary_appearance(views, covered, SCALES, BEFORE, np.random.default_rng(0), STILL), strict=True
    ):
        np.testing.assert_allclose(varied, view, atol=1e-6)


def test_brighter_and_darker_tissue_is_scaled_around_white_matter() -> None:
    volume = np.array([[[0.5, 1.0, 1.4, 0.0, 0.7]]], np.float32)
    covered = np.array([[[1.0, 1.0, 1.0, 0.0, 0.5]]], np.float32)
    # 1 - .5 * 2; unchanged; 1 + .4 * .5; no brain; a voxel half of which is brain of 1.4: half of 1.2.
    np.testing.assert_allclose(change_contrast(volume, covered, 0.5, 2.0), [[[0.0, 1.0, 1.2, 0.0, 0.6]]], atol=1e-6)


def test_blurring_leaves_a_uniform_brain_uniform_up_to_its_edge() -> None:
    covered = np.zeros((9, 9, 9), np.float32)
    covered[:5] = 1
    covered[5] = 0.25
    np.testing.assert_allclose(blur_brain(1.3 * covered, covered, np.full(3, 1.0)), 1.3 * covered, atol=1e-5)


def test_blurring_spreads_along_the_axes_that_it_is_asked_for() -> None:
    point = np.zeros((9, 9, 9), np.float32)
    point[4, 4, 4] = 1
    blurred = blur_brain(point, np.ones_like(point), np.array([0.0, 1.0, 0.1]))
    assert blurred[4, 3, 4] == pytest.approx(0.242, abs=0.005)  # of a normal distribution
    assert blurred.sum() == pytest.approx(1, abs=1e-4)
    assert np.count_nonzero(blurred) == np.count_nonzero(blurred[4, :, 4])


@pytest.mark.parametrize("changed", ["contrast", "field", "noise", "blur"])
def test_each_kind_of_change_changes_every_sequence_by_itself_but_nothing_outside_the_brain(changed: str) -> None:
    ranges = {
        "contrast": {"contrast": 1.3},
        "field": {"field": 0.1},
        "noise": {"noise_chance": 1.0, "noise_sd": 0.1},
        "blur": {"blur_chance": 1.0, "blur_sd": 2.0, "slice_sd": 2.0},
    }
    views, covered = _crop()
    views = [np.repeat(view[:1], 2, axis=0) for view in views]
    varied = vary_appearance(
        views, covered, SCALES, BEFORE, np.random.default_rng(1), replace(STILL, **ranges[changed])
    )
    for view, part, new in zip(views, covered, varied, strict=True):
        assert new.dtype == np.float32
        assert new.shape == view.shape
        assert not new[:, part[0] == 0].any()
    first, second = varied[0]
    assert np.abs(first - views[0][0]).max() > 1e-3
    assert np.abs(first - second).max() > 1e-3


def test_the_field_is_the_same_at_all_scales() -> None:
    """What a coarse voxel shows is the mean of the fine ones in it, also after the change."""
    views, covered = _crop(n_channels=1)
    config = replace(STILL, field=0.3, field_wavelength=(60.0, 60.0))
    fine, *coarse = vary_appearance(views, covered, SCALES, BEFORE, np.random.default_rng(2), config)
    inside = (slice(None), *[slice(BEFORE, -BEFORE)] * 3)
    assert np.abs(fine - views[0]).max() > 0.05
    for scale, view in zip(SCALES[1:], coarse, strict=True):
        np.testing.assert_allclose(coarsen(fine[inside], scale), view[inside], atol=0.01)


def test_noise_averages_out_in_coarse_voxels() -> None:
    rng = np.random.default_rng(0)
    views = [np.ones((1, 24, 24, 24), np.float32) for _ in SCALES]
    config = replace(STILL, noise_chance=1.0, noise_sd=0.1)
    sds = [view.std() for view in vary_appearance(views, views, SCALES, BEFORE, rng, config)]
    assert 0 < sds[0] < 0.1
    np.testing.assert_allclose(sds, [sds[0], sds[0] / 8**0.5, sds[0] / 8], rtol=0.05)


def test_the_same_generator_gives_the_same_appearance() -> None:
    views, covered = _crop()
    first, second = (vary_appearance(views, covered, SCALES, BEFORE, np.random.default_rng(5)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
