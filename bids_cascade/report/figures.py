"""The figures of a visit, each as an SVG document."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.zones import ZONE_NAMES, Region, Zone
from bids_cascade.cascade.gate import open_gate
from bids_cascade.imaging.grid import grid_of, resample
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.imaging.scan import Scan, slice_axis
from bids_cascade.report.mosaic import Tile, draw_mosaic, make_tile
from bids_cascade.report.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    bounding_box,
    grey_levels,
    sizes_of,
    spread_indices,
    window_of,
)

FIELD_RANGE_PERCENT = 40
"""A bias field this much above 1 is full red, this much below full blue."""

MOST_SLICES = 48

_SHOWN_REGIONS = {
    "ventricles": (Region.LATERAL_VENTRICLES,),
    "cortex": (Region.CORTEX,),
    "infratentorial": (Region.BRAINSTEM, Region.CEREBELLUM, Region.FOURTH_VENTRICLE),
}
_MARGIN_MM = 6.0
_HEAD_MARGIN_MM = 18.0


def draw_lesions(scan: Scan, lesion: nib.Nifti1Image, first: nib.Nifti1Image, gate: tuple[float, float]) -> bytes:
    """Draw the scan in the planes of its acquisition, with the candidates of stage 1 and the lesions of the final mask.

    Parameters
    ----------
    scan : Scan
        The FLAIR.
    lesion, first : nibabel.Nifti1Image
        Mask and stage 1's probability, on the grid of the scan.
    gate : pair of float
        Which voxels are candidates, see :func:`bids_cascade.cascade.gate.open_gate`.
    """
    inside, sizes_mm, axis = mask_of(scan.brain), sizes_of(scan.brain), slice_axis(scan.brain)
    box = bounding_box(inside, sizes_mm, _MARGIN_MM)
    shown, inside = scan.image.slicer[box], inside[box]
    masks = {"candidate": open_gate(data_of(first.slicer[box]), gate), "lesion": mask_of(lesion.slicer[box])}
    grey = grey_levels(data_of(shown), *window_of(data_of(shown), inside))
    indices = spread_indices(*_extent(inside, axis), MOST_SLICES)
    tiles = [make_tile([grey], masks, sizes_mm, axis, index, f"{index + 1 + box[axis].start}") for index in indices]
    return draw_mosaic(_in_rows(tiles, 6), "The FLAIR image with the outlines of candidates and lesions", 1.4)


def draw_brain(scan: Scan, name: str) -> bytes:
    """Draw the brain mask's outline in three planes on the image it was found in, called `name`."""
    shown, inside = _around_brain(scan)
    rows = _three_planes([data_of(shown)], inside, shown, axial_rows=2)
    return draw_mosaic(rows, f"The {name} image in three planes with the outline of the brain mask", 1.2)


def draw_registration(t1w: Scan, moved: Scan, name: str) -> bytes:
    """Draw the T1w image and another sequence, called `name`, in turn, with the brain's outline.

    Parameters
    ----------
    t1w : Scan
    moved : Scan
        The other sequence, corrected or not.
    name : str
    """
    shown, inside = _around_brain(t1w)
    over = resample(moved.image, grid_of(shown), 1, moved.t1w_to_own)
    rows = _three_planes([data_of(shown), data_of(over)], inside, shown, axial_rows=1)
    title = f"The T1w image and the registered {name} image, coming and going"
    return draw_mosaic(rows, title, 1.2, layers=("T1w", name))


def draw_bias(raw: nib.Nifti1Image, scan: Scan) -> bytes:
    """Draw a sequence before and after bias correction, both on one grid, and the bias field."""
    inside, sizes_mm, axis = mask_of(scan.brain), sizes_of(scan.brain), slice_axis(scan.brain)
    box = bounding_box(inside, sizes_mm, _MARGIN_MM)
    inside, before, after = inside[box], data_of(raw)[box], data_of(scan.image)[box]
    window = window_of(before, inside)
    indices = spread_indices(*_extent(inside, axis), 6)
    field = _divided(before, after).take(indices, axis)
    pictures = [grey_levels(volume.take(indices, axis), *window) for volume in (before, after)]
    pictures.append(_coloured(field, inside.take(indices, axis)))
    rows = [[make_tile([picture], {}, sizes_mm, axis, index) for index in range(len(indices))] for picture in pictures]
    captions = ["before", "after", f"field, from -{FIELD_RANGE_PERCENT} % (blue) to +{FIELD_RANGE_PERCENT} % (red)"]
    return draw_mosaic(rows, "Slices before and after bias correction, and the field", 1.2, captions)


