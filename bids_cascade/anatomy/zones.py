"""Zones of the brain in which lesions are counted, and the distances that define them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.structures import INFRATENTORIAL, Structure
from bids_cascade.anatomy.thresholds import THRESHOLDS


class Zone(IntEnum):
    """Zone of a lesion's voxel; if several apply, the first."""

    INFRATENTORIAL = 1
    PERIVENTRICULAR = 2
    JUXTACORTICAL = 3
    DEEP = 4


ZONE_NAMES = {
    Zone.INFRATENTORIAL: "infratentorial",
    Zone.PERIVENTRICULAR: "periventricular",
    Zone.JUXTACORTICAL: "juxtacortical",
    Zone.DEEP: "deep_white_matter",
}
"""Names in columns and values."""


class Region(IntEnum):
    """A value of the label image of regions; cerebral white matter is split by zone."""

    LATERAL_VENTRICLES = 1
    THIRD_VENTRICLE = 2
    FOURTH_VENTRICLE = 3
    CORTEX = 4
    DEEP_GREY = 5
    PERIVENTRICULAR_WHITE_MATTER = 6
    JUXTACORTICAL_WHITE_MATTER = 7
    DEEP_WHITE_MATTER = 8
    CEREBELLUM = 9
    BRAINSTEM = 10


REGION_COLOURS: dict[Region, tuple[int, int, int]] = {
    Region.LATERAL_VENTRICLES: (120, 18, 134),
    Region.THIRD_VENTRICLE: (204, 182, 142),
    Region.FOURTH_VENTRICLE: (42, 204, 164),
    Region.CORTEX: (205, 62, 78),
    Region.DEEP_GREY: (0, 118, 14),
    Region.PERIVENTRICULAR_WHITE_MATTER: (245, 190, 60),
    Region.JUXTACORTICAL_WHITE_MATTER: (90, 170, 235),
    Region.DEEP_WHITE_MATTER: (245, 245, 245),
    Region.CEREBELLUM: (230, 148, 34),
    Region.BRAINSTEM: (119, 159, 176),
}
"""Red, green and blue, 0 to 255; FreeSurfer's colours where it has the structure."""

_REGION_OF: dict[Structure, Region] = {
    Structure.LATERAL_VENTRICLES: Region.LATERAL_VENTRICLES,
    Structure.THIRD_VENTRICLE: Region.THIRD_VENTRICLE,
    Structure.FOURTH_VENTRICLE: Region.FOURTH_VENTRICLE,
    Structure.CORTEX: Region.CORTEX,
    Structure.DEEP_GREY: Region.DEEP_GREY,
    Structure.WHITE_MATTER: Region.DEEP_WHITE_MATTER,
    Structure.CEREBELLUM: Region.CEREBELLUM,
    Structure.BRAINSTEM: Region.BRAINSTEM,
}


@dataclass(frozen=True, eq=False)
class Places:
    """Structure and distances of voxels, from which the zones of lesions follow.

    Attributes
    ----------
    structures : (X, Y, Z) uint8 array
        :class:`~bids_cascade.anatomy.structures.Structure` + 1; 0 outside the brain.
    to_ventricle_mm, to_cortex_mm : (X, Y, Z) float32 arrays
        Distance to the nearest voxel of a lateral ventricle and of cortex; infinite where there is none.
    """

    structures: NDArray[np.uint8]
    to_ventricle_mm: NDArray[np.float32]
    to_cortex_mm: NDArray[np.float32]


def find_places(structures: NDArray[np.uint8], voxel_mm: NDArray[np.floating] | float) -> Places:
    """Measure the distances of all voxels (X, Y, Z) of a grid with this voxel size."""
    sampling = np.broadcast_to(voxel_mm, 3).tolist()
    return Places(
        structures,
        _distance_mm(structures == Structure.LATERAL_VENTRICLES + 1, sampling),
        _distance_mm(structures == Structure.CORTEX + 1, sampling),
    )


def find_zones(places: Places) -> NDArray[np.uint8]:
    """Return the :class:`Zone` that each voxel would have in a lesion; places may have any shape.

    Voxels in brainstem and cerebellum are infratentorial, whatever else is near: a lesion beside the fourth ventricle
    is not periventricular.
    """
    zones = np.full(places.structures.shape, Zone.DEEP, np.uint8)
    # Rounding must not exclude a voxel at exactly this distance.
    zones[places.to_cortex_mm <= THRESHOLDS.juxtacortical_mm + 1e-4] = Zone.JUXTACORTICAL
    zones[places.to_ventricle_mm <= THRESHOLDS.periventricular_mm + 1e-4] = Zone.PERIVENTRICULAR
    zones[np.isin(places.structures, [structure + 1 for structure in INFRATENTORIAL])] = Zone.INFRATENTORIAL
    return zones


def find_regions(places: Places) -> NDArray[np.uint8]:
    """Return the :class:`Region` of each voxel; 0 outside the brain and in sulcal fluid."""
    table = np.zeros(len(Structure) + 1, np.uint8)
    for structure, region in _REGION_OF.items():
        table[structure + 1] = region
    regions = table[places.structures]
    zones = find_zones(places)
    white = places.structures == Structure.WHITE_MATTER + 1
    regions[white & (zones == Zone.PERIVENTRICULAR)] = Region.PERIVENTRICULAR_WHITE_MATTER
    regions[white & (zones == Zone.JUXTACORTICAL)] = Region.JUXTACORTICAL_WHITE_MATTER
    return np.asarray(regions)


def _distance_mm(mask: NDArray[np.bool_], sampling: list[float]) -> NDArray[np.float32]:
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling), np.float32)
