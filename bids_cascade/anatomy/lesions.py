"""Anatomy of a visit's lesions: columns of its lesion table, and sums for its statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import NDArray

from bids_cascade.anatomy.location import Location, locate, looks
from bids_cascade.anatomy.registration import move_points
from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.thresholds import THRESHOLDS
from bids_cascade.anatomy.zones import ZONE_NAMES, Places, Zone, find_places, find_regions
from bids_cascade.imaging.grid import Grid, resample
from bids_cascade.lesions.components import Lesion

TOPOGRAPHIES = (Zone.INFRATENTORIAL, Zone.PERIVENTRICULAR, Zone.JUXTACORTICAL)
"""Topographies of the 2024 McDonald criteria [1]_ that brain MRI shows.

References
----------
.. [1] Montalban X. et al., Diagnosis of multiple sclerosis: 2024 revisions of the McDonald criteria, Lancet Neurology
   24 (2025) 850-865.
"""

_NEAREST = "distance of the voxel that is nearest, between voxel centres, on the model's grid"

LOCATION_COLUMNS: dict[str, dict[str, Any]] = {
    "location": {
        "Description": "Where the lesion is, the first that fits",
        "Levels": {
            "infratentorial": f"At least {THRESHOLDS.infratentorial_fraction:.0%} of it in brainstem or cerebellum",
            "periventricular": f"Within {THRESHOLDS.periventricular_mm:g} mm of a lateral ventricle",
            "juxtacortical": f"Within {THRESHOLDS.juxtacortical_mm:g} mm of the cerebral cortex, or in it",
            "deep_white_matter": "Elsewhere in the cerebrum, deep grey matter included",
        },
    },
    "confluent": {
        "Description": f"Whether at least {THRESHOLDS.confluent_fraction:.0%} of it lies in each of two zones, deep "
        "white matter not counted"
    },
    "hemisphere": {"Description": "Side of its centre in the template's space", "Levels": {"left": "", "right": ""}},
    "distance_to_ventricle_mm": {"Description": f"To the lateral ventricles: {_NEAREST}", "Units": "mm"},
    "distance_to_cortex_mm": {"Description": f"To the cerebral cortex: {_NEAREST}", "Units": "mm"},
    **{
        f"volume_{name}_mm3": {"Description": f"Its volume in the {name.replace('_', ' ')} zone", "Units": "mm^3"}
        for name in ZONE_NAMES.values()
    },
    "mni_x_mm": {"Description": "Its centre in MNI152NLin2009aSym, left to right", "Units": "mm"},
    "mni_y_mm": {"Description": "The same, posterior to anterior", "Units": "mm"},
    "mni_z_mm": {"Description": "The same, inferior to superior", "Units": "mm"},
    "t1w_ratio": {
        "Description": "Its mean T1w intensity over the median of the white matter around it, "
        f"{THRESHOLDS.ring_mm[0]:g} to {THRESHOLDS.ring_mm[1]:g} mm away"
    },
    "flair_ratio": {"Description": "The same in FLAIR"},
    "hypointense_volume_mm3": {
        "Description": "Volume of its voxels darker in T1w than the median of cortex (black holes)",
        "Units": "mm^3",
    },
}
COUNT_COLUMNS: dict[str, dict[str, Any]] = {
    **{
        f"n_lesions_{name}": {"Description": f"Number of lesions whose location is {name.replace('_', ' ')}"}
        for name in ZONE_NAMES.values()
    },
    **{
        f"lesion_volume_{name}_ml": {
            "Description": f"Volume of lesions in the {name.replace('_', ' ')} zone, voxel by voxel",
            "Units": "mL",
        }
        for name in ZONE_NAMES.values()
    },
    "n_topographies": {
        "Description": "How many of the three topographies that brain MRI shows (periventricular, cortical or "
        "juxtacortical, infratentorial; McDonald criteria of 2024) hold a lesion: a count, no diagnosis"
    },
    "hypointense_lesion_volume_ml": {
        "Description": "Volume of lesion darker in T1w than the median of cortex (black holes)",
        "Units": "mL",
    },
    "lateral_ventricle_volume_ml": {"Description": "Volume of the lateral ventricles", "Units": "mL"},
}


@dataclass(frozen=True, eq=False)
class Regions:
    """A visit's regions on the grid of its T1w image.

    Attributes
    ----------
    structures, regions : (X, Y, Z) uint8 arrays
        :class:`~bids_cascade.anatomy.structures.Structure` + 1, and :class:`~bids_cascade.anatomy.zones.Region`.
    places : Places
        On the model's grid.
    affine : (4, 4) array
        From voxels of the model's grid to RAS+ mm.
    """

    structures: NDArray[np.uint8]
    regions: NDArray[np.uint8]
    places: Places
    affine: NDArray[np.float64]


def make_regions(structures: nib.Nifti1Image, grid: Grid) -> Regions:
    """Derive the regions from the structures on the model's grid, and resample both onto another grid."""
    values = np.asarray(structures.dataobj, np.uint8)
    places = find_places(values, voxel_sizes(structures.affine))
    regions = nib.Nifti1Image(find_regions(places), structures.affine)
    return Regions(
        structures=np.asarray(resample(structures, grid, 0).dataobj, np.uint8),
        regions=np.asarray(resample(regions, grid, 0).dataobj, np.uint8),
        places=places,
        affine=np.asarray(structures.affine, np.float64),
    )


