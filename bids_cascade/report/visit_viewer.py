"""The viewer of one visit: three planes of the FLAIR or the T1w with the lesions as a layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.zones import ZONE_NAMES
from bids_cascade.imaging.grid import Grid, grid_of, resample
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.imaging.scan import slice_axis
from bids_cascade.lesions.components import Lesion
from bids_cascade.report.findings import Findings
from bids_cascade.report.lesion_numbers import lesion_numbers
from bids_cascade.report.mosaic import OUTLINE_COLOURS
from bids_cascade.report.planes import AXIAL, CORONAL, SAGITTAL, bounding_box, grey_levels, sizes_of, window_of
from bids_cascade.report.viewer import (
    SliceNumbers,
    ViewerContent,
    ViewerLesion,
    ViewerPanel,
    ViewerTexts,
    even_levels,
    render_viewer,
)

MOST_VOXELS = 4_000_000
"""A finer volume is shown on a coarser grid, so that its page stays small."""

_PLANES = {AXIAL: "Axial", CORONAL: "Coronal", SAGITTAL: "Sagittal"}
_LOCATION_COLOURS = {
    name.replace("_", " "): OUTLINE_COLOURS[f"lesion-{name.replace('_', '-')}"] for name in ZONE_NAMES.values()
}
_MARGIN_MM = 6.0
_LEAST_PROBABILITY = 0.05


def viewer_page(findings: Findings) -> str:
    """Return the page as one self-contained HTML file.

    It contains the brain and 6 mm around it with 8 bits a voxel, in the slices of the scan, usually the FLAIR.
    """
    scan = findings.scan
    box = bounding_box(mask_of(scan.brain), sizes_of(scan.brain), _MARGIN_MM)
    cut = scan.image.slicer[box]
    grid = coarsened(grid_of(cut), MOST_VOXELS)
    brain = mask_of(resample(scan.brain, grid, 0))
    volumes = {"image": _grey_near_brain(resample(cut, grid, 1), brain)}
    if findings.t1w is not None:
        volumes["t1w"] = _grey_near_brain(resample(findings.t1w, grid, 1), brain)
    mask = mask_of(resample(findings.lesion, grid, 0))
    volumes["mask"] = np.where(mask, 255, 0).astype(np.uint8)
    maps = {"probability": findings.probability, "candidates": findings.first_probability}
    if findings.uncertainty is not None:
        maps["uncertainty"] = findings.uncertainty
    for name, image in maps.items():
        fraction = data_of(resample(image, grid, 1))
        volumes[name] = np.rint(np.where(fraction < _LEAST_PROBABILITY, 0, fraction) * 255).astype(np.uint8)
    axis = slice_axis(scan.brain)
    content = ViewerContent(
        grid=grid,
        to_world=scan.own_to_t1w @ grid.affine,
        volumes=volumes,
        numbers=lesion_numbers(findings.labels, findings.lesions, mask, grid, scan.own_to_t1w),
        panels=[ViewerPanel(name, "mask", axis=axis) for axis, name in _PLANES.items()],
        lesions=_lesions(findings.lesions, findings.locations),
        colours=_LOCATION_COLOURS if findings.locations else {},
        n_stops=len(findings.lesions),
        slices=SliceNumbers(axis, box[axis].start + 1, cut.shape[axis] / grid.shape[axis], scan.brain.shape[axis]),
    )
    return render_viewer(content, _texts(findings.name, volumes))


def _lesions(lesions: Sequence[Lesion], locations: Sequence[str]) -> list[ViewerLesion]:
    kinds = [location.replace("_", " ") for location in locations] or [""] * len(lesions)
    return [
        ViewerLesion(lesion.label, (lesion.centre_x_mm, lesion.centre_y_mm, lesion.centre_z_mm), kind)
        for lesion, kind in zip(lesions, kinds, strict=True)
    ]


def _texts(sequence: str, volumes: Collection[str]) -> ViewerTexts:
    layers = {
        "mask": "lesions",
        "outline": "lesion outlines",
        "probability": "probability",
        "candidates": "probability of stage 1",
        "uncertainty": "uncertainty",
        "none": "none",
    }
    return ViewerTexts(
        title="Slices",
        kind="region",
        coloured=False,
        listed=False,
        stop="lesion",
        backgrounds={"image": sequence, "t1w": "T1w"} if "t1w" in volumes else {},
        layers={name: text for name, text in layers.items() if name != "uncertainty" or name in volumes},
        hint="Positions are those of the image on whose grid the results are, as in the lesion table.",
    )


def coarsened(grid: Grid, at_most: int) -> Grid:
    """Return a grid of the same extent with at most so many voxels, made larger along their shortest edges first."""
    sizes_mm, shape = voxel_sizes(grid.affine), np.asarray(grid.shape)
    edge_mm, new_shape = sizes_mm.min(), shape
    while np.prod(new_shape) > at_most:
        edge_mm *= 1.05
        new_shape = np.maximum(np.floor(shape * np.minimum(1, sizes_mm / edge_mm)), 1).astype(int)
    factors = shape / new_shape
    affine = grid.affine @ np.diag([*factors, 1])
    affine[:3, 3] = grid.affine[:3, 3] + grid.affine[:3, :3] @ ((factors - 1) / 2)
    x, y, z = new_shape.tolist()
    return Grid((x, y, z), affine)


def _grey_near_brain(image: nib.Nifti1Image, inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the image's grey levels, black far from the brain."""
    data = data_of(image)
    reach = [1 + 2 * int(np.ceil(_MARGIN_MM / size_mm)) for size_mm in sizes_of(image)]
    grey = even_levels(grey_levels(data, *window_of(data, inside)))
    return np.where(ndimage.maximum_filter(inside, reach), grey, 0).astype(np.uint8)
