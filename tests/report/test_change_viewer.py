from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bids_cascade.change.tracking import TrackedLesion
from bids_cascade.imaging.grid import Grid
from bids_cascade.report.change_viewer import change_viewer_page

READY = "new Promise(done => {const wait = () => window.viewer ? done(true) : setTimeout(wait, 20); wait()})"
TEXT = "document.querySelector('#lesion').textContent"
STABLE, NEW = (-8, 2, 3), (9, -4, 1)
"""Centres in mm."""


def make_comparison() -> Any:
    """Return two visits in cubes of grey: a stable lesion, and one that the later visit alone has."""
    shape, affine = (41, 31, 21), np.eye(4)
    affine[:3, 3] = -20, -15, -10
    earlier = np.zeros(shape, np.float32)
    earlier[4:-4, 4:-4, 4:-4] = 1
    later = earlier * 1.2
    labels = np.zeros(shape, np.int32)
    for number, centre in enumerate((STABLE, NEW), start=1):
        x, y, z = np.add(centre, (20, 15, 10))
        labels[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = number
    change = SimpleNamespace(before=labels == 1, after=labels > 0)
    lesions = (
        TrackedLesion(1, "stable", 27, 27, 0.2, 0.0, 0.0, 1, 1, STABLE),
        TrackedLesion(2, "new", 0, 27, 9.04, 1.0, 0.8, 0, 1, NEW),
    )
    result = SimpleNamespace(earlier=earlier, later=later, change=change, labels=labels, lesions=lesions)
    return SimpleNamespace(grid=Grid(shape, affine), result=result)


@pytest.fixture(scope="module")
def page() -> str:
    return change_viewer_page(make_comparison(), {1: 5, 2: 7}, ("ses-1", "ses-2"))


@pytest.fixture
def opened(page: str, browser: Any, tmp_path: Path) -> Any:
    path = tmp_path / "viewer.html"
    path.write_text(page, encoding="utf-8")
    tab = browser.open(path)
    assert tab.evaluate(READY)
    assert tab.problems == []
    yield tab
    tab.close()


def choose(opened: Any, name: str, value: str) -> None:
    opened.evaluate(
        f"(s => {{s.value = '{value}'; s.dispatchEvent(new Event('input'))}})(document.querySelector('[name={name}]'))"
    )


def test_it_starts_at_the_first_change_under_its_kept_number(opened: Any) -> None:
    assert opened.evaluate(TEXT) == "lesion 7, new, 0 to 27 mm³, z 9.0"
    assert opened.evaluate("document.querySelector('#place').textContent") == "9.0 R, 4.0 P, 1.0 S mm"
    assert opened.evaluate("[...document.querySelectorAll('#list button')].map(b => b.textContent)") == [
        "7 new",
        "5 stable",
    ]
    opened.evaluate("document.querySelector('#next').click()")
    assert opened.evaluate(TEXT).startswith("lesion 7"), "the only change"
    opened.evaluate("document.querySelectorAll('#list button')[1].click()")
    assert opened.evaluate(TEXT) == "lesion 5, stable, 27 to 27 mm³, z 0.2"
    opened.evaluate("document.querySelector('#previous').click()")
    assert opened.evaluate(TEXT).startswith("lesion 7"), "from a stable lesion, too"


def test_each_visit_shows_its_own_mask_in_the_colour_of_the_change(opened: Any) -> None:
    choose(opened, "layer", "mask")
    choose(opened, "opacity", "100")
    colours = opened.evaluate(
        """viewer.panels.map((panel) => {
          const { across, down } = viewer.planeOf(panel);
          const [x, y] = [across, down].map((axis, index) =>
            viewer.pixelOf(panel.canvas, panel, index, viewer.at[axis] + 0.5));
          return [...panel.canvas.getContext("2d").getImageData(x + 1, y + 1, 1, 1).data].slice(0, 3); })"""
    )
    assert len(set(colours[0])) == 1, "grey at the earlier visit"
    assert colours[1] == pytest.approx([0xFF, 0x5A, 0x4D], abs=4), "smoothed"
    legend = opened.evaluate("[...document.querySelectorAll('.legend span')].map(s => s.textContent)")
    assert legend == ["new 1", "enlarging 0", "stable 1", "shrinking 0", "resolved 0"]


def test_both_visits_move_together_in_every_plane(opened: Any) -> None:
    for axis, (width, height) in {"2": (41, 31), "1": (41, 21), "0": (31, 21)}.items():
        choose(opened, "axis", axis)
        sizes = opened.evaluate("viewer.panels.map(p => [p.canvas.width, p.canvas.height])")
        # The box around the brain has a margin of 3 voxels, within the volume: one less on each side.
        assert sizes == [[3 * (width - 2), 3 * (height - 2)]] * 2
    before = opened.evaluate("viewer.at[0]")
    opened.evaluate("viewer.panels[1].canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: 100}))")
    assert opened.evaluate("viewer.at[0]") == before - 1


def test_in_turn_one_canvas_shows_first_one_then_the_other(opened: Any) -> None:
    choose(opened, "view", "turn")
    assert opened.evaluate("viewer.panels.map(p => getComputedStyle(p.canvas).display)") == ["block", "none"]
    middle = """[...viewer.panels[0].canvas.getContext('2d')
        .getImageData(viewer.panels[0].canvas.width / 2, viewer.panels[0].canvas.height / 2, 1, 1).data][0]"""
    choose(opened, "layer", "none")
    opened.evaluate("viewer.turn = 0; viewer.draw()")
    first = opened.evaluate(middle)
    opened.evaluate("viewer.takeTurns()")
    assert opened.evaluate(middle) > first + 10, "the later visit is the brighter one"


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_cut_off_on_a_narrow_screen(opened: Any, width: int) -> None:
    opened.resize(width, 800)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_a_pair_without_a_result_has_nothing_to_show() -> None:
    with pytest.raises(ValueError, match="nothing to show"):
        change_viewer_page(SimpleNamespace(grid=None, result=None), {}, ("a", "b"))
