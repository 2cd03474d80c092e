"""Files of the networks' probability maps."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.ensemble import EnsembleSegmentation
from bids_cascade.imaging.images import save_image
from bids_cascade.lesions.uncertainty import voxel_uncertainty


class MapFiles(TypedDict):
    """Paths of a scan's maps, those of `members` and `uncertainty` only where a model has several cascades."""

    probability: str
    first_probability: str
    members: list[str]
    uncertainty: list[str]


def save_maps(volumes: EnsembleSegmentation, affine: NDArray[np.float64], folder: Path) -> MapFiles:
    """Write the probability maps, and the map of the cascades' disagreement, into a folder.

    Parameters
    ----------
    volumes : EnsembleSegmentation
    affine : (4, 4) array
        Of their grid.
    folder : Path
        Existing.
    """

    def save(values: NDArray[np.float32], name: str) -> str:
        path = folder / f"{name}.nii"
        save_image(values, affine, path, np.float32)
        return str(path)

    return MapFiles(
        probability=save(volumes.final, "probability"),
        first_probability=save(volumes.first, "first_probability"),
        members=[save(values, f"member{number}") for number, values in enumerate(volumes.members, start=1)],
        uncertainty=[save(voxel_uncertainty(volumes.members), "uncertainty")] if volumes.members else [],
    )
