"""The lesions of a visit: found once on the grids of its images, and kept in files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade.config import LesionRule
from bids_cascade.imaging.grid import Grid, grid_of, resample
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.lesions.components import Lesion, label_lesions, lesion_table
from bids_cascade.lesions.rule import lesion_mask
from bids_cascade.lesions.uncertainty import lesion_uncertainty, mean_pairwise_dice


@dataclass(frozen=True, eq=False)
class VisitLesions:
    """The lesions of a visit.

    Attributes
    ----------
    probability, mask : dict of str to nibabel.Nifti1Image
        Probability of lesion, float32, and lesion mask, uint8, on the grids of images, by sequence: the T1w first, or
        the FLAIR alone where there is no T1w.
    labels : nibabel.Nifti1Image
        Numbers of the lesions, int32, on the grid of the first.
    table : list of Lesion
        Those of the first image's grid, from the largest.
    uncertainty : list of float or None
        Of each lesion, see :func:`bids_cascade.lesions.uncertainty.lesion_uncertainty`; None of a single cascade.
    agreement : float or None
        See :func:`bids_cascade.lesions.uncertainty.mean_pairwise_dice`; None of a single cascade.
    """

    probability: dict[str, nib.Nifti1Image]
    mask: dict[str, nib.Nifti1Image]
    labels: nib.Nifti1Image
    table: list[Lesion]
    uncertainty: list[float] | None = None
    agreement: float | None = None

    def volume_ml(self, sequence: str) -> float | None:
        """Return the volume of all lesions on the grid of an image; None if they were not found on that grid."""
        if sequence not in self.mask:
            return None
        mask = self.mask[sequence]
        return float(mask_of(mask).sum() * grid_of(mask).voxel_volume_mm3 / 1000)


def find_visit_lesions(
    probability: nib.Nifti1Image,
    grids: Mapping[str, Grid],
    transforms: Mapping[str, NDArray[np.float64]],
    rule: LesionRule,
    members: Sequence[nib.Nifti1Image] = (),
) -> VisitLesions:
    """Find the lesions of a visit on the grid of each image.

    Parameters
    ----------
    probability : nibabel.Nifti1Image
        Of lesion, in the world of the T1w image.
    grids : mapping of str to Grid
        Of the images, by sequence; that of the T1w image first.
    transforms : mapping of str to (4, 4) array
        Map points of the T1w image's world to each image's world, in mm.
    rule : LesionRule
    members : sequence of nibabel.Nifti1Image
        Each cascade's own probability, of a model with several.
    """
    by_sequence = {name: find_lesions(probability, grid, transforms[name], rule) for name, grid in grids.items()}
    t1w, grid = next(iter(by_sequence.values())), next(iter(grids.values()))
    labels, _ = label_lesions(t1w[1])
    own_masks = [find_lesions(member, grid, np.eye(4), rule)[1] for member in members]
    return VisitLesions(
        probability={name: nib.Nifti1Image(values, grids[name].affine) for name, (values, _) in by_sequence.items()},
        mask={
            name: nib.Nifti1Image(mask.astype(np.uint8), grids[name].affine) for name, (_, mask) in by_sequence.items()
        },
        labels=nib.Nifti1Image(labels, grid.affine),
        table=lesion_table(labels, t1w[0], grid.affine),
        uncertainty=lesion_uncertainty(labels, own_masks) if own_masks else None,
        agreement=mean_pairwise_dice(own_masks) if own_masks else None,
    )


def find_lesions(
    probability: nib.Nifti1Image, grid: Grid, t1w_to_own: NDArray[np.float64], rule: LesionRule
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Bring the probability onto an image's own grid, and find the lesions there.

    Parameters
    ----------
    probability : nibabel.Nifti1Image
        Of lesion, in the world of the T1w image.
    grid : Grid
        The image's.
    t1w_to_own : (4, 4) ndarray
        Maps points of the T1w image's world to the image's, in mm.
    rule : LesionRule

    Returns
    -------
    probability : (X, Y, Z) float32 ndarray
    mask : (X, Y, Z) bool ndarray
    """
    values = data_of(resample(probability, grid, 1, np.asarray(np.linalg.inv(t1w_to_own), np.float64)))
    return values, lesion_mask(values, rule, grid.voxel_volume_mm3)


def save_lesions(lesions: VisitLesions, path: Path) -> Path:
    """Write a JSON file, with the voxels in NPY files beside it; return its path."""
    about = {
        "affines": {name: mask.affine.tolist() for name, mask in lesions.mask.items()},
        "table": [asdict(lesion) for lesion in lesions.table],
        "uncertainty": lesions.uncertainty,
        "agreement": lesions.agreement,
    }
    for kind in ("mask", "probability"):
        for name, image in getattr(lesions, kind).items():
            np.save(path.with_name(f"{kind}_{name}.npy"), np.asarray(image.dataobj))
    np.save(path.with_name("labels.npy"), np.asarray(lesions.labels.dataobj))
    path.write_text(json.dumps(about), encoding="utf-8")
    return path


def load_lesions(path: Path) -> VisitLesions:
    """Read the files of :func:`save_lesions`; voxels are read when they are needed."""
    about = json.loads(path.read_text(encoding="utf-8"))

    def read(name: str, affine: Sequence[Sequence[float]]) -> nib.Nifti1Image:
        return nib.Nifti1Image(np.load(path.with_name(f"{name}.npy"), mmap_mode="r"), np.array(affine))

    affines = about["affines"]
    return VisitLesions(
        probability={name: read(f"probability_{name}", affine) for name, affine in affines.items()},
        mask={name: read(f"mask_{name}", affine) for name, affine in affines.items()},
        labels=read("labels", next(iter(affines.values()))),
        table=[Lesion(**row) for row in about["table"]],
        uncertainty=about["uncertainty"],
        agreement=about["agreement"],
    )
