"""The noise floor: what was called between a visit and a copy of it, summed up."""

from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.change.detection import Lesions
from bids_cascade.change.floor import Copy, floor_of, judge_copy
from bids_cascade.change.tracking import TrackedLesion


def lesion(number, kind, before_mm3, after_mm3):
    return TrackedLesion(number, kind, before_mm3, after_mm3, 6.0, 0.3, 0.5, 1, 1, (0.0, 0.0, 0.0))


def test_a_copy_is_judged_by_calls_and_by_its_mask():
    labels = np.zeros((10, 10, 10), np.int32)
    labels[0, :8], labels[5, 0, :8], labels[9, 9, 9] = 1, 2, 3
    before, after = labels == 1, labels > 0
    before[5, 0, :4] = True
    nothing = np.zeros(labels.shape, np.float32)
    lesions = [lesion(1, "stable", 80, 80), lesion(2, "enlarging", 4, 8), lesion(3, "new", 0, 1)]
    copy = judge_copy(Lesions(nothing, before), Lesions(nothing, after), lesions, 2.0)
    assert copy.kinds == ("stable", "enlarging", "new")
    assert copy.called_mm3 == 5
    assert copy.masks_mm3 == 2.0 * 5
    assert copy.growths == pytest.approx((0.0, 4 / 6 ** (2 / 3)))


def test_a_floor_is_the_mean_of_copies():
    copies = [
        Copy(("new", "new", "stable"), 30.0, 300.0, (0.1, -0.2)),
        Copy(("enlarging",), -10.0, -400.0, (0.3, 0.2, 0.2)),
    ]
    floor = floor_of(copies)
    assert floor.n_copies == 2
    assert floor.calls == {"new": 1.0, "enlarging": 0.5, "shrinking": 0.0, "resolved": 0.0}
    assert floor.false_ml == pytest.approx(0.02)
    assert floor.volume_sd_ml == pytest.approx(np.sqrt((0.3**2 + 0.4**2) / 2))
    assert floor.growth_sd == pytest.approx(np.sqrt(0.22 / 5))


def test_few_lesions_say_nothing_of_growth():
    assert floor_of([Copy(("stable",), 0.0, 0.0, (0.5,))]).growth_sd is None
