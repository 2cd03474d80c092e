import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from bids_cascade.report.mosaic import draw_mosaic, make_tile
from bids_cascade.report.planes import AXIAL

SVG = "{http://www.w3.org/2000/svg}"


def picture_of(element: ElementTree.Element) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(element.attrib["href"].partition(",")[2]))))


def test_pixels_outline_and_labels_of_one_tile() -> None:
    data, mask = np.full((10, 20, 3), 40, np.uint8), np.zeros((10, 20, 3), bool)
    data[:5], mask[2, 4, 1] = 200, True  # the half to the patient's left
    tile = make_tile([data], {"lesion": mask, "brain": np.zeros_like(mask)}, (2, 1, 5), AXIAL, 1, "7 <b>")
    root = ElementTree.fromstring(draw_mosaic([[tile]], "A <title>", 3))
    assert root.attrib["viewBox"] == "0 0 60 64"
    (image,) = root.findall(f"{SVG}image")
    pixels = picture_of(image)
    assert pixels.shape == (64, 60)
    assert pixels[30, 10] == pytest.approx(40, abs=3)
    assert pixels[30, 50] == pytest.approx(200, abs=3)
    # Voxel (2, 4) is the 8th of 10 columns and the 16th of 20 rows: 6 pixels wide from 42, 3 high from 45.
    (path,) = root.findall(f"{SVG}path")
    assert path.attrib["class"] == "outline lesion"
    corners = {tuple(map(float, one.split())) for one in path.attrib["d"].strip("MZ").split("L")}
    assert corners == {(42, 46.5), (45, 45), (48, 46.5), (45, 48)}
    assert [text.text for text in root.findall(f"{SVG}text")] == ["R", "L", "7 <b>"]
    assert root.find(f"{SVG}title").text == "A <title>"


def test_layers_come_and_go_and_rows_have_captions() -> None:
    dark, bright = np.full((4, 4, 2), 0, np.uint8), np.full((4, 4, 2), 255, np.uint8)
    tiles = [make_tile([dark, bright], {}, (1, 1, 1), AXIAL, index) for index in (0, 1)]
    drawn = draw_mosaic([tiles, tiles[:1]], "two", 10, captions=["first", "second"], layers=("T1w", "FLAIR"))
    root = ElementTree.fromstring(drawn)
    assert root.attrib["viewBox"] == f"0 0 84 {2 * (18 + 40 + 4)}"
    below, above = root.findall(f"{SVG}image")
    assert "class" not in below.attrib
    assert above.attrib["class"] == "above"
    assert picture_of(below)[30, 20] < 5
    assert picture_of(above)[30, 20] > 250
    texts = {text.text: text.attrib for text in root.findall(f"{SVG}text")}
    assert texts["second"]["y"] == str(62 + 18 - 5)
    assert (texts["T1w"]["class"], texts["FLAIR"]["class"]) == ("layer below", "layer above")
    assert drawn == draw_mosaic([tiles, tiles[:1]], "two", 10, captions=["first", "second"], layers=("T1w", "FLAIR"))


def test_colours_are_kept() -> None:
    red = np.zeros((4, 4, 1, 3), np.uint8)
    red[..., 0] = 200
    root = ElementTree.fromstring(draw_mosaic([[make_tile([red], {}, (1, 1, 1), AXIAL, 0)]], "red", 8))
    assert picture_of(root.find(f"{SVG}image"))[10, 10].tolist() == pytest.approx([200, 0, 0], abs=6)
