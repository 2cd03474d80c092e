"""Charts are drawn of what there is, whatever is missing, and the same again."""

import math
import re

import numpy as np
import pytest

from bids_cascade.evaluation.bootstrap import agreement_over_cohort
from bids_cascade.evaluation.matching import compare_masks, count_lesions
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3
from bids_cascade.report.charts import draw_errors, draw_methods, draw_scores, draw_sizes, draw_volumes


def visits(n: int) -> list:
    rng = np.random.default_rng(0)
    return [compare_masks(rng.random((9, 9, 3)) > 0.9, rng.random((9, 9, 3)) > 0.9, np.eye(4)) for _ in range(n)]


@pytest.mark.parametrize("n", [1, 2, 60])
def test_charts_of_few_and_many_visits(n: int) -> None:
    found = visits(n)
    measures, subjects = [one.measures for one in found], [str(index) for index in range(n)]
    agreement = agreement_over_cohort(measures, subjects)
    for draw in (
        lambda: draw_volumes(measures, agreement),
        lambda: draw_scores({name: [one[name] for one in measures] for name in ("dice", "hd95_mm")}),
        lambda: draw_errors(subjects, measures),
        lambda: draw_methods({"a": {"dice": [0.5] * n}, "b": {"dice": [math.nan] * n}}, ["dice"]),
    ):
        chart = draw()
        assert b"<svg" in chart
        assert chart == draw()
        assert not re.search(rb"<dc:date>|nan", chart)
    assert b"<!-- score -->" in draw_scores({"dice": [0.5] * n})
    assert (b"Pearson" in draw_volumes(measures, agreement)) == (n == 60), "none of few participants"


def test_sizes_without_any_lesion() -> None:
    nothing = compare_masks(np.zeros((3, 3, 3), bool), np.zeros((3, 3, 3), bool), np.eye(4))
    by_size = {name: count_lesions(nothing.lesions, name) for name in COUNTED_CLASSES_MM3}
    chart = draw_sizes(by_size).decode()
    assert "<svg" in chart
    for label in (
        "at least 3",
        "and less than 10 mm³",
        "at least 100 mm³",
        "volume of a lesion",
        "fraction of the lesions",
    ):
        assert f"<!-- {label} -->" in chart, "matplotlib names what it draws as paths"