def location_rows(
    regions: Regions,
    labels: NDArray[np.integer],
    lesions: Sequence[Lesion],
    images: Mapping[str, NDArray[np.floating]],
    affine: NDArray[np.float64],
    from_template: Path,
) -> list[dict[str, Any]]:
    """Return the cells of ``LOCATION_COLUMNS`` for each lesion.

    Parameters
    ----------
    regions : Regions
    labels : (X, Y, Z) integer array
        The lesions' numbers, on the grid of the T1w image.
    lesions : sequence of Lesion
        In the order of their numbers.
    images : mapping of str to (X, Y, Z) array
        Bias-corrected T1w and FLAIR on this grid, if they exist.
    affine : (4, 4) array
        From its voxels to RAS+ mm.
    from_template : Path
        ITK transform that maps images from the template, and therefore points to it.
    """
    sizes = voxel_sizes(affine)
    centres = np.array([(lesion.centre_x_mm, lesion.centre_y_mm, lesion.centre_z_mm) for lesion in lesions]).reshape(
        -1, 3
    )
    in_template = move_points(centres, from_template) if len(lesions) else centres
    looks_of = looks(labels, regions.structures, images.get("T1w"), images.get("FLAIR"), sizes.tolist())
    rows = []
    for location, centre, look in zip(locate_all(regions, labels, affine), in_template, looks_of, strict=True):
        row = asdict(location)
        volumes = row.pop("volumes_mm3")
        row |= {f"volume_{name}_mm3": volume for name, volume in volumes.items()}
        row |= dict(zip(("mni_x_mm", "mni_y_mm", "mni_z_mm"), centre.tolist(), strict=True))
        rows.append({**row, "confluent": int(location.confluent), "hemisphere": _side(centre), **asdict(look)})
    return rows


def locate_all(regions: Regions, labels: NDArray[np.integer], affine: NDArray[np.float64]) -> list[Location]:
    """Return the location of each lesion in the labels (X, Y, Z), in the order of their numbers, which have no gaps."""
    voxels = np.argwhere(labels)
    numbers = labels[tuple(voxels.T)]
    # A stable sort brings each lesion's voxels together, in array order.
    order = np.argsort(numbers, kind="stable")
    ends = np.searchsorted(numbers[order], np.arange(2, int(numbers.max(initial=0)) + 1))
    parts = np.split(voxels[order], ends) if len(voxels) else []
    voxel_volume_mm3 = float(abs(np.linalg.det(affine[:3, :3])))
    return [locate(_places_at(regions, apply_affine(affine, part)), voxel_volume_mm3) for part in parts]


def count_by_region(rows: Sequence[Mapping[str, Any]], regions: Regions) -> dict[str, Any]:
    """Return the cells of ``COUNT_COLUMNS`` from the rows of all lesions."""
    counts = {name: sum(row["location"] == name for row in rows) for name in ZONE_NAMES.values()}
    hypointense = [row["hypointense_volume_mm3"] for row in rows]
    ventricles = np.count_nonzero(regions.places.structures == Structure.LATERAL_VENTRICLES + 1) * abs(
        np.linalg.det(regions.affine[:3, :3])
    )
    return {
        **{f"n_lesions_{name}": count for name, count in counts.items()},
        **{
            f"lesion_volume_{name}_ml": sum(row[f"volume_{name}_mm3"] for row in rows) / 1000
            for name in ZONE_NAMES.values()
        },
        "n_topographies": sum(counts[ZONE_NAMES[zone]] > 0 for zone in TOPOGRAPHIES),
        "hypointense_lesion_volume_ml": None if None in hypointense else sum(hypointense) / 1000,
        "lateral_ventricle_volume_ml": float(ventricles) / 1000,
    }


def _places_at(regions: Regions, points_mm: NDArray[np.float64]) -> Places:
    """Return the places of the model's voxels that are nearest to some points."""
    voxels = np.rint(apply_affine(np.linalg.inv(regions.affine), points_mm)).astype(int)
    i, j, k = np.clip(voxels, 0, np.array(regions.places.structures.shape) - 1).T
    places = regions.places
    return Places(places.structures[i, j, k], places.to_ventricle_mm[i, j, k], places.to_cortex_mm[i, j, k])


def _side(centre_mm: NDArray[np.float64]) -> str:
    return "left" if centre_mm[0] < 0 else "right"
