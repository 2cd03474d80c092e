"""Noise of a pair: what was put in is measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.change.noise import PairNoise, gradient_per_mm, measure_noise

SHAPE = (40, 40, 40)


def everywhere():
    return np.ones(SHAPE, bool)


def test_white_noise_is_measured_and_its_mean_is_less_noisy():
    difference = np.random.default_rng(0).normal(0, 0.05, SHAPE).astype(np.float32)
    noise, _ = measure_noise(difference, np.zeros(SHAPE, np.float32), everywhere(), everywhere(), 1.0)
    assert noise.white_sd == pytest.approx(0.05, rel=0.03)
    assert noise.shift_mm == 0
    for n_voxels in (1, 8, 27, 125):
        assert noise.sd_of_mean(n_voxels) == pytest.approx(n_voxels**-0.5, rel=0.15)


def test_correlated_noise_averages_out_less():
    rough = np.random.default_rng(0).standard_normal(SHAPE)
    smooth = ndimage.gaussian_filter(rough, 2)
    difference = (0.05 * smooth / smooth.std()).astype(np.float32)
    noise, _ = measure_noise(difference, np.zeros(SHAPE, np.float32), everywhere(), everywhere(), 1.0)
    assert noise.sd_of_mean(27) > 0.7


def test_displacement_is_measured_at_edges():
    rng = np.random.default_rng(0)
    gradient = rng.uniform(0, 1, SHAPE).astype(np.float32)
    white = gradient < 0.05
    difference = (rng.normal(0, 0.02, SHAPE) + 0.3 * gradient * rng.standard_normal(SHAPE)).astype(np.float32)
    noise, sd = measure_noise(difference, gradient, everywhere(), white, 1.0)
    assert noise.shift_mm == pytest.approx(0.3, rel=0.05)
    np.testing.assert_allclose(sd, np.sqrt(0.02**2 + (0.3 * gradient) ** 2), rtol=0.15)


def test_where_usual_tissue_differs_by_more_there_is_more_noise():
    difference = np.random.default_rng(0).normal(0, 0.05, SHAPE).astype(np.float32)
    difference[20:] *= 3
    white = everywhere()
    white[12:] = False
    _, sd = measure_noise(difference, np.zeros(SHAPE, np.float32), everywhere(), white, 1.0)
    assert sd[0].mean() == pytest.approx(0.05, rel=0.1)
    assert sd[-1].mean() == pytest.approx(0.15, rel=0.15)
    assert sd.min() >= 0.05 * 0.95


def test_gradient_is_per_mm():
    ramp = np.broadcast_to(np.arange(10, dtype=np.float32)[:, None, None], (10, 8, 8))
    np.testing.assert_allclose(gradient_per_mm(ramp, 2.0), 0.5)


def test_without_white_matter_there_is_no_noise_to_measure():
    zeros = np.zeros(SHAPE, np.float32)
    with pytest.raises(ValueError, match="white matter"):
        measure_noise(zeros, zeros, everywhere(), ~everywhere(), 1.0)


def test_means_between_and_beyond_what_was_measured():
    noise = PairNoise(0.1, 0.0, ((1, 1.0), (100, 0.1)))
    assert noise.sd_of_mean(10) == pytest.approx(10**-0.5)
    assert noise.sd_of_mean(1000) == pytest.approx(0.1)
