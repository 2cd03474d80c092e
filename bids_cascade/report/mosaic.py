"""Mosaics of slices as SVG: pixels as JPEG, outlines as paths that stay sharp and hide under the pointer."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from bids_cascade.report.planes import SIDES, Sizes, displayed, pixel_mm

OUTLINE_COLOURS = {
    "brain": "#39c2ff",
    "candidate": "#ffd23f",
    "lesion": "#ff3b3b",
    "ventricles": "#d48bff",
    "cortex": "#39c2ff",
    "infratentorial": "#8d99a6",
    "lesion-infratentorial": "#57d977",
    "lesion-periventricular": "#ff8c1a",
    "lesion-juxtacortical": "#ffe14d",
    "lesion-deep-white-matter": "#ff3b3b",
}
"""By kind of outline; pages explain them in the same colours."""

_LESION_COLOURS = {kind: colour for kind, colour in OUTLINE_COLOURS.items() if kind.startswith("lesion-")}
_JPEG_QUALITY = 80
_GAP = 4
_CAPTION_HEIGHT = 18
_STYLE = f"""
svg{{background:#000}}
text{{font:12px system-ui,sans-serif;fill:#cfd3d8}}
.outline{{fill:none;stroke-linejoin:round;vector-effect:non-scaling-stroke}}
.brain{{stroke:{OUTLINE_COLOURS["brain"]};stroke-width:1}}
.candidate{{stroke:{OUTLINE_COLOURS["candidate"]};stroke-width:1;stroke-opacity:.55;stroke-dasharray:2 1.5}}
.lesion{{stroke:{OUTLINE_COLOURS["lesion"]};stroke-width:1.3}}
.ventricles{{stroke:{OUTLINE_COLOURS["ventricles"]};stroke-width:1}}
.cortex{{stroke:{OUTLINE_COLOURS["cortex"]};stroke-width:.7;stroke-opacity:.8}}
.infratentorial{{stroke:{OUTLINE_COLOURS["infratentorial"]};stroke-width:1}}
{"".join(f".{kind}{{stroke:{colour};stroke-width:1.3}}" for kind, colour in _LESION_COLOURS.items())}
svg:hover .outline{{visibility:hidden}}
.layer{{font-size:18px;fill:#fff}}
.above{{animation:leave 2.4s steps(1) infinite}}
.below{{opacity:0;animation:come 2.4s steps(1) infinite}}
@keyframes leave{{50%{{opacity:0}}}}
@keyframes come{{50%{{opacity:1}}}}
svg:active .above,svg:active .below{{animation-play-state:paused}}
@media (prefers-reduced-motion:reduce){{
.above,.below{{animation:none}}svg:hover .above{{opacity:0}}svg:hover .below{{opacity:1}}}}
"""


@dataclass(frozen=True, eq=False)
class Tile:
    """One slice of a mosaic.

    Attributes
    ----------
    pictures : tuple of (rows, columns) or (rows, columns, 3) uint8 ndarray
        Pixels; several layers are shown in turn.
    height_mm, width_mm : float
    outlines : mapping of str to (rows, columns) bool ndarray
        By kind, one of :data:`OUTLINE_COLOURS`.
    sides : tuple of str
        Labels of the left and right edge.
    label : str
        Caption below.
    """

    pictures: tuple[NDArray[np.uint8], ...]
    height_mm: float
    width_mm: float
    outlines: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    sides: tuple[str, str] = ("", "")
    label: str = ""


def make_tile(
    pictures: Sequence[NDArray[np.uint8]],
    masks: Mapping[str, NDArray[np.bool_]],
    sizes_mm: Sizes,
    axis: int,
    index: int,
    label: str = "",
) -> Tile:
    """Cut one slice out of RAS+ volumes on one grid, (X, Y, Z) each.

    Parameters
    ----------
    pictures : sequence of (X, Y, Z) or (X, Y, Z, 3) uint8 arrays
    masks : mapping of str to (X, Y, Z) bool array
        To outline, by name.
    sizes_mm : sequence of float
        Voxel size along X, Y and Z.
    axis, index : int
        Of the slice.
    label : str
        Caption below.
    """
    cut = tuple(displayed(picture, axis, index) for picture in pictures)
    row_mm, column_mm = pixel_mm(sizes_mm, axis)
    rows, columns = cut[0].shape[:2]
    outlines = {kind: displayed(mask, axis, index) for kind, mask in masks.items()}
    return Tile(cut, rows * row_mm, columns * column_mm, outlines, SIDES[axis], label)


def draw_mosaic(
    rows: Sequence[Sequence[Tile]],
    title: str,
    pixels_per_mm: float,
    captions: Sequence[str] = (),
    layers: tuple[str, ...] = (),
) -> bytes:
    """Return rows of tiles as an SVG document.

    Parameters
    ----------
    rows : sequence of sequence of Tile
        From the top; at least one tile.
    title : str
        Alternative text.
    pixels_per_mm : float
        One scale for all tiles.
    captions : sequence of str
        One above each row; none by default.
    layers : tuple of str
        Names of the tiles' two layers, shown with them.
    """
    boxes, top = _lay_out(rows, pixels_per_mm, _CAPTION_HEIGHT if captions else 0)
    width = max(box.left + box.width for box in boxes)
    parts = [_picture(boxes, layer, top, width) for layer in range(len(rows[0][0].pictures))]
    parts += [_outlines(box) + _labels(box) for box in boxes]
    first_of_row = [boxes[index] for index in accumulate(map(len, rows[:-1]), initial=0)]
    parts += [
        f'<text x="4" y="{box.top - 5}">{escape(caption)}</text>'
        for box, caption in zip(first_of_row, captions, strict=False)
    ]
    parts += [
        f'<text class="layer {css}" x="{width - 8}" y="{top - 12}" text-anchor="end">{escape(name)}</text>'
        for css, name in zip(("below", "above"), layers, strict=False)
    ]
    size = f'viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", *parts, "</svg>\n"]).encode()


@dataclass(frozen=True, eq=False)
class _Box:
    """A tile and its position, in pixels."""

    tile: Tile
    top: int
    left: int
    height: int
    width: int


def _lay_out(rows: Sequence[Sequence[Tile]], pixels_per_mm: float, above: int) -> tuple[list[_Box], int]:
    """Return the boxes of rows of tiles, each row with a gap above it, and the total height."""
    boxes, top = [], 0
    for row in rows:
        top += above
        left = 0
        for tile in row:
            height, width = round(tile.height_mm * pixels_per_mm), round(tile.width_mm * pixels_per_mm)
            boxes.append(_Box(tile, top, left, max(1, height), max(1, width)))
            left += width + _GAP
        top += max(box.height for box in boxes[-len(row) :]) + _GAP
    return boxes, top


def _picture(boxes: Sequence[_Box], layer: int, height: int, width: int) -> str:
    """Return one layer of all tiles' pixels as an SVG element; layers after the first are shown in turn."""
    from PIL import Image

    colour = any(box.tile.pictures[layer].ndim == 3 for box in boxes)
    canvas = Image.new("RGB" if colour else "L", (width, height))
    for box in boxes:
        picture = Image.fromarray(np.ascontiguousarray(box.tile.pictures[layer]))
        canvas.paste(picture.resize((box.width, box.height), Image.Resampling.BILINEAR), (box.left, box.top))
    content = io.BytesIO()
    canvas.save(content, "JPEG", quality=_JPEG_QUALITY)
    data = base64.b64encode(content.getvalue()).decode()
    css = ' class="above"' if layer else ""
    return f'<image{css} width="{width}" height="{height}" href="data:image/jpeg;base64,{data}"/>'


def _outlines(box: _Box) -> str:
    return "".join(
        f'<path class="outline {kind}" d="{path}"/>'
        for kind, mask in box.tile.outlines.items()
        if (path := _path(mask, box))
    )


def _path(mask: NDArray[np.bool_], box: _Box) -> str:
    """Return the outline of a mask, (rows, columns), as SVG path data."""
    if not mask.any():
        return ""
    from contourpy import contour_generator

    # Padded, so that outlines at the slice's edge are closed; a voxel's centre is half a voxel from its corner.
    lines = contour_generator(z=np.pad(mask, 1).astype(np.float32)).lines(0.5)
    scale = np.array([box.width / mask.shape[1], box.height / mask.shape[0]])
    moved = [(np.asarray(line) - 0.5) * scale + (box.left, box.top) for line in lines]
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line[:-1]) + "Z" for line in moved)


def _labels(box: _Box) -> str:
    left, right, (at_left, at_right) = box.left + 3, box.left + box.width - 3, box.tile.sides
    texts = [(left, box.top + 13, "start", at_left), (right, box.top + 13, "end", at_right)]
    texts.append((left, box.top + box.height - 4, "start", box.tile.label))
    return "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>' for x, y, anchor, text in texts if text
    )
