"""A page that shows two visits side by side or in turn, locked together, with what has changed between them."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Any

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from bids_cascade.change.compare import Comparison
from bids_cascade.change.matching import FloatArray
from bids_cascade.change.tracking import KINDS
from bids_cascade.lesions.components import box_of
from bids_cascade.report.page import render_bare

KIND_COLOURS = {
    "new": "#ff5a4d",
    "enlarging": "#ff9f2e",
    "stable": "#58c7ff",
    "shrinking": "#5fd38d",
    "resolved": "#c58bff",
}
"""What a lesion's change is drawn in."""

_WHITEST = 2.2
"""Level, white matter being 1, that is shown white; lesions have about 2."""
_MARGIN = 3


def change_viewer_page(found: Comparison, numbers: Mapping[int, int], names: tuple[str, str]) -> str:
    """Return the page as HTML: a file that needs no other and asks for none.

    Parameters
    ----------
    found : Comparison
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
    result = found.result
    if result is None:
        raise ValueError("a pair that can't be compared has nothing to show")
    inside = (result.earlier != 0) | (result.later != 0)
    box = tuple(slice(max(0, edge.start - _MARGIN), edge.stop + _MARGIN) for edge in box_of(inside))
    corner = np.array([edge.start for edge in box])
    to_half = np.linalg.inv(found.grid.affine)
    # At which visits each voxel is lesion: 1 earlier, 2 later, 3 both.
    places = result.change.before[box] + 2 * result.change.after[box].astype(np.uint8)
    volumes = [_grey(result.earlier[box]), _grey(result.later[box]), places.astype(np.uint8)]
    stacked = b"".join(volume.tobytes(order="F") for volume in volumes)
    stacked += result.labels[box].astype("<u2").tobytes(order="F")
    lesions = [
        {
            "label": lesion.number,
            "number": numbers[lesion.number],
            "kind": lesion.kind,
            "at": (apply_affine(to_half, lesion.centre_mm) - corner).round().astype(int).tolist(),
            "before": round(lesion.before_mm3),
            "after": round(lesion.after_mm3),
            "z": round(lesion.z, 1),
        }
        for lesion in result.lesions
    ]
    order = list(KINDS)
    content: dict[str, Any] = {
        "shape": volumes[0].shape,
        "names": names,
        "colours": KIND_COLOURS,
        "volumes": base64.b64encode(gzip.compress(stacked, 6, mtime=0)).decode(),
        "lesions": sorted(lesions, key=lambda one: (one["kind"] == "stable", order.index(one["kind"]), one["number"])),
    }
    title = f"Change from {names[0]} to {names[1]}"
    return render_bare("change.html", title=title, scripts=["change.js"], styles=["viewer.css"], content=content)


def _grey(values: FloatArray) -> NDArray[np.uint8]:
    """Return grey levels; even ones only, which take a fifth less space."""
    return (np.clip(values / _WHITEST, 0, 1) * 255).astype(np.uint8) & np.uint8(0xFE)
