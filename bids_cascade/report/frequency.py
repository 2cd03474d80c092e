"""The lesion frequency map, as a mosaic over the template."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade import __version__
from bids_cascade.anatomy.template import BUILT_IN, URI, template_image
from bids_cascade.cohort.frequency import LesionFrequency, lesion_frequency, template_masks
from bids_cascade.dataset.tables import read_object
from bids_cascade.derivatives.files import write_json
from bids_cascade.derivatives.names import sidecar_path
from bids_cascade.imaging.images import load_labels, save_image
from bids_cascade.report.mosaic import draw_mosaic, make_tile
from bids_cascade.report.planes import AXIAL, grey_levels, sizes_of, spread_indices
from bids_cascade.visit_key import VisitKey
from bids_cascade.whole_file import write_whole_file

_COLUMNS, _SLICES = 8, 16
_GROUP_KEY = "Group"
_LOWEST = 0.02
"""Of the highest fraction: below it, the template is visible."""
_COLD, _HOT = np.array([190.0, 30, 30]), np.array([255.0, 240, 90])


@dataclass(frozen=True)
class MapView:
    """A map on the group page.

    Attributes
    ----------
    group : str or None
        The value that its participants share; None of all participants.
    image, picture : str
        Names of the files beside the page.
    n_participants, n_visits : int
    highest : float
        Largest fraction of the participants with lesion in one voxel.
    """

    group: str | None
    image: str
    picture: str
    n_participants: int
    n_visits: int
    highest: float


def write_frequency_maps(out_dir: Path, keys: Sequence[VisitKey], groups: Mapping[str, Sequence[str]]) -> None:
    """Write the map of all participants and one of each group that has masks in the template's space.

    Maps of an earlier run are removed. All pictures show the same slices; those of groups have one scale of colours.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    keys : sequence of VisitKey
        Visits with complete results.
    groups : mapping of str to sequence of str
        Participants by the name of their group.

    Raises
    ------
    BadDataError, OutputError, ReadWriteError
        A mask can't be read, or a file not be written.
    """
    for path in out_dir.glob("group_*desc-lesionfrequency*"):
        path.unlink(missing_ok=True)
    masks = template_masks(out_dir, keys)
    everyone = lesion_frequency(masks.values())
    if everyone is None:
        return
    template = template_image()
    slices = _choose_slices(everyone.fraction)
    path = _write_map(out_dir, None, "", everyone)
    write_whole_file(
        draw_frequency(everyone.fraction, template, slices, float(everyone.fraction.max())), _picture(path)
    )
    for name, suffix in _suffixes(groups).items():
        frequency = lesion_frequency(masks[label] for label in groups[name] if label in masks)
        if frequency is not None:
            _write_map(out_dir, name, suffix, frequency)
    views = [view for view in read_maps(out_dir) if view.group is not None]
    highest = max((view.highest for view in views), default=0.0)
    for view in views:
        fraction = np.asarray(load_labels(out_dir / view.image).dataobj)
        write_whole_file(draw_frequency(fraction, template, slices, highest), out_dir / view.picture)


def _suffixes(groups: Iterable[str]) -> dict[str, str]:
    """Return what names each group in file names: its letters and digits, with a number where that is not unique.

    >>> _suffixes(["RRMS", "RR-MS", "+", "-"])
    {'RRMS': 'RRMS', 'RR-MS': 'RRMS2', '+': '3', '-': '4'}
    """
    suffixes: dict[str, str] = {}
    taken = {""}
    for number, name in enumerate(groups, start=1):
        suffix = re.sub("[^0-9a-zA-Z]", "", name)
        while suffix.lower() in taken:  # file systems may not distinguish letters by case
            suffix += str(number)
        taken.add(suffix.lower())
        suffixes[name] = suffix
    return suffixes


def read_maps(out_dir: Path) -> list[MapView]:
    """Return the existing maps, that of all participants first."""
    views = []
    for path in out_dir.glob("group_*desc-lesionfrequency*_probseg.json"):
        sidecar = read_object(path)
        views.append(
            MapView(
                group=str(sidecar[_GROUP_KEY]) if _GROUP_KEY in sidecar else None,
                image=path.with_suffix(".nii.gz").name,
                picture=_picture(path).name,
                n_participants=int(sidecar["NumberOfParticipants"]),
                n_visits=int(sidecar["NumberOfVisits"]),
                highest=float(sidecar["HighestFraction"]),
            )
        )
    return sorted(views, key=lambda view: (view.group is not None, view.group or ""))


def _write_map(out_dir: Path, group: str | None, suffix: str, frequency: LesionFrequency) -> Path:
    """Write a map, and return the path of its sidecar."""
    image = out_dir / f"group_space-{BUILT_IN}_label-L_desc-lesionfrequency{suffix}_probseg.nii.gz"
    sidecar = {
        "Description": "Of the participants, the fraction with lesion in a voxel of the template; visits of one "
        "participant share its weight",
        **({} if group is None else {_GROUP_KEY: group}),
        "NumberOfParticipants": frequency.n_participants,
        "NumberOfVisits": frequency.n_visits,
        "HighestFraction": float(frequency.fraction.max()),
        "SpatialReference": URI,
        "GeneratedByVersion": __version__,
    }
    path = sidecar_path(image)
    write_json(sidecar, path)
    save_image(frequency.fraction, template_image().affine, image, np.float32)
    return path


def _picture(sidecar: Path) -> Path:
    return sidecar.with_name(sidecar.name.replace("_probseg.json", "_mosaic.svg"))


def _choose_slices(fraction: NDArray[np.float32]) -> list[int]:
    """Return the indices of axial slices over all lesions, or over the brain if there is none."""
    inside = np.flatnonzero((fraction > 0).any(axis=(0, 1)))
    start, stop = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (40, fraction.shape[2] - 20)
    return spread_indices(start, stop, _SLICES)


def draw_frequency(
    fraction: NDArray[np.float32], template: nib.Nifti1Image, slices: Sequence[int], highest: float
) -> bytes:
    """Draw axial slices of the template with the map over it, as SVG.

    Parameters
    ----------
    fraction : (X, Y, Z) float32 array
        Of the participants, on the grid of the template.
    template : nibabel.Nifti1Image
    slices : sequence of int
        Indices.
    highest : float
        Fraction that is drawn yellow.
    """
    grey = grey_levels(np.asarray(template.dataobj), 0.0, 1.0)
    colours = _coloured(grey, fraction, highest)
    tiles = [make_tile([colours], {}, sizes_of(template), AXIAL, index) for index in slices]
    rows = [tiles[first : first + _COLUMNS] for first in range(0, len(tiles), _COLUMNS)]
    return draw_mosaic(rows, f"How often a voxel is lesion: up to {highest:.0%} (yellow)", 0.8)


def _coloured(grey: NDArray[np.uint8], fraction: NDArray[np.float32], highest: float) -> NDArray[np.uint8]:
    """Return (X, Y, Z, 3) colours: grey, from red to yellow where there is lesion."""
    scaled = fraction / np.float32(highest) if highest > 0 else fraction
    hot = _COLD + scaled[..., None] * (_HOT - _COLD)
    seen = (scaled > _LOWEST)[..., None]
    return np.where(seen, hot, grey[..., None]).astype(np.uint8)
