"""Slices of a scan with the outlines of two masks."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from bids_cascade.imaging.images import data_of
from bids_cascade.imaging.scan import slice_axis
from bids_cascade.report.planes import SIDES, Sizes, bounding_box, displayed, pixel_mm, sizes_of, window_of

REFERENCE_COLOUR = "#35c9ff"
PREDICTED_COLOUR = "#ff8c1a"
"""A blue and an orange that colour-blind people can distinguish; the prediction is also dashed."""

_N_SLICES = 4
_MARGIN_MM = 12.0
_FINE = 6
_SLICE_IN = 3.4


def draw_outlines(reference: nib.Nifti1Image, predicted: nib.Nifti1Image, background: nib.Nifti1Image | None) -> bytes:
    """Draw the slices on which two masks differ most, as a PNG in radiological convention.

    Parameters
    ----------
    reference, predicted : nibabel.Nifti1Image
        Masks (X, Y, Z) on one grid.
    background : nibabel.Nifti1Image or None
        Scan on the same grid; black if there is none.

    Returns
    -------
    bytes
        PNG; slices are in the plane of acquisition, or axial if voxels are isotropic.
    """
    images = [reference, predicted] + ([] if background is None else [background])
    canonical = [nib.as_closest_canonical(image) for image in images]
    axis, sizes_mm = slice_axis(canonical[0]), sizes_of(canonical[0])
    volumes = [data_of(image) for image in canonical]
    masks = [volume != 0 for volume in volumes[:2]]
    scan = volumes[2] if background is not None else np.zeros(masks[0].shape, np.float32)
    chosen = _choose_slices(*(np.moveaxis(mask, axis, 2) for mask in masks))
    low, high = window_of(scan, scan > 0)
    box = list(_box(scan, masks[0] | masks[1], sizes_mm))
    box[axis] = slice(None)
    scan, masks = scan[tuple(box)], [mask[tuple(box)] for mask in masks]
    pixel = pixel_mm(sizes_mm, axis)
    height, width = np.multiply(displayed(scan, axis, 0).shape, pixel).tolist()
    figure = Figure(figsize=(_SLICE_IN * len(chosen), _SLICE_IN * height / width), facecolor="black")
    FigureCanvasAgg(figure)
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.01)
    for axes, index in zip(figure.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        picture = displayed(scan, axis, index)
        axes.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0))
        for mask, colour, style in zip(masks, (REFERENCE_COLOUR, PREDICTED_COLOUR), ("-", (0, (2, 1))), strict=True):
            _outline(axes, displayed(mask, axis, index), pixel, colour, style)
        axes.set_axis_off()
        axes.text(0.02, 0.5, SIDES[axis][0], color="white", transform=axes.transAxes, va="center")
    lines = [Line2D([], [], color=REFERENCE_COLOUR), Line2D([], [], color=PREDICTED_COLOUR, linestyle=(0, (2, 1)))]
    figure.axes[0].legend(
        lines, ["reference", "prediction"], loc="lower left", fontsize=9, facecolor="black", labelcolor="white"
    )
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return content.getvalue()


def _choose_slices(reference: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> list[int]:
    """Return the slices (along the last axis) with most differing voxels, in order, with some distance between them."""
    wrong = (reference ^ predicted).sum(axis=(0, 1))
    if not wrong.any():
        wrong = (reference | predicted).sum(axis=(0, 1)) + (np.arange(len(wrong)) == len(wrong) // 2)
    apart = max(1, round(len(wrong) / 25))
    chosen: list[int] = []
    for index in np.argsort(-wrong, kind="stable").tolist():
        if wrong[index] and all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
    return sorted(chosen[:_N_SLICES])


def _box(scan: NDArray[np.float32], either: NDArray[np.bool_], sizes_mm: Sizes) -> tuple[slice, slice, slice]:
    """Return the part of the volume with the head, or with the masks if there is no scan."""
    if scan.any():
        return bounding_box((scan > 0.1 * np.percentile(scan, 99)) | either, sizes_mm, 0)
    return bounding_box(either, sizes_mm, _MARGIN_MM)


def _outline(axes: Axes, mask: NDArray[np.bool_], pixel: tuple[float, float], colour: str, style: object) -> None:
    """Draw the edges of a mask's pixels, (rows, columns), of a height and width in mm."""
    if not mask.any():
        return
    # Contours run between samples; with many samples a voxel they follow its edges.
    fine = np.pad(np.kron(mask, np.ones((_FINE, _FINE))), 1)
    rows, columns = ((np.arange(length) - 0.5) * size / _FINE for length, size in zip(fine.shape, pixel, strict=True))
    axes.contour(columns, rows, fine, levels=[0.5], colors=[colour], linewidths=1.1, linestyles=[style])
