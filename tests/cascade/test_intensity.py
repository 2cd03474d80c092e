import numpy as np
import pytest

from bids_cascade.cascade.intensity import zscore


def test_values_worked_by_hand() -> None:
    image = np.array([[[1.0, 3.0, 5.0, 100.0]]])
    brain = np.array([[[True, True, True, False]]])
    step = 2 / np.sqrt(8 / 3)
    np.testing.assert_allclose(zscore(image, brain), [[[-step, 0, step, 0]]], rtol=1e-6)


def test_scale_shift_and_field_of_view_change_nothing() -> None:
    rng = np.random.default_rng(0)
    image, brain = rng.normal(size=(6, 7, 8)), rng.random((6, 7, 8)) > 0.4
    expected = zscore(image, brain)
    np.testing.assert_allclose(zscore(3 * image + 10, brain), expected, atol=1e-5)
    wider = zscore(np.pad(image, 3, constant_values=50), np.pad(brain, 3))
    np.testing.assert_allclose(wider[3:-3, 3:-3, 3:-3], expected, atol=1e-6)
    assert expected[brain].mean() == pytest.approx(0, abs=1e-6)
    assert expected[brain].std() == pytest.approx(1, abs=1e-6)
    assert expected.dtype == np.float32


@pytest.mark.parametrize(
    ("image", "brain", "message"),
    [
        (np.ones((2, 2, 2)), np.ones((2, 2, 3), bool), r"\(2, 2, 2\).*\(2, 2, 3\)"),
        (np.ones((2, 2, 2)), np.zeros((2, 2, 2), bool), "mask is empty"),
        (np.full((2, 2, 2), 7.0), np.ones((2, 2, 2), bool), "all 8 brain voxels have the intensity 7"),
    ],
)
def test_errors(image: np.ndarray, brain: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zscore(image, brain)
