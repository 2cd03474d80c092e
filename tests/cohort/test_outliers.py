import math

import numpy as np
import pytest

from bids_cascade.cohort.outliers import MIN_VALUES, log_volume, modified_z_scores


def test_no_lesion_has_a_logarithm_too() -> None:
    assert log_volume([0, 0.99]).tolist() == pytest.approx([math.log(0.01), 0])


def test_modified_z_scores_by_hand() -> None:
    # Median 5, absolute deviations 4 3 2 1 0 0 1 2 3 95: their median is 2.
    values = [1, 2, 3, 4, 5, 5, 6, 7, 8, 100]
    expected = [0.6745 * (value - 5) / 2 for value in values]
    assert modified_z_scores(values).tolist() == pytest.approx(expected)
    assert sum(abs(modified_z_scores(values)) > 3.5) == 1


def test_where_most_are_equal_the_mean_deviation_counts() -> None:
    # Median 1, MAD 0, mean absolute deviation 9 / 10.
    assert modified_z_scores([1] * 9 + [10])[-1] == pytest.approx(9 / (1.2533 * 0.9))
    assert not modified_z_scores([3.0] * MIN_VALUES).any()


def test_a_few_values_have_no_outliers() -> None:
    assert np.isnan(modified_z_scores([1] * (MIN_VALUES - 2) + [1000])).all()
    assert modified_z_scores([]).shape == (0,)
