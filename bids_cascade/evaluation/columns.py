"""Descriptions of the columns of an evaluation's tables, for their JSON files and the page."""

from __future__ import annotations

from typing import Any

from bids_cascade.evaluation.bootstrap import COHORT_MEASURES, MIN_SUBJECTS, N_RESAMPLES
from bids_cascade.evaluation.matching import MEASURES
from bids_cascade.lesions.components import CENTRE
from bids_cascade.lesions.sizes import CLINICAL_TEXT, REPORTED_SIZES_MM3, SIZE_CLASSES_MM3, size_text

LEARNT_FROM = {
    "visit": "The model was trained on this visit: its file lists this image",
    "participant": "The model may have been trained on this visit: its file lists a participant with this label in a "
    "dataset of this name",
    "no": "The model's file lists neither",
}
"""Whether a model was trained on a visit."""

_INTERVAL = (
    f"95 %% interval of %s: percentile bootstrap over participants, {N_RESAMPLES} draws; n/a with fewer than "
    f"{MIN_SUBJECTS} of them"
)
VISIT_COLUMNS: dict[str, dict[str, Any]] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a in a dataset without sessions"},
    **MEASURES,
    "reference_mask": {"Description": "File name of the reference mask"},
    "predicted_mask": {"Description": "File name of the predicted mask, on the same grid"},
    "model_name": {"Description": "Model that made the predicted mask, from its sidecar"},
    "model_sha256": {"Description": "SHA-256 of the model file"},
    "threshold": {"Description": "Threshold of the predicted mask, from its sidecar"},
    "learnt_from": {
        "Description": "Whether the model was trained on this visit; n/a where the mask's sidecar does not say what "
        "the model was trained on",
        "Levels": LEARNT_FROM,
    },
}
LESION_COLUMNS: dict[str, dict[str, Any]] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a in a dataset without sessions"},
    "mask": {"Description": "Whose lesion", "Levels": {"reference": "reference mask", "predicted": "predicted mask"}},
    "index": {"Description": "Its number in that mask, from the largest"},
    "outcome": {
        "Description": "Whether it shares at least one voxel with the other mask",
        "Levels": {
            "found": "reference lesion that does",
            "missed": "reference lesion that does not",
            "right": "predicted lesion that does",
            "false": "predicted lesion that does not",
        },
    },
    "size_class": {
        "Description": "Class by volume; a lesion below 3 mm^3 is listed but not counted",
        "Levels": {name: size_text(name) for name in SIZE_CLASSES_MM3},
    },
    "volume_mm3": {"Description": "Volume", "Units": "mm^3"},
    "overlap_mm3": {"Description": "Volume of it in the other mask", "Units": "mm^3"},
    "centre_x_mm": {"Description": f"{CENTRE}, left to right, in the world of the masks", "Units": "mm"},
    "centre_y_mm": {"Description": "The same, posterior to anterior", "Units": "mm"},
    "centre_z_mm": {"Description": "The same, inferior to superior", "Units": "mm"},
}
SUMMARY_COLUMNS: dict[str, dict[str, Any]] = {
    "measure": {"Description": "A column of the table of visits, which describes it"},
    "n_visits": {"Description": "Visits where the measure is defined"},
    "n_subjects": {"Description": "Their participants"},
    "mean": {"Description": "Mean over visits"},
    "mean_ci95_low": {"Description": _INTERVAL % "the mean" + ", lower end"},
    "mean_ci95_high": {"Description": "Upper end"},
    "median": {"Description": "Median over visits"},
    "median_ci95_low": {"Description": _INTERVAL % "the median" + ", lower end"},
    "median_ci95_high": {"Description": "Upper end"},
    "min": {"Description": "Smallest value"},
    "max": {"Description": "Largest value"},
}
AGREEMENT_COLUMNS: dict[str, dict[str, Any]] = {
    "measure": {
        "Description": "What is estimated",
        "Levels": {k: v["Description"] for k, v in COHORT_MEASURES.items()},
    },
    "value": {
        "Description": "Estimate over the visits; correlations and limits of agreement are n/a with fewer than "
        f"{MIN_SUBJECTS} participants"
    },
    "ci95_low": {"Description": _INTERVAL % "the estimate" + ", lower end"},
    "ci95_high": {"Description": "Upper end"},
}

_RATIOS = {
    "sensitivity": "Fraction of the reference lesions of this size that are found",
    "precision": "Fraction of the predicted lesions of this size that are right",
    "f1": "Harmonic mean of the two",
}
SIZE_COLUMNS: dict[str, dict[str, Any]] = {
    "size": {
        "Description": "Volume of the lesions; all visits together. Sensitivity is by the size of the reference "
        "lesion, precision by that of the predicted one",
        "Levels": {name: size_text(name) for name in REPORTED_SIZES_MM3} | {"at_least_14": CLINICAL_TEXT},
    },
    "n_reference": {"Description": "Reference lesions of this size"},
    "n_found": {"Description": "Those of them that share a voxel with the predicted mask"},
    "n_predicted": {"Description": "Predicted lesions of this size"},
    "n_right": {"Description": "Those of them that share a voxel with the reference mask"},
}
for _name, _text in _RATIOS.items():
    SIZE_COLUMNS[_name] = {"Description": _text}
    SIZE_COLUMNS[f"{_name}_ci95_low"] = {"Description": f"{_INTERVAL % _name}, lower end"}
    SIZE_COLUMNS[f"{_name}_ci95_high"] = {"Description": "Upper end"}
