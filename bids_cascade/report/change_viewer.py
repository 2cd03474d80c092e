"""The viewer of a pair of visits: side by side or in turn, with what has changed between them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from nibabel.affines import from_matvec
from numpy.typing import NDArray

from bids_cascade.change.compare import Comparison
from bids_cascade.change.matching import FloatArray
from bids_cascade.change.tracking import KINDS, TrackedLesion
from bids_cascade.imaging.grid import Grid
from bids_cascade.lesions.components import box_of
from bids_cascade.report.planes import grey_levels
from bids_cascade.report.viewer import (
    ViewerContent,
    ViewerLesion,
    ViewerPanel,
    ViewerTexts,
    even_levels,
    render_viewer,
)

KIND_COLOURS = {
    "new": "#ff5a4d",
    "enlarging": "#ff9f2e",
    "stable": "#58c7ff",
    "shrinking": "#5fd38d",
    "resolved": "#c58bff",
}
"""What a lesion's change is drawn in."""

_ORDER = [*(kind for kind in KINDS if kind != "stable"), "stable"]
"""Changes come first."""
_WHITEST = 2.2
"""Level, white matter being 1, that is shown white; lesions have about 2."""
_MARGIN = 3


def change_viewer_page(comparison: Comparison, numbers: Mapping[int, int], names: tuple[str, str]) -> str:
    """Return the page as HTML: a file that needs no other and asks for none.

    Parameters
    ----------
    comparison : Comparison
        With a result.
    numbers : mapping of int to int
        The number that each lesion keeps over all visits, by that in the result.
    names : pair of str
        What the earlier and the later visit are called.

    Raises
    ------
    ValueError
        When there is no result.
    """
    result = comparison.result
    if result is None:
        raise ValueError("a pair that can't be compared has nothing to show")
    inside = (result.earlier != 0) | (result.later != 0)
    box = tuple(slice(max(0, edge.start - _MARGIN), edge.stop + _MARGIN) for edge in box_of(inside))
    volumes = {
        "earlier": _grey(result.earlier[box]),
        "later": _grey(result.later[box]),
        "earlier_mask": np.where(result.change.before[box], 255, 0).astype(np.uint8),
        "later_mask": np.where(result.change.after[box], 255, 0).astype(np.uint8),
    }
    affine = comparison.grid.affine @ from_matvec(np.eye(3), [edge.start for edge in box])
    x, y, z = volumes["earlier"].shape
    # Numbers of the result run from 1 without a gap.
    kept = np.array([0, *(numbers[index] for index in sorted(numbers))])
    lesions = [_lesion(lesion, numbers[lesion.number]) for lesion in result.lesions]
    content = ViewerContent(
        grid=Grid((x, y, z), affine),
        to_world=affine,
        volumes=volumes,
        numbers=kept[result.labels[box]],
        panels=[
            ViewerPanel(name, f"{when}_mask", image=when)
            for name, when in zip(names, ("earlier", "later"), strict=True)
        ],
        lesions=sorted(lesions, key=lambda lesion: (_ORDER.index(lesion.kind), lesion.number)),
        colours=KIND_COLOURS,
        n_stops=sum(lesion.kind != "stable" for lesion in lesions),
    )
    texts = ViewerTexts(
        title=f"Change from {names[0]} to {names[1]}",
        kind="change",
        coloured=True,
        listed=True,
        stop="change",
        backgrounds={},
        layers={"outline": "lesion outlines", "mask": "lesions", "none": "none"},
        hint="Positions are those of the space half-way between the visits. Press a lesion to go there.",
    )
    return render_viewer(content, texts)


def _lesion(lesion: TrackedLesion, number: int) -> ViewerLesion:
    details = f"{lesion.before_mm3:.0f} to {lesion.after_mm3:.0f} mm³, z {lesion.z:.1f}"
    return ViewerLesion(number, lesion.centre_mm, lesion.kind, details)


def _grey(values: FloatArray) -> NDArray[np.uint8]:
    return even_levels(grey_levels(values, 0.0, _WHITEST))
