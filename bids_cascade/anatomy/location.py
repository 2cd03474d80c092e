"""Location of each lesion, its volume in each zone, and its contrast with the surrounding white matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.thresholds import THRESHOLDS
from bids_cascade.anatomy.zones import ZONE_NAMES, Places, Zone, find_zones

_SPANNING = (Zone.INFRATENTORIAL, Zone.PERIVENTRICULAR, Zone.JUXTACORTICAL)
_FEWEST_AROUND = 20
"""Voxels of surrounding white matter that are needed for a reliable median."""


@dataclass(frozen=True)
class Location:
    """Location of a lesion.

    Attributes
    ----------
    location : str
        One of :data:`~bids_cascade.anatomy.zones.ZONE_NAMES`.
    confluent : bool
        Whether it spans several zones, deep white matter not counted.
    distance_to_ventricle_mm, distance_to_cortex_mm : float
        Distance of its nearest voxel to a lateral ventricle and to cortex.
    volumes_mm3 : dict of str to float
        Volume in each zone, voxel by voxel.
    """

    location: str
    confluent: bool
    distance_to_ventricle_mm: float
    distance_to_cortex_mm: float
    volumes_mm3: dict[str, float]


@dataclass(frozen=True)
class Look:
    """Appearance of a lesion; None where too little white matter surrounds it or the sequence is missing.

    Attributes
    ----------
    t1w_ratio, flair_ratio : float or None
        Its mean intensity over the median of the white matter around it.
    hypointense_volume_mm3 : float or None
        Volume of its voxels darker in T1w than grey matter: black holes.
    """

    t1w_ratio: float | None
    flair_ratio: float | None
    hypointense_volume_mm3: float | None


def locate(places: Places, voxel_volume_mm3: float) -> Location:
    """Return the location of a lesion.

    Parameters
    ----------
    places : Places
        Only those of its voxels, (N,) each, at least one.
    voxel_volume_mm3 : float

    Raises
    ------
    ValueError
        When there is no voxel.
    """
    if not places.structures.size:
        raise ValueError("a lesion without voxels has no location")
    zones = find_zones(places)
    fractions = np.bincount(zones.ravel(), minlength=len(Zone) + 1) / zones.size
    if fractions[Zone.INFRATENTORIAL] >= THRESHOLDS.infratentorial_fraction:
        location = Zone.INFRATENTORIAL
    else:
        above = zones[zones != Zone.INFRATENTORIAL]
        location = Zone(int(above.min()))
    return Location(
        location=ZONE_NAMES[location],
        confluent=sum(fractions[zone] >= THRESHOLDS.confluent_fraction for zone in _SPANNING) > 1,
        distance_to_ventricle_mm=float(places.to_ventricle_mm.min()),
        distance_to_cortex_mm=float(places.to_cortex_mm.min()),
        volumes_mm3={ZONE_NAMES[zone]: round(float(fractions[zone]) * zones.size) * voxel_volume_mm3 for zone in Zone},
    )


def looks(
    labels: NDArray[np.integer],
    structures: NDArray[np.uint8],
    t1w: NDArray[np.floating] | None,
    flair: NDArray[np.floating] | None,
    voxel_mm: Sequence[float],
) -> list[Look]:
    """Return the appearance of each lesion relative to the white matter around it.

    Parameters
    ----------
    labels : (X, Y, Z) integer array
        Lesions, numbered from 1 without gaps.
    structures : (X, Y, Z) uint8 array
        Structure + 1.
    t1w, flair : (X, Y, Z) arrays or None
        Bias-corrected, 0 in the background.
    voxel_mm : sequence of float
    """
    grey = None if t1w is None else _grey_level(t1w, structures, labels)
    margin = [int(np.ceil(THRESHOLDS.ring_mm[1] / size)) for size in voxel_mm]
    appearances = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        wide = tuple(slice(max(0, edge.start - more), edge.stop + more) for edge, more in zip(box, margin, strict=True))
        lesion = labels[wide] == number
        ring = _ring(lesion, labels[wide], structures[wide], voxel_mm)
        dark = None
        if t1w is not None and grey is not None:
            dark = float(np.count_nonzero(t1w[wide][lesion] < grey) * np.prod(voxel_mm))
        appearances.append(Look(_ratio(t1w, wide, lesion, ring), _ratio(flair, wide, lesion, ring), dark))
    return appearances


def _ring(
    lesion: NDArray[np.bool_], labels: NDArray[np.integer], structures: NDArray[np.uint8], voxel_mm: Sequence[float]
) -> NDArray[np.bool_]:
    near, far = THRESHOLDS.ring_mm
    away = ndimage.distance_transform_edt(~lesion, voxel_mm)
    white = (structures == Structure.WHITE_MATTER + 1) | (structures == Structure.BRAINSTEM + 1)
    return np.asarray((away >= near) & (away <= far) & white & (labels == 0))


def _ratio(
    image: NDArray[np.floating] | None, box: tuple[slice, ...], lesion: NDArray[np.bool_], ring: NDArray[np.bool_]
) -> float | None:
    if image is None or np.count_nonzero(ring) < _FEWEST_AROUND:
        return None
    around = float(np.median(image[box][ring]))
    return float(image[box][lesion].mean(dtype=np.float64)) / around if around > 0 else None


def _grey_level(t1w: NDArray[np.floating], structures: NDArray[np.uint8], labels: NDArray[np.integer]) -> float | None:
    cortex = (structures == Structure.CORTEX + 1) & (labels == 0)
    return float(np.median(t1w[cortex])) if cortex.any() else None
