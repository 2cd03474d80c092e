import numpy as np
import pytest

from bids_cascade.cascade.zscore import zscore_over_volume


def as_nicmslesions(image: np.ndarray) -> np.ndarray:
    """Its two lines, on the whole, skull-stripped volume."""
    image = image.astype(np.float64) - image[np.nonzero(image)].mean()
    return image / image[np.nonzero(image)].std()


@pytest.fixture
def whole() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = np.zeros((2, 20, 22, 24))
    image[0, 5:15, 6:15, 7:17] = rng.normal(100, 20, (10, 9, 10))
    image[1, 5:15, 6:15, 7:17] = rng.normal(300, 30, (10, 9, 10))
    return image


def test_it_is_theirs_on_the_whole_volume_and_on_any_part_of_it(whole) -> None:
    brain, expected = whole[0] > 0, np.stack([as_nicmslesions(one) for one in whole])
    np.testing.assert_allclose(zscore_over_volume(whole, brain, brain.size), expected, atol=1e-4)
    part = (slice(3, 17), slice(4, 18), slice(5, 19))
    found = zscore_over_volume(whole[(slice(None), *part)], brain[part], brain.size)
    np.testing.assert_allclose(found, expected[(slice(None), *part)], atol=1e-4)
    assert found.dtype == np.float32


def test_without_surroundings_it_is_the_brain_s_own(whole) -> None:
    brain = whole[0] > 0
    found = zscore_over_volume(whole, brain, 7)[:, brain]
    np.testing.assert_allclose([found.mean(1), found.std(1)], [[0, 0], [1, 1]], atol=1e-5)


def test_the_unit_of_an_image_does_not_matter(whole) -> None:
    brain = whole[0] > 0
    once, thrice = (zscore_over_volume(whole * factor, brain, 9000) for factor in (1, 3))
    np.testing.assert_allclose(once, thrice, atol=1e-5)


def test_what_can_not_be_normalised_is_refused(whole) -> None:
    brain = whole[0] > 0
    with pytest.raises(ValueError, match="expected channels"):
        zscore_over_volume(whole, brain[:5], 100)
    with pytest.raises(ValueError, match="empty"):
        zscore_over_volume(whole, np.zeros_like(brain), 100)
    with pytest.raises(ValueError, match="constant"):
        zscore_over_volume(np.zeros_like(whole), brain, 9000)
