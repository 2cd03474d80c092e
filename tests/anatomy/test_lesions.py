from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.anatomy.lesions import COUNT_COLUMNS, LOCATION_COLUMNS, count_by_region, location_rows, make_regions
from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.zones import Region
from bids_cascade.imaging.grid import Grid
from bids_cascade.imaging.registration import write_itk_transform
from bids_cascade.lesions.components import label_lesions, lesion_table

WHITE, VENTRICLE, CORTEX, STEM = (
    structure + 1
    for structure in (Structure.WHITE_MATTER, Structure.LATERAL_VENTRICLES, Structure.CORTEX, Structure.BRAINSTEM)
)
AFFINE = np.array([[1.0, 0, 0, -15], [0, 1, 0, -12], [0, 0, 1, -12], [0, 0, 0, 1]])


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """Return the transform of a head that lies in the template's space."""
    write_itk_transform(np.eye(4), tmp_path / "identity.txt")
    return tmp_path / "identity.txt"


@pytest.fixture
def head() -> dict[str, Any]:
    """Along x, 30 voxels: ventricle at 0, white matter, cortex at 29; below z = 4 brainstem."""
    structures = np.full((30, 24, 24), WHITE, np.uint8)
    structures[0], structures[29] = VENTRICLE, CORTEX
    structures[1:29, :, :4] = STEM
    lesion = np.zeros(structures.shape, bool)
    lesion[2:8, 10:12, 12:14] = True  # periventricular, 24 mm3
    lesion[27:29, 10:12, 12:14] = True  # juxtacortical, 8 mm3
    lesion[10:12, 3:5, 1:3] = True  # infratentorial, 8 mm3
    lesion[15, 15, 15] = True  # deep
    labels, _ = label_lesions(lesion)
    t1w = np.where(lesion, 0.5, 1.0).astype(np.float32)
    t1w[29] = 0.6
    return {"structures": structures, "labels": labels, "images": {"T1w": t1w, "FLAIR": 1 + lesion.astype(np.float32)}}


def rows_of(head: dict[str, Any], identity: Path) -> tuple[list[dict[str, Any]], Any]:
    structures = nib.Nifti1Image(head["structures"], AFFINE)
    regions = make_regions(structures, Grid((30, 24, 24), AFFINE))
    lesions = lesion_table(head["labels"], np.ones(head["labels"].shape, np.float32), AFFINE)
    return location_rows(regions, head["labels"], lesions, head["images"], AFFINE, identity), regions


def test_each_lesion_has_all_cells(head: dict[str, Any], identity: Path) -> None:
    rows, _ = rows_of(head, identity)
    assert [row["location"] for row in rows] == [
        *("periventricular", "infratentorial", "juxtacortical", "deep_white_matter")
    ]
    assert all(set(row) == set(LOCATION_COLUMNS) for row in rows)
    first = rows[0]
    assert (first["distance_to_ventricle_mm"], first["distance_to_cortex_mm"]) == (2.0, 22.0)
    assert (first["volume_periventricular_mm3"], first["volume_deep_white_matter_mm3"]) == (4.0, 20.0)
    assert [row["hemisphere"] for row in rows] == ["left", "left", "right", "right"]
    assert first["mni_x_mm"] == pytest.approx(-11)
    assert first["t1w_ratio"] == pytest.approx(0.5)
    assert first["flair_ratio"] == pytest.approx(2)
    assert first["hypointense_volume_mm3"] == 24


def test_counts_and_volumes_of_the_visit_are_sums_over_its_lesions(head: dict[str, Any], identity: Path) -> None:
    rows, regions = rows_of(head, identity)
    found = count_by_region(rows, regions)
    assert set(found) == set(COUNT_COLUMNS)
    assert [found[f"n_lesions_{name}"] for name in ("infratentorial", "periventricular", "juxtacortical")] == [1, 1, 1]
    assert found["n_topographies"] == 3
    volumes = [value for name, value in found.items() if name.startswith("lesion_volume_")]
    assert sum(volumes) == pytest.approx((head["labels"] > 0).sum() / 1000)
    assert found["lateral_ventricle_volume_ml"] == pytest.approx(24 * 24 / 1000)


def test_a_visit_without_lesions_has_counts_of_zero(head: dict[str, Any], identity: Path) -> None:
    head["labels"] = np.zeros_like(head["labels"])
    rows, regions = rows_of(head, identity)
    found = count_by_region(rows, regions)
    assert rows == []
    assert found["n_topographies"] == 0
    assert found["hypointense_lesion_volume_ml"] == 0


def test_regions_come_to_another_grid(head: dict[str, Any]) -> None:
    affine = AFFINE @ np.diag([2.0, 2, 2, 1])
    regions = make_regions(nib.Nifti1Image(head["structures"], AFFINE), Grid((15, 12, 12), affine))
    assert regions.regions.shape == regions.structures.shape == (15, 12, 12)
    assert regions.regions[0, 6, 6] == Region.LATERAL_VENTRICLES
    assert regions.regions[1, 6, 6] == Region.PERIVENTRICULAR_WHITE_MATTER
    assert regions.regions[7, 6, 6] == Region.DEEP_WHITE_MATTER


def test_every_column_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "handover.md").read_text()
    for columns in (LOCATION_COLUMNS, COUNT_COLUMNS):
        for name, description in columns.items():
            assert f"| `{name}` | {description.get('Units', '')} | {description['Description']} |" in text