def draw_anatomy(scan: Scan, regions: NDArray[np.uint8], zones: NDArray[np.integer]) -> bytes:
    """Draw the outlines of lateral ventricles, cortex, and brainstem with cerebellum, on the T1w image, with lesions.

    Parameters
    ----------
    scan : Scan
        The T1w image.
    regions : (X, Y, Z) uint8 array
        :class:`~bids_cascade.anatomy.zones.Region` of each voxel of its grid.
    zones : (X, Y, Z) integer array
        :class:`~bids_cascade.anatomy.zones.Zone` of each voxel's lesion, 0 where there is none.
    """
    inside, sizes_mm = mask_of(scan.brain), sizes_of(scan.brain)
    box = bounding_box(inside, sizes_mm, _MARGIN_MM)
    masks = {kind: np.isin(regions[box], numbers) for kind, numbers in _SHOWN_REGIONS.items()}
    masks |= {f"lesion-{ZONE_NAMES[zone].replace('_', '-')}": zones[box] == zone for zone in Zone}
    inside, data = inside[box], data_of(scan.image)[box]
    window = window_of(data, inside)
    rows = []
    for axis, count, length in ((AXIAL, 14, 7), (CORONAL, 7, 7)):
        indices = spread_indices(*_extent(inside, axis), count)
        cut = [grey_levels(data.take(indices, axis), *window)]
        taken = {kind: mask.take(indices, axis) for kind, mask in masks.items()}
        tiles = [make_tile(cut, taken, sizes_mm, axis, number) for number in range(len(indices))]
        rows += _in_rows(tiles, length)
    return draw_mosaic(rows, "Slices of the T1w image with outlines of ventricles, cortex and cerebellum", 1.2)


def draw_sizes(volumes_mm3: Sequence[float]) -> bytes:
    """Draw the distribution of lesion volumes, and their cumulative fraction of the total volume.

    Parameters
    ----------
    volumes_mm3 : sequence of float
        Of each lesion; may be empty.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    style: Any = {"svg.hashsalt": "bids_cascade", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7.5, 2.5))
        canvas = FigureCanvasSVG(figure)
        edges = np.geomspace(1, 1e5, 21)
        volumes = np.clip(np.asarray(volumes_mm3, float), edges[0], edges[-1])
        # A constrained layout would draw everything twice to measure the space.
        sides = {"left": 0.1, "right": 0.97, "bottom": 0.21, "top": 0.95, "wspace": 0.3}
        for axes, weights, label in zip(
            figure.subplots(1, 2, gridspec_kw=sides), (None, volumes / 1000), ("lesions", "volume (ml)"), strict=True
        ):
            axes.hist(volumes, edges, weights=weights, color="#0b5c75", edgecolor="white", linewidth=0.6)
            axes.set(xscale="log", xlabel="volume of a lesion (mm³)", ylabel=label)
            if not len(volumes):
                axes.set_ylim(0, 1)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_locator(NullLocator())  # they would take half the time
            axes.spines[["top", "right"]].set_visible(False)
            axes.yaxis.get_major_locator().set_params(integer=weights is None)
        content = io.BytesIO()
        # Not savefig, which first draws everything once more to measure its size.
        canvas.print_svg(content, metadata={"Date": None, "Creator": None})
    return content.getvalue()


def _around_brain(scan: Scan) -> tuple[nib.Nifti1Image, NDArray[np.bool_]]:
    """Return the image cropped to the brain, and the brain mask in it."""
    inside = mask_of(scan.brain)
    box = bounding_box(inside, sizes_of(scan.brain), _HEAD_MARGIN_MM)
    return scan.image.slicer[box], inside[box]


def _three_planes(
    volumes: Sequence[NDArray[np.float32]], inside: NDArray[np.bool_], image: nib.Nifti1Image, axial_rows: int
) -> list[list[Tile]]:
    """Return rows of axial, coronal and sagittal slices through a brain, of about equal width."""
    windows = [window_of(volume, inside) for volume in volumes]
    rows = []
    for axis, count, length in ((AXIAL, 7 * axial_rows, 7), (CORONAL, 7, 7), (SAGITTAL, 6, 6)):
        indices = spread_indices(*_extent(inside, axis), count)
        cut = [
            grey_levels(volume.take(indices, axis), *window) for volume, window in zip(volumes, windows, strict=True)
        ]
        brain = {"brain": inside.take(indices, axis)}
        tiles = [make_tile(cut, brain, sizes_of(image), axis, number) for number in range(len(indices))]
        rows += _in_rows(tiles, length)
    return rows


def _in_rows(tiles: Sequence[Tile], length: int) -> list[list[Tile]]:
    return [list(tiles[start : start + length]) for start in range(0, len(tiles), length)]


def _extent(inside: NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """Return a mask's first slice and the one after its last; all slices if the mask is empty."""
    slices = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
    return (int(slices[0]), int(slices[-1]) + 1) if len(slices) else (0, inside.shape[axis])


def _divided(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a smooth quotient; a voxel that is 0 in both takes that of its neighbours, or 1."""
    known = after != 0
    quotient = np.divide(before, after, out=np.zeros_like(before), where=known)
    total = ndimage.uniform_filter(quotient, 5)
    weight = ndimage.uniform_filter(known.astype(np.float32), 5)
    return np.asarray(np.divide(total, weight, out=np.ones_like(total), where=weight > 1e-3), np.float32)


def _coloured(field: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a bias field, (X, Y, Z), as colours, (X, Y, Z, 3): white for 1, black outside the brain."""
    fraction = np.clip((field - 1) * (100 / FIELD_RANGE_PERCENT), -1, 1)[..., None]
    blue, red = np.array([38, 92, 180]), np.array([190, 40, 40])
    colours = 255 + np.where(fraction > 0, fraction * (red - 255), -fraction * (blue - 255))
    return np.where(inside[..., None], colours, 0).astype(np.uint8)
