from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from bids_cascade.imaging.grid import Grid
from bids_cascade.report.visit_viewer import coarsened, viewer_page

READY = "new Promise(done => {const wait = () => window.viewer ? done(true) : setTimeout(wait, 20); wait()})"


@pytest.fixture(scope="module")
def page(visit_content: Any) -> str:
    one, _ = visit_content
    return viewer_page(one)


@pytest.fixture(scope="module")
def with_t1w(visit_content: Any) -> str:
    """Return the page of a FLAIR with a T1w image that is the brighter, the further behind."""
    one, _ = visit_content
    slope = np.broadcast_to(np.arange(one.scan.image.shape[1])[None, ::-1, None] + 1.0, one.scan.image.shape)
    t1w = nib.Nifti1Image(slope.astype(np.float32), one.scan.image.affine)
    return viewer_page(replace(one, t1w=t1w))


@pytest.fixture
def opened_with_t1w(with_t1w: str, browser: Any, tmp_path: Path) -> Any:
    path = tmp_path / "viewer.html"
    path.write_text(with_t1w, encoding="utf-8")
    one = browser.open(path)
    assert one.evaluate(READY)
    assert one.problems == []
    yield one
    one.close()


@pytest.fixture
def opened(page: str, browser: Any, tmp_path: Path) -> Any:
    path = tmp_path / "viewer.html"
    path.write_text(page, encoding="utf-8")
    one = browser.open(path)
    assert one.evaluate(READY)
    yield one
    one.close()


