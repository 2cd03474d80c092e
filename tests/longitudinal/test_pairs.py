"""Which visits are compared with which."""

from __future__ import annotations

from datetime import date

from bids_cascade.derivatives.change import FIRST, PREVIOUS, Pair
from bids_cascade.longitudinal.pairs import plan_pairs

from .left_visits import visit


def test_each_visit_is_compared_with_the_previous_and_the_first() -> None:
    pairs = plan_pairs([(visit("10"), None), (visit("1"), None), (visit("2"), None)])
    assert pairs == [
        Pair(visit("1"), visit("2"), PREVIOUS),
        Pair(visit("2"), visit("10"), PREVIOUS),
        Pair(visit("1"), visit("10"), FIRST),
    ]


def test_dates_order_visits_if_all_have_one() -> None:
    a, b = (visit("a"), date(2021, 3, 1)), (visit("b"), date(2020, 3, 1))
    assert plan_pairs([a, b]) == [Pair(b[0], a[0], PREVIOUS, 365)]
    assert plan_pairs([a, (visit("b"), None)]) == [Pair(a[0], visit("b"), PREVIOUS)]


def test_a_single_visit_has_nothing_to_be_compared_with() -> None:
    assert plan_pairs([(visit("1"), None)]) == []


def test_twelve_visits_make_twenty_one_comparisons() -> None:
    pairs = plan_pairs([(visit(str(n)), None) for n in range(12, 0, -1)])
    assert len(pairs) == 11 + 10
    assert [pair.later.session for pair in pairs if pair.desc == PREVIOUS] == [str(n) for n in range(2, 13)]
