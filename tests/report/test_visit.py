import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from bids_cascade.anatomy.structures import Structure
from bids_cascade.report.visit import draw_regions

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def named(drawn: list[Path]) -> dict[str, Path]:
    return {path.name.removeprefix("desc-"): path for path in drawn}


def test_all_figures_are_there(named: dict[str, Path]) -> None:
    assert set(named) == {
        "quality_stats.tsv",
        "quality_stats.json",
        "lesions_FLAIR.svg",
        "viewer_FLAIR.html",
        "brain_T1w.svg",
        "registration_FLAIR.svg",
        "bias_T1w.svg",
        "bias_FLAIR.svg",
        "sizes_dseg.svg",
    }
    for name, path in named.items():
        if name.endswith(".svg"):
            ElementTree.parse(path)


def test_lesions_are_outlined_where_they_are(named: dict[str, Path]) -> None:
    root = ElementTree.parse(named["lesions_FLAIR.svg"]).getroot()
    kinds = [path.attrib["class"].split()[1] for path in root.iter(f"{SVG}path")]
    # Of slices 8 mm apart, three show the large lesion and one the small one.
    assert kinds.count("lesion") == kinds.count("candidate") == 4
    assert "brain" not in kinds
    numbers = [text.text for text in root.iter(f"{SVG}text") if text.text not in ("R", "L")]
    assert numbers == [str(number) for number in range(int(numbers[0]), int(numbers[0]) + len(numbers))]


def test_brain_is_outlined_in_every_slice(named: dict[str, Path]) -> None:
    for name in ("brain_T1w.svg", "registration_FLAIR.svg"):
        root = ElementTree.parse(named[name]).getroot()
        sides = [text.text for text in root.iter(f"{SVG}text") if text.text in "RLAP"]
        assert len(list(root.iter(f"{SVG}path"))) == len(sides) / 2
        assert sides.count("A") == sides.count("P") == 6


def test_registered_sequences_lie_over_each_other(named: dict[str, Path]) -> None:
    root = ElementTree.parse(named["registration_FLAIR.svg"]).getroot()
    fixed, moved = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(one.attrib["href"].partition(",")[2]))), float)
        for one in root.iter(f"{SVG}image")
    )
    assert np.corrcoef(fixed.ravel(), moved.ravel())[0, 1] > 0.9


def test_quality_is_beside_them(named: dict[str, Path]) -> None:
    header, row = named["quality_stats.tsv"].read_text().splitlines()
    values = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert header.split("\t")[-1] == "quality_flags"
    assert values["registration_similarity_flair"] == "0.15"
    assert values["ghosting_flair"] == "n/a"
    assert values["quality_flags"] == "n/a"


def test_same_content_same_bytes(named: dict[str, Path], visit_content: Any, draw: Any, tmp_path: Path) -> None:
    drawn = {path.name.removeprefix("desc-"): path for path in draw(*visit_content, tmp_path)}
    assert drawn.keys() == named.keys()
    for name, path in drawn.items():
        assert path.read_bytes() == named[name].read_bytes(), name


def test_a_lost_brain_is_drawn_as_well(visit_content: Any, draw: Any, tmp_path: Path) -> None:
    found, t1w = visit_content
    nowhere = nib.Nifti1Image(np.zeros(found.scan.brain.shape, np.uint8), found.scan.brain.affine)
    found = replace(found, scan=replace(found.scan, brain=nowhere), lesions=[])
    assert len(draw(found, t1w, tmp_path, similarity=0.01)) == 9
    row = (tmp_path / "desc-quality_stats.tsv").read_text().splitlines()[1]
    assert row.endswith("registration_looks_failed")


def test_each_lesion_is_located_by_the_structure_around_it(visit_content: Any, tmp_path: Path) -> None:
    """The whole brain is white matter but for a box of cerebellum around the smaller lesion."""
    found, t1w = visit_content
    structures = np.full(t1w.image.shape, Structure.WHITE_MATTER + 1, np.uint8)
    structures[:25, :25, :25] = Structure.CEREBELLUM + 1
    image = nib.Nifti1Image(structures, t1w.image.affine)
    (figure,), locations = draw_regions("T1w", t1w, image, found.labels, tmp_path)
    assert locations == ["deep_white_matter", "infratentorial"]
    assert figure == tmp_path / "desc-anatomy_T1w.svg"
    assert ElementTree.parse(figure).getroot().tag == f"{SVG}svg"


def test_without_structures_there_is_no_figure_of_the_anatomy(visit_content: Any, tmp_path: Path) -> None:
    found, t1w = visit_content
    assert draw_regions("T1w", t1w, None, found.labels, tmp_path) == ([], [])
    assert list(tmp_path.iterdir()) == []
