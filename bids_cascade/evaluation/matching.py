"""A predicted mask compared with its reference: measures of the visit, and the outcome of each lesion."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.evaluation.metrics import LesionWise, overlap_by_lesion, surface_distance
from bids_cascade.lesions.components import centre_of, label_lesions
from bids_cascade.lesions.overlap import voxel_wise
from bids_cascade.lesions.sizes import (
    CLINICAL_TEXT,
    COUNTED_CLASSES_MM3,
    count_clinical,
    is_of_size,
    size_class_of,
    size_text,
)

Outcome = Literal["found", "missed", "right", "false"]


@dataclass(frozen=True)
class MatchedLesion:
    """The outcome of one lesion.

    Attributes
    ----------
    mask : str
        Mask of the lesion: ``reference`` or ``predicted``.
    index : int
        Its number in that mask, from the largest.
    outcome : str
        ``found`` or ``missed`` for a reference lesion, ``right`` or ``false`` for a predicted one.
    size_class : str
        Of :data:`bids_cascade.lesions.sizes.SIZE_CLASSES_MM3`.
    volume_mm3 : float
    overlap_mm3 : float
        Fraction of it in the other mask.
    centre_x_mm, centre_y_mm, centre_z_mm : float
        See :func:`bids_cascade.lesions.components.centre_of`.
    """

    mask: Literal["reference", "predicted"]
    index: int
    outcome: Outcome
    size_class: str
    volume_mm3: float
    overlap_mm3: float
    centre_x_mm: float
    centre_y_mm: float
    centre_z_mm: float


@dataclass(frozen=True)
class Agreement:
    """One predicted mask beside its reference: measures by name (see :data:`MEASURES`), and the lesions of both."""

    measures: dict[str, float]
    lesions: list[MatchedLesion]


def match_lesions(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], affine: NDArray[np.floating]
) -> list[MatchedLesion]:
    """Determine for each lesion of both masks, on one grid, whether it shares a voxel with the other mask.

    Parameters
    ----------
    reference, predicted : (X, Y, Z) bool array
    affine : (4, 4) array
        Voxel to RAS+ mm.

    Returns
    -------
    list of MatchedLesion
        Those of the reference first, each from the largest.
    """
    voxel_mm3 = float(abs(np.linalg.det(affine[:3, :3])))
    lesions = []
    for name, mask, other in (("reference", reference, predicted), ("predicted", predicted, reference)):
        labels, _ = label_lesions(mask)
        overlaps = overlap_by_lesion(labels, other)
        yes, no = ("found", "missed") if name == "reference" else ("right", "false")
        for number, (box, overlap) in enumerate(zip(ndimage.find_objects(labels), overlaps, strict=True), start=1):
            voxels = np.argwhere(labels[box] == number) + [edge.start for edge in box]
            volume_mm3 = float(len(voxels) * voxel_mm3)
            lesions.append(
                MatchedLesion(
                    name,  # type: ignore[arg-type]
                    number,
                    yes if overlap else no,  # type: ignore[arg-type]
                    size_class_of(volume_mm3),
                    volume_mm3,
                    float(overlap * voxel_mm3),
                    *centre_of(voxels, affine),
                )
            )
    return lesions


def count_lesions(lesions: Iterable[MatchedLesion], size: str = "all") -> LesionWise:
    """Count the lesions of one of :data:`bids_cascade.lesions.sizes.REPORTED_SIZES_MM3`.

    Sensitivity goes by the size of the reference lesion, precision by the size of the predicted one.
    """
    outcomes = [lesion.outcome for lesion in lesions if is_of_size(lesion.volume_mm3, size)]
    n = {outcome: outcomes.count(outcome) for outcome in ("found", "missed", "right", "false")}
    return LesionWise(n["found"] + n["missed"], n["found"], n["right"] + n["false"], n["right"])


def compare_masks(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], affine: NDArray[np.floating]
) -> Agreement:
    """Compare a predicted mask with its reference on one grid.

    Parameters
    ----------
    reference, predicted : (X, Y, Z) bool array
    affine : (4, 4) array
        Voxel to RAS+ mm.

    Raises
    ------
    ValueError
        When the shapes differ.
    """
    voxels = voxel_wise(reference, predicted)
    surface = surface_distance(reference, predicted, voxel_sizes(affine))
    voxel_ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    true_ml, found_ml = reference.sum() * voxel_ml, predicted.sum() * voxel_ml
    lesions = match_lesions(reference, predicted, affine)
    counts = count_lesions(lesions)
    measures = {
        "reference_volume_ml": true_ml,
        "predicted_volume_ml": found_ml,
        "volume_difference_ml": found_ml - true_ml,
        "absolute_volume_difference_ml": abs(found_ml - true_ml),
        "absolute_volume_difference_percent": 100 * abs(found_ml - true_ml) / true_ml if true_ml else math.nan,
        "dice": voxels.dice,
        "sensitivity": voxels.sensitivity,
        "precision": voxels.precision,
        "hd95_mm": surface.hd95_mm,
        "average_surface_distance_mm": surface.average_mm,
        "reference_lesions": counts.n_reference,
        "predicted_lesions": counts.n_predicted,
        **{
            f"{name}_lesions_14mm3": count_clinical(lesion.volume_mm3 for lesion in lesions if lesion.mask == name)
            for name in ("reference", "predicted")
        },
        "lesion_sensitivity": counts.sensitivity,
        "lesion_precision": counts.precision,
        "lesion_f1": counts.f1,
    }
    for name in COUNTED_CLASSES_MM3:
        measures |= _by_size(count_lesions(lesions, name), name)
    return Agreement({name: float(value) for name, value in (measures | _errors_ml(lesions)).items()}, lesions)


def _by_size(counts: LesionWise, name: str) -> dict[str, float]:
    either = counts.n_reference or counts.n_predicted
    return {
        f"reference_lesions_{name}": counts.n_reference,
        f"predicted_lesions_{name}": counts.n_predicted,
        f"lesion_sensitivity_{name}": counts.sensitivity,
        f"lesion_precision_{name}": counts.precision,
        # A size that doesn't occur is not a success at that size.
        f"lesion_f1_{name}": counts.f1 if either else math.nan,
    }


def _errors_ml(lesions: Iterable[MatchedLesion]) -> dict[str, float]:
    """Return the volumes of wrong voxels: of missed and false lesions, and at the borders of matched ones."""
    volumes = dict.fromkeys(("missed_lesion_ml", "missed_border_ml", "false_lesion_ml", "false_border_ml"), 0.0)
    for lesion in lesions:
        side = "missed" if lesion.mask == "reference" else "false"
        kind = "lesion" if lesion.outcome in ("missed", "false") else "border"
        volumes[f"{side}_{kind}_ml"] += (lesion.volume_mm3 - lesion.overlap_mm3) / 1000
    return volumes


def _describe(text: str, units: str | None = None) -> dict[str, str]:
    return {"Description": text} | ({"Units": units} if units else {})


MEASURES: dict[str, dict[str, str]] = {
    "dice": _describe("Dice coefficient of the voxels; 1 when both masks are empty, 0 when only one is"),
    "sensitivity": _describe("Fraction of the reference's voxels that are predicted; n/a without any"),
    "precision": _describe("Fraction of the predicted voxels that are in the reference; n/a without any"),
    "lesion_sensitivity": _describe(
        "Fraction of the reference lesions (26-connected components of at least 3 mm^3) that share at least one voxel "
        "with the predicted mask; n/a without any"
    ),
    "lesion_precision": _describe(
        "Fraction of the predicted lesions (as above) that share at least one voxel with the reference mask; n/a "
        "without any"
    ),
    "lesion_f1": _describe(
        "Harmonic mean of lesion_sensitivity and lesion_precision; 1 without lesions on either side, 0 without on one"
    ),
    "hd95_mm": _describe(
        "95th percentile of the distances from the surface voxels of one mask to the nearest of the other, the larger "
        "of both directions; n/a when a mask is empty",
        "mm",
    ),
    "average_surface_distance_mm": _describe(
        "Mean of these distances over both directions together; n/a when a mask is empty", "mm"
    ),
    "reference_volume_ml": _describe("Lesion volume of the reference mask", "mL"),
    "predicted_volume_ml": _describe("Lesion volume of the predicted mask", "mL"),
    "volume_difference_ml": _describe("Predicted minus reference volume", "mL"),
    "absolute_volume_difference_ml": _describe("Absolute value of volume_difference_ml", "mL"),
    "absolute_volume_difference_percent": _describe(
        "Absolute volume difference, relative to the reference volume; n/a where that is 0", "percent"
    ),
    "reference_lesions": _describe("Number of reference lesions of at least 3 mm^3"),
    "predicted_lesions": _describe("Number of predicted lesions of at least 3 mm^3"),
    "reference_lesions_14mm3": _describe(f"Number of reference lesions {CLINICAL_TEXT}"),
    "predicted_lesions_14mm3": _describe(f"Number of predicted lesions {CLINICAL_TEXT}"),
    "missed_lesion_ml": _describe("Volume of reference lesions that were missed altogether", "mL"),
    "missed_border_ml": _describe("Volume of reference lesions that were found that is not in the prediction", "mL"),
    "false_lesion_ml": _describe("Volume of predicted lesions that share no voxel with the reference", "mL"),
    "false_border_ml": _describe("Volume of the other predicted lesions that is not in the reference", "mL"),
} | {
    f"{measure}_{name}": _describe(text.format(size_text(name)))
    for name in COUNTED_CLASSES_MM3
    for measure, text in {
        "reference_lesions": "Number of reference lesions {}",
        "predicted_lesions": "Number of predicted lesions {}",
        "lesion_sensitivity": "lesion_sensitivity of reference lesions {}",
        "lesion_precision": "lesion_precision of predicted lesions {}",
        "lesion_f1": "Harmonic mean of the two for lesions {}; n/a where neither mask has one",
    }.items()
}
"""What each measure of :func:`compare_masks` means, in the order to write them; the dictionary of the visits' table."""
