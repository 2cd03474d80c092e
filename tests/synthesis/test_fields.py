"""Random fields and products along axes."""

import numpy as np

from bids_cascade.synthesis.fields import along_axes, linear_weights, smooth_noise


def test_noise_has_spread_one_and_is_smooth() -> None:
    noise = smooth_noise(np.random.default_rng(0), (40, 50, 60), 10)
    assert noise.shape == (40, 50, 60)
    assert noise.dtype == np.float32
    assert np.isclose(noise.std(), 1, atol=1e-5)
    assert abs(noise.mean()) < 0.3
    step = np.diff(noise, axis=0).std()
    assert step < 0.3  # white noise would have 1.41
    assert np.array_equal(noise, smooth_noise(np.random.default_rng(0), (40, 50, 60), 10))


def test_along_axes_equals_the_obvious() -> None:
    rng = np.random.default_rng(1)
    volume = rng.random((3, 4, 5))
    a, b, c = rng.random((6, 3)), rng.random((2, 4)), rng.random((7, 5))
    expected = np.einsum("xyz,ax,by,cz->abc", volume, a, b, c)
    assert np.allclose(along_axes(volume, (a, b, c)), expected, rtol=1e-6)


def test_linear_weights_by_hand() -> None:
    weights = linear_weights(np.array([-1.0, 0.25, 1.0, 5.0]), 3)
    assert weights.tolist() == [[1, 0, 0], [0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]]
