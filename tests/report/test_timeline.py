"""The timeline of a participant's visits, from the comparisons between them."""

import pytest

from bids_cascade.derivatives.change import FIRST, PREVIOUS
from bids_cascade.report.change import ChangeView, timeline_points
from bids_cascade.report.timeline import TimePoint, draw_timeline
from bids_cascade.visit_key import VisitKey

FIRST_VISIT, SECOND, THIRD = (VisitKey("01", session) for session in "123")
VOLUMES = {FIRST_VISIT: 1.0, SECOND: 2.0, THIRD: 4.0}


def change(
    later: VisitKey, desc: str, earlier: str, n_new: int | None, flags: dict[str, str] | None = None
) -> ChangeView:
    numbers = {"before_ml": "1.5", "after_ml": "2.5", "change_sd_ml": "0.25", "n_new": str(n_new), "days": "100"}
    if n_new is None:
        numbers = {**dict.fromkeys(numbers, "n/a"), "days": "100"}
    stats = {"compared_with": earlier, "comparable": "no" if n_new is None else "yes", **numbers}
    return ChangeView(later, desc, stats, flags or {}, None, "")


def test_each_visit_is_compared_with_the_previous_one() -> None:
    views = [
        change(SECOND, PREVIOUS, "ses-1", 3),
        change(THIRD, PREVIOUS, "ses-2", 4),
        change(THIRD, FIRST, "ses-1", 7),
    ]
    first, second, third = timeline_points(views, VOLUMES)
    assert first == TimePoint("ses-1", mask_ml=1.0)
    assert second == TimePoint("ses-2", 100, 2.0, 1.5, 2.5, 0.25, 3)
    assert (third.name, third.n_new, third.since) == ("ses-3", 4, "")


def test_with_the_first_one_where_the_previous_one_cannot_be_compared() -> None:
    views = [
        change(SECOND, PREVIOUS, "ses-1", None),
        change(THIRD, PREVIOUS, "ses-2", None),
        change(THIRD, FIRST, "ses-1", 7),
    ]
    _, second, third = timeline_points(views, VOLUMES)
    assert second == TimePoint("ses-2", 100, 2.0)
    assert third == TimePoint("ses-3", 100, 4.0, 1.5, 2.5, 0.25, 7, since="ses-1")


def test_unless_that_one_cannot_be_compared_either() -> None:
    views = [
        change(SECOND, PREVIOUS, "ses-1", 1),
        change(THIRD, PREVIOUS, "ses-2", None),
        change(THIRD, FIRST, "ses-1", 7, {"another_head": "registration failed"}),
    ]
    assert timeline_points(views, VOLUMES)[2] == TimePoint("ses-3", 100, 4.0)


@pytest.mark.parametrize("since", ["", "ses-1"])
def test_the_line_starts_at_the_visit_compared_with(since: str, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.plot", lambda self, *given, **_: drawn.append(given))
    points = [TimePoint("ses-1"), TimePoint("ses-2", 365), TimePoint("ses-3", 365, None, 1.0, 2.0, 0.1, 0, since)]
    assert draw_timeline(points).startswith(b"<?xml")
    (((start, end), _, style),) = drawn
    assert end == pytest.approx(730 / 365.25)
    assert start == pytest.approx(0 if since else 365 / 365.25)
    assert style == ("--" if since else "-")
