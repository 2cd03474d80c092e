"""The lesion frequency map, as a mosaic over the template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from bids_cascade.imaging.images import save_image
from bids_cascade.report.mosaic import draw_mosaic, make_tile
from bids_cascade.report.planes import AXIAL, grey_levels, sizes_of, spread_indices
from bids_cascade.visit_key import VisitKey
from bids_cascade.whole_file import write_whole_file

_COLUMNS, _SLICES = 8, 16
_LOWEST = 0.02
"""Of the highest fraction: below it, the template is visible."""
_COLD, _HOT = np.array([190.0, 30, 30]), np.array([255.0, 240, 90])


@dataclass(frozen=True)
class MapView:
    """A map on the group page.

    Attributes
    ----------
    group : str
        ``all``, or the value that its participants share.
    image, picture : str
        Names of the files beside the page.
    n_participants, n_visits : int
    highest : float
        Largest fraction of the participants with lesion in one voxel.
    """

    group: str
    image: str
    picture: str
    n_participants: int
    n_visits: int
    highest: float


def write_frequency_maps(out_dir: Path, keys: Sequence[VisitKey], groups: Mapping[str, Sequence[str]]) -> None:
    """Write the map of all participants and one of each group that has masks in the template's space.

    Maps of an earlier run are removed.

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
        path.unlink()
    masks = template_masks(out_dir, keys)
    for name, participants in {"all": list(masks), **groups}.items():
        frequency = lesion_frequency(masks[participant] for participant in participants if participant in masks)
        if frequency is not None:
            _write_map(out_dir, name, frequency)


def read_maps(out_dir: Path) -> list[MapView]:
    """Return the existing maps, that of all participants first."""
    views = []
    for path in out_dir.glob("group_*desc-lesionfrequency*_probseg.json"):
        sidecar = read_object(path)
        views.append(
            MapView(
                group=str(sidecar["Group"]),
                image=path.with_suffix(".nii.gz").name,
                picture=_picture(path).name,
                n_participants=int(sidecar["NumberOfParticipants"]),
                n_visits=int(sidecar["NumberOfVisits"]),
                highest=float(sidecar["HighestFraction"]),
            )
        )
    return sorted(views, key=lambda view: (view.group != "all", view.group))


def _write_map(out_dir: Path, name: str, frequency: LesionFrequency) -> None:
    label = "lesionfrequency" + ("" if name == "all" else re.sub("[^0-9a-zA-Z]", "", name))
    image = out_dir / f"group_space-{BUILT_IN}_label-L_desc-{label}_probseg.nii.gz"
    sidecar = {
        "Description": "Of the participants, the fraction with lesion in a voxel of the template; visits of one "
        "participant share its weight",
        "Group": name,
        "NumberOfParticipants": frequency.n_participants,
        "NumberOfVisits": frequency.n_visits,
        "HighestFraction": float(frequency.fraction.max()),
        "SpatialReference": URI,
        "GeneratedByVersion": __version__,
    }
    write_json(sidecar, sidecar_path(image))
    save_image(frequency.fraction, template_image().affine, image, np.float32)
    write_whole_file(draw_frequency(frequency.fraction, template_image()), _picture(sidecar_path(image)))


def _picture(sidecar: Path) -> Path:
    return sidecar.with_name(sidecar.name.replace("_probseg.json", "_mosaic.svg"))


def draw_frequency(fraction: NDArray[np.float32], template: nib.Nifti1Image) -> bytes:
    """Draw axial slices of the template with the map over it, as SVG.

    Parameters
    ----------
    fraction : (X, Y, Z) float32 array
        Of the participants, on the grid of the template.
    template : nibabel.Nifti1Image
    """
    grey = grey_levels(np.asarray(template.dataobj), 0.0, 1.0)
    colours = _coloured(grey, fraction)
    inside = np.flatnonzero((fraction > 0).any(axis=(0, 1)))
    start, stop = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (40, fraction.shape[2] - 20)
    indices = spread_indices(start, stop, _SLICES)
    tiles = [make_tile([colours], {}, sizes_of(template), AXIAL, index) for index in indices]
    rows = [tiles[first : first + _COLUMNS] for first in range(0, len(tiles), _COLUMNS)]
    return draw_mosaic(rows, f"How often a voxel is lesion: up to {fraction.max():.0%} (yellow)", 0.8)


def _coloured(grey: NDArray[np.uint8], fraction: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (X, Y, Z, 3) colours: grey, from red to yellow where there is lesion."""
    highest = float(fraction.max())
    scaled = fraction / highest if highest > 0 else fraction
    hot = _COLD + scaled[..., None] * (_HOT - _COLD)
    seen = (scaled > _LOWEST)[..., None]
    return np.where(seen, hot, grey[..., None]).astype(np.uint8)