def content_of(page: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    content = json.loads(re.search(r'id="content">(.*?)</script>', page, re.DOTALL)[1])
    stacked = np.frombuffer(gzip.decompress(base64.b64decode(content["volumes"])), np.uint8)
    volumes, numbers = np.split(stacked, [len(content["names"]) * np.prod(content["shape"])])
    named = dict(zip(content["names"], volumes.reshape(len(content["names"]), -1), strict=True))
    named["numbers"] = numbers.view("<u4")
    return content, {name: one.reshape(content["shape"], order="F") for name, one in named.items()}


def test_voxels_are_those_of_the_scan_in_the_world_of_the_t1w(page: str) -> None:
    content, volumes = content_of(page)
    assert content["sizes_mm"] == [3, 3, 8]
    assert content["slices"]["axis"] == 2
    assert content["slices"]["count"] == 26
    for number, centre in enumerate(((30, 40, 20), (-30, -40, -20)), start=1):
        x, y, z = np.rint(apply_affine(np.array(content["from_world"]), centre)).astype(int)
        assert volumes["mask"][x, y, z] == 255
        assert volumes["image"][x, y, z] == 254, "the brightest, of even grey levels"
        assert volumes["probability"][x, y, z] == round(0.9 * 255)
        assert volumes["candidates"][x, y, z] == 255
        assert volumes["numbers"][x, y, z] == number
        assert volumes["mask"][-x, y, z] == volumes["numbers"][-x, y, z] == 0
    assert volumes["numbers"][volumes["mask"] > 0].all()
    np.testing.assert_allclose(np.array(content["to_world"]) @ content["from_world"], np.eye(4), atol=1e-9)
    assert not volumes["image"][volumes["image"] % 2 == 1].any()


def test_uncertainty_is_a_layer_where_there_is_one(page: str, visit_content: Any, browser: Any, tmp_path: Path) -> None:
    one, _ = visit_content
    assert "uncertainty" not in content_of(page)[1]
    assert 'value="uncertainty"' not in page
    half = nib.Nifti1Image(np.asarray(one.probability.dataobj) / 1.8, one.probability.affine)  # 0.5 in lesions
    with_it = viewer_page(replace(one, uncertainty=half))
    content, volumes = content_of(with_it)
    x, y, z = np.rint(apply_affine(np.array(content["from_world"]), (30, 40, 20))).astype(int)
    assert volumes["uncertainty"][x, y, z] == round(0.5 * 255)
    assert 'value="uncertainty"' in with_it
    path = tmp_path / "viewer.html"
    path.write_text(with_it, encoding="utf-8")
    tab = browser.open(path)
    assert tab.evaluate(READY)
    assert "uncertainty 0.50" in tab.evaluate("document.querySelector('#value').textContent")
    tab.close()


def test_page_asks_for_nothing_and_is_the_same_again(page: str, visit_content: Any) -> None:
    one, _ = visit_content
    assert not re.search(r"https?://", page)
    again = viewer_page(one)
    assert again == page


def test_coarsened_grid_keeps_its_extent() -> None:
    affine = np.array([[-0.5, 0, 0, 10], [0, 1, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1.0]])
    grid = Grid((200, 100, 25), affine)
    assert coarsened(grid, 500_000) is grid or coarsened(grid, 500_000).shape == grid.shape
    found = coarsened(grid, 100_000)
    assert np.prod(found.shape) <= 100_000
    assert found.shape[2] == 25, "the thick slices stay"
    before, after = (apply_affine(one.affine, [np.full(3, -0.5), np.array(one.shape) - 0.5]) for one in (grid, found))
    np.testing.assert_allclose(after, before, atol=1e-9)


def colours(opened: Any, panel: int) -> Any:
    """Return the colours at the crosshair's four neighbours of a panel, 40 pixels off."""
    return opened.evaluate(
        f"""(() => {{ const panel = viewer.panels[{panel}], {{ canvas }} = panel;
        const {{ across, down }} = viewer.planeOf(panel);
        const [x, y] = [across, down].map((axis, index) =>
          (1 - (viewer.at[axis] + 0.5) / viewer.shape[axis]) * (index ? canvas.height : canvas.width));
        return [[-9, -9], [9, 9]].map(([dx, dy]) =>
          [...canvas.getContext("2d").getImageData(x + dx, y + dy, 1, 1).data]); }})()"""
    )


def test_viewer_starts_at_the_largest_lesion_and_shows_it_red(opened: Any) -> None:
    assert opened.problems == []
    assert all(url.startswith(("file:", "data:")) for url in opened.requests)
    reading = opened.evaluate("document.querySelector('.reading').textContent")
    assert re.search(r"(29|30|31)\.\d R, (39|40|41)\.\d A, (16|17|18|19|20|21|22|23|24)\.\d S mm", reading)
    assert "probability 0.90 (stage 1: 1.00)" in reading
    assert "lesion 1" in reading
    for panel in range(3):
        for red, green, blue, _ in colours(opened, panel):
            assert red > green + 40
            assert abs(green - blue) < 10


def test_without_layer_the_scan_alone_is_seen(opened: Any) -> None:
    opened.evaluate("(s => {s.value = 'none'; s.dispatchEvent(new Event('input'))})(document.querySelector('select'))")
    for red, green, blue, _ in colours(opened, 0):
        assert red == green == blue
        assert red > 240


def test_the_patients_right_is_left(opened: Any) -> None:
    # The lesion lies on the patient's right, in front: left of and above the middle of the axial slice.
    x, y = opened.evaluate("[viewer.at[0] / viewer.shape[0], viewer.at[1] / viewer.shape[1]]")
    assert x > 0.6
    assert y > 0.6
    canvas = "viewer.panels[0].canvas"
    click = f"""(() => {{ const box = {canvas}.getBoundingClientRect();
      {canvas}.dispatchEvent(new PointerEvent("pointermove", {{ buttons: 1, pointerId: 1,
        clientX: box.left + 0.01 * box.width, clientY: box.top + 0.99 * box.height }})); return viewer.at; }})()"""
    assert opened.evaluate(click)[:2] == [opened.evaluate("viewer.shape[0] - 1"), 0]
    assert re.match(r"[\d.]+ R, [\d.]+ P,", opened.evaluate("document.querySelector('#place').textContent"))


NAMED = "document.querySelector('#lesion').textContent"


def test_the_lesion_under_the_crosshair_is_named_or_none(opened: Any) -> None:
    first, second = ([round(at) for at in opened.evaluate(CENTRE.format(index))] for index in (0, 1))
    assert opened.evaluate(NAMED) == "lesion 1"
    for place, name in ((second, "lesion 2"), ([1, 1, 1], "no lesion here"), (first, "lesion 1")):
        opened.evaluate(CLICK.format(*place))
        assert opened.evaluate("viewer.at") == place
        assert opened.evaluate(NAMED) == name
    opened.evaluate(CLICK.format(*second) + "; viewer.move(0, 4)")
    assert opened.evaluate(NAMED) == "no lesion here"
    opened.evaluate("document.querySelector('#next').click()")
    assert opened.evaluate(NAMED) == "lesion 1", "after lesion 2, the latest under the crosshair, comes the first"
    opened.evaluate("viewer.numbers.fill(0); viewer.move(0, 1)")
    assert opened.evaluate(NAMED) == "lesion on this image's grid alone, not in the table"


CENTRE = "multiply(viewer.from_world, viewer.lesions[{}].centre_mm)"
CLICK = """(([x, y, z]) => {{
  for (const [panel, across, down] of [[0, x, y], [1, x, z]]) {{
    const {{ canvas }} = viewer.panels[panel], plane = viewer.planeOf(viewer.panels[panel]);
    const box = canvas.getBoundingClientRect();
    const along = (value, axis) => 1 - (value + 0.5) / viewer.shape[axis];
    canvas.dispatchEvent(new PointerEvent("pointermove", {{ buttons: 1, pointerId: 1,
      clientX: box.left + along(across, plane.across) * box.width,
      clientY: box.top + along(down, plane.down) * box.height }}));
  }}
}})([{}, {}, {}])"""


def test_lesions_in_one_voxel_are_all_reached(opened: Any) -> None:
    opened.evaluate(
        "viewer.lesions[1].centre_mm = viewer.lesions[0].centre_mm; viewer.n_stops = 3;"
        "viewer.lesions.push({...viewer.lesions[0], number: 3})"
    )
    named = []
    for _ in range(3):
        opened.evaluate("document.querySelector('#next').click()")
        named.append(opened.evaluate(NAMED))
    assert named == ["lesion 2", "lesion 3", "lesion 1"]


def test_wheel_keys_buttons_and_address_move(opened: Any) -> None:
    def at() -> list[int]:
        return opened.evaluate("viewer.at")

    x, y, z = at()
    opened.evaluate("viewer.panels[0].canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: -100}))")
    assert at() == [x, y, z + 1]
    opened.evaluate("viewer.panels[2].canvas.dispatchEvent(new WheelEvent('wheel', {deltaY: 100}))")
    assert at() == [x - 1, y, z + 1]
    opened.evaluate("viewer.panels[1].canvas.focus()")
    opened.press("ArrowRight")
    assert at() == [x - 2, y, z + 1], "to the patient's left"
    for _ in range(2):
        opened.evaluate("document.querySelector('#next').click()")
    assert at() == [x, y, z], "after the last lesion comes the first"
    opened.evaluate(
        "new Promise(done => {addEventListener('hashchange', done, {once: true}); location.hash = '#lesion-2'})"
    )
    assert "lesion 2" in opened.evaluate("document.querySelector('.reading').textContent")
    assert at()[2] < z
    assert opened.problems == []


def choose(opened: Any, name: str, value: str) -> None:
    opened.evaluate(
        f"(s => {{s.value = '{value}'; s.dispatchEvent(new Event('input'))}})(document.querySelector('[name={name}]'))"
    )


def test_the_t1w_is_another_background(page: str, opened_with_t1w: Any) -> None:
    assert 'name="background"' not in page, "where there is none"
    choose(opened_with_t1w, "layer", "none")
    flair = colours(opened_with_t1w, 0)
    choose(opened_with_t1w, "background", "t1w")
    x, y, z = opened_with_t1w.evaluate("viewer.at")
    grey = opened_with_t1w.evaluate(f"viewer.volumes.t1w[viewer.offset({x}, {y}, {z})]")
    assert all(abs(red - grey) < 12 and red == green == blue for red, green, blue, _ in colours(opened_with_t1w, 0))
    assert grey < min(red for red, *_ in flair) - 40, "the lesion lies in front"


def test_outlines_leave_the_lesion_to_be_seen(opened: Any) -> None:
    choose(opened, "layer", "outline")
    for red, green, blue, _ in colours(opened, 0):
        assert red == green == blue > 240
    reds = """(() => { const { canvas } = viewer.panels[0];
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const xs = [], ys = [];
      for (let at = 0; at < data.length; at += 4) {
        if (data[at] > 200 && data[at + 1] < 120) {
          xs.push((at / 4) % canvas.width); ys.push(Math.floor(at / 4 / canvas.width));
        }
      }
      return [xs, ys].map((one) => Math.max(...one) - Math.min(...one)); })()"""
    box = """[0, 1].map((axis) => { const at = [];
      for (let x = 0; x < viewer.shape[0]; x++) for (let y = 0; y < viewer.shape[1]; y++)
        if (viewer.volumes.mask[viewer.offset(x, y, viewer.at[2])]) at.push([x, y][axis]);
      return Math.max(...at) - Math.min(...at) + 1; })"""
    for size, voxels, voxel_mm in zip(opened.evaluate(reds), opened.evaluate(box), (3, 3), strict=True):
        assert abs(size - 3 * voxel_mm * voxels) <= 4, "3 pixels a mm, and the line's own width"


def test_zoomed_in_a_click_goes_to_what_is_under_the_pointer(opened: Any) -> None:
    at = opened.evaluate("viewer.at")
    opened.evaluate("document.querySelector('#larger').click(); document.querySelector('#larger').click()")
    assert opened.evaluate("document.querySelector('#factor').textContent").startswith("2.3")
    assert opened.evaluate("viewer.at") == at
    click = """(() => { const { canvas } = viewer.panels[0], box = canvas.getBoundingClientRect();
      canvas.dispatchEvent(new PointerEvent("pointermove", { buttons: 1, pointerId: 1,
        clientX: box.left + 0.999 * box.width, clientY: box.top + 0.5 * box.height })); return viewer.at[0]; })()"""
    first, count = opened.evaluate("viewer.view(0)")
    assert count == pytest.approx(opened.evaluate("viewer.shape[0]") / 1.5**2)
    assert opened.evaluate(click) == int(first + 0.001 * count)
    opened.evaluate("viewer.move(0, -5)")
    assert opened.evaluate("viewer.view(0)[0] <= viewer.at[0]"), "what is shown goes along"
    opened.evaluate("document.querySelector('#next').click(); viewer.magnify(0.01)")
    assert opened.evaluate("[viewer.zoom, ...viewer.view(0)]") == [1, 0, opened.evaluate("viewer.shape[0]")]


def test_a_scale_says_what_colours_mean(opened: Any) -> None:
    assert opened.evaluate("document.querySelector('.scale').hidden")
    choose(opened, "layer", "probability")
    assert not opened.evaluate("document.querySelector('.scale').hidden")
    assert opened.evaluate("document.querySelector('.scale').innerText.split(/\\s+/).filter(Boolean)") == ["0", "1"]
    ends = opened.evaluate(
        "[0, 109].map(x => [...document.querySelector('.scale canvas').getContext('2d').getImageData(x, 5, 1, 1).data])"
    )
    assert ends == [[89, 0, 150, 255], [255, 255, 0, 255]]


def test_lesions_can_be_coloured_by_region(visit_content: Any, page: str, browser: Any, tmp_path: Path) -> None:
    assert "coloured by region" not in page, "where regions are not known"
    one, _ = visit_content
    located = replace(one, locations=["deep_white_matter", "periventricular"])
    path = tmp_path / "viewer.html"
    path.write_text(viewer_page(located), encoding="utf-8")
    tab = browser.open(path)
    assert tab.evaluate(READY)
    choose(tab, "opacity", "100")
    assert tab.evaluate("document.querySelector('.legend').hidden")
    assert tab.problems == []
    tab.evaluate("document.querySelector('[name=kinds]').click()")
    assert tab.evaluate("[...document.querySelectorAll('.legend span')].map(s => s.textContent)") == [
        "infratentorial 0",
        "periventricular 1",
        "juxtacortical 0",
        "deep white matter 1",
    ]
    for name, red_green_blue in (
        ("lesion 1, deep white matter", [0xFF, 0x3B, 0x3B, 255]),
        ("lesion 2, periventricular", [0xFF, 0x8C, 0x1A, 255]),
    ):
        assert tab.evaluate(NAMED) == name
        assert tab.evaluate("viewer.colourAt(viewer.offset(...viewer.at))") == red_green_blue[:3]
        tab.evaluate("document.querySelector('#next').click()")
    assert np.allclose(colours(tab, 0), [0xFF, 0x3B, 0x3B, 255], atol=4), "the mask is drawn in it"
    tab.close()


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_cut_off_on_a_narrow_screen(opened_with_t1w: Any, width: int) -> None:
    opened_with_t1w.resize(width, 800)
    assert opened_with_t1w.evaluate("document.documentElement.scrollWidth") <= width
