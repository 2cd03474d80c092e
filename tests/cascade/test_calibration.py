import numpy as np
import pytest

from bids_cascade.cascade.calibration import calibrate
from bids_cascade.config import CascadeConfig


def test_values_worked_by_hand() -> None:
    p = np.array([0, 0.5, 0.8, 0.2, 1], np.float32)  # logits -, 0, ln 4, -ln 4, infinite
    found = calibrate(p, (0.5, np.log(3)))  # odds become 3 times their square root: -, 3, 6, 1.5, infinite
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0, 3 / 4, 6 / 7, 3 / 5, 1], rtol=1e-6)


def test_slope_one_and_intercept_nought_change_nothing() -> None:
    p = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_array_equal(calibrate(p, (1, 0)), p)


@pytest.mark.parametrize("calibration", [(3.0, -8.0), (0.1, 20.0), (50.0, 300.0), (50.0, -800.0)])
def test_order_and_bounds_stay_for_the_smallest_and_largest_probabilities(calibration) -> None:
    tiny, below_one = np.finfo(np.float32).smallest_subnormal, np.nextafter(np.float32(1), np.float32(0))
    p = np.array([0, tiny, 1e-30, 1e-6, 0.3, 0.999, below_one, 1], np.float32)
    found = calibrate(p, calibration)
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (0, 1)
    assert found.max() <= 1


@pytest.mark.parametrize(
    "calibration", [(0.0, 1.0), (-1.0, 0.0), (np.nan, 0.0), (1.0, np.inf), (1.0,), (1.0, 2.0, 3.0)]
)
def test_what_can_not_be_meant_is_refused(calibration) -> None:
    with pytest.raises(ValueError, match="expected a slope above 0 and an intercept, both finite"):
        CascadeConfig(calibration=calibration)
