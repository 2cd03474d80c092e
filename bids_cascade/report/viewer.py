"""The viewer of a visit or of a pair of visits: a page of slices through volumes, with the lesions as a layer."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from bids_cascade.imaging.grid import Grid
from bids_cascade.report.page import render_bare

ONE_COLOUR = "#ff3b3b"
"""Of lesions that are not coloured by kind."""


@dataclass(frozen=True)
class ViewerPanel:
    """One of the synchronised canvases.

    Attributes
    ----------
    name : str
    mask : str
        The volume with lesion as 255.
    image : str, optional
        The volume to show; None if the user chooses.
    axis : int, optional
        The axis perpendicular to its plane; None if the user chooses.
    """

    name: str
    mask: str
    image: str | None = None
    axis: int | None = None


@dataclass(frozen=True)
class ViewerLesion:
    """A lesion that the page can show.

    Attributes
    ----------
    number : int
        Its value in the volume of numbers, and in the page's address: ``#lesion-3``.
    centre_mm : tuple of float
        In the page's world.
    kind : str
        One of the kinds with a colour; empty for none.
    details : str
        Text on the page, beside its number and its kind.
    """

    number: int
    centre_mm: tuple[float, float, float]
    kind: str = ""
    details: str = ""


@dataclass(frozen=True)
class SliceNumbers:
    """The numbers of the volume's slices in the image that they come from.

    Attributes
    ----------
    axis : int
    first : int
        The number of the first one.
    per_voxel : float
        Slices of the image in one of the volume.
    count : int
        Of the image.
    """

    axis: int
    first: int
    per_voxel: float
    count: int


@dataclass(frozen=True, eq=False)
class ViewerContent:
    """The content of a viewer.

    Attributes
    ----------
    grid : Grid
        Of all volumes.
    to_world : (4, 4) array
        Its voxels to the page's world, in mm.
    volumes : mapping of str to (X, Y, Z) uint8 array
        Images, masks and maps by name; a map has 255 for 1.
    numbers : (X, Y, Z) integer array
        Number of the lesion in each voxel, 0 where there is none.
    panels : sequence of ViewerPanel
    lesions : sequence of ViewerLesion
        The page starts at the first.
    colours : mapping of str to str
        By kind of lesion; empty if lesions are not coloured by kind.
    n_stops : int
        The buttons step through this many lesions, from the first.
    slices : SliceNumbers, optional
    """

    grid: Grid
    to_world: NDArray[np.float64]
    volumes: Mapping[str, NDArray[np.uint8]]
    numbers: NDArray[np.integer]
    panels: Sequence[ViewerPanel]
    lesions: Sequence[ViewerLesion]
    colours: Mapping[str, str]
    n_stops: int
    slices: SliceNumbers | None = None


@dataclass(frozen=True)
class ViewerTexts:
    """The texts of a viewer.

    Attributes
    ----------
    title : str
    kind : str
        The kind by which lesions are coloured, such as ``region``.
    coloured : bool
        Whether the page starts with lesions coloured by it.
    listed : bool
        Whether the page has a button for each lesion.
    stop : str
        The buttons' target: ``lesion`` or ``change``.
    backgrounds, layers : mapping of str to str
        Names on the page by volume; layers also include ``mask``, ``outline`` and ``none``.
    hint : str
        The world of the positions.
    """

    title: str
    kind: str
    coloured: bool
    listed: bool
    stop: str
    backgrounds: Mapping[str, str]
    layers: Mapping[str, str]
    hint: str


def render_viewer(content: ViewerContent, texts: ViewerTexts) -> str:
    """Return the page as one self-contained HTML file."""
    stacked = b"".join(volume.tobytes(order="F") for volume in content.volumes.values())
    stacked += content.numbers.astype("<u4").tobytes(order="F")
    data: dict[str, Any] = {
        "shape": content.grid.shape,
        "sizes_mm": voxel_sizes(content.grid.affine).tolist(),
        "to_world": content.to_world.tolist(),
        "from_world": np.linalg.inv(content.to_world).tolist(),
        "slices": None if content.slices is None else asdict(content.slices),
        "names": list(content.volumes),
        "volumes": base64.b64encode(gzip.compress(stacked, 6, mtime=0)).decode(),
        "panels": [asdict(panel) for panel in content.panels],
        "lesions": [asdict(lesion) for lesion in content.lesions],
        "one_colour": ONE_COLOUR,
        "kinds": list(content.colours.items()),  # a list keeps its order
        "n_stops": content.n_stops,
    }
    return render_bare(
        "viewer.html", title=texts.title, scripts=["viewer.js"], styles=["viewer.css"], content=data, texts=texts
    )


def even_levels(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey levels without odd ones: the page is then a fifth smaller."""
    return levels & np.uint8(0xFE)
