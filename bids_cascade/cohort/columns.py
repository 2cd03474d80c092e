"""Descriptions of the columns of the group level's tables, for their JSON files and the page."""

from __future__ import annotations

from typing import Any

from bids_cascade.anatomy.lesions import COUNT_COLUMNS, LOCATION_COLUMNS
from bids_cascade.cohort.outliers import LOG_OFFSET_ML, MIN_VALUES, OUTLIER_Z
from bids_cascade.derivatives.change_columns import STATS_COLUMNS
from bids_cascade.lesions.components import CENTRE
from bids_cascade.lesions.sizes import CLINICAL_TEXT, SIZE_CLASSES_MM3, size_text

STATUSES = {
    "complete": "Complete results",
    "incomplete": "Half-written results: a run is writing them or was interrupted; no numbers are taken from them",
    "unreadable": "Results with an unreadable or invalid file; no numbers are taken from them",
    "failed": "No results; the last run that tried failed",
    "missing": "No results; not run yet, or cannot be run",
}
GROUP_FLAGS = {
    "lesion_volume_outlier": "lesion_volume_modified_z is beyond the limit",
    "brain_volume_outlier": "brain_volume_modified_z is beyond the limit",
    "different_processing": "Not made with the sequences, model, options and version that most visits were made with",
    "not_in_dataset": "There are results, but no such visit in the raw dataset",
}
SUMMARISED = ("lesion_volume_ml", "n_lesions", "n_lesions_14mm3", "lesion_volume_brain_percent", "brain_volume_ml")

_RULE = (
    f"Beyond {OUTLIER_Z} either way is an outlier (Iglewicz and Hoaglin 1993); n/a with fewer than {MIN_VALUES} visits"
)

OF_CHANGE = {
    "change_compared_with": "compared_with",
    "change_comparable": "comparable",
    "n_new_lesions": "n_new",
    "n_enlarging_lesions": "n_enlarging",
    "n_shrinking_lesions": "n_shrinking",
    "n_resolved_lesions": "n_resolved",
    "new_lesion_volume_ml": "new_ml",
    "compared_volume_change_ml": "change_ml",
    "compared_volume_change_sd_ml": "change_sd_ml",
    "new_lesions_per_year": "new_per_year",
    "compared_volume_change_ml_per_year": "change_ml_per_year",
}
"""Columns of visits that were compared with the previous one, and those of the comparison's own table."""
CHANGE_FLAGS = "change_flags"

VISIT_COLUMNS: dict[str, dict[str, Any]] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a in a dataset without sessions"},
    "status": {"Description": "State of this visit's results", "Levels": STATUSES},
    "n_lesions": {
        "Description": "Number of lesions (26-connected components) on the grid of the T1w image, or of the FLAIR of a "
        "visit without a T1w"
    },
    "n_lesions_14mm3": {"Description": f"Number of these {CLINICAL_TEXT}"},
    "lesion_volume_ml": {"Description": "Volume of all lesions on the same grid", "Units": "mL"},
    "quality_flags": {
        "Description": "What the participant level found suspicious, joined by semicolons; n/a for nothing"
    },
    "group_flags": {
        "Description": "What is unusual about the visit among the others, joined by semicolons",
        "Levels": GROUP_FLAGS,
    },
    "lesion_volume_t1w_ml": {"Description": "Volume of all lesions on the grid of the T1w image", "Units": "mL"},
    "lesion_volume_flair_ml": {"Description": "Volume of all lesions on the grid of the FLAIR image", "Units": "mL"},
    "status_reason": {"Description": "Why the status is not complete"},
    "warnings": {"Description": "The quality flags in words, joined by semicolons"},
    "visit_number": {
        "Description": "Place among the participant's visits: by acquisition date if all have one, else by session"
    },
    "acquisition_date": {"Description": "Day of acquisition, from scans.tsv, sessions.tsv or sidecars"},
    "days_since_first_visit": {"Description": "Time since the participant's first visit with a date", "Units": "day"},
    "days_since_previous_visit": {
        "Description": "Time since the participant's previous visit with complete results",
        "Units": "day",
    },
    "cascade_agreement": {
        "Description": "Mean pairwise Dice of the masks of the model's cascades, if it has several: the lower, the "
        "less reliable the mask"
    },
    **COUNT_COLUMNS,
    "lesion_volume_brain_percent": {
        "Description": "lesion_volume_ml as a fraction of brain_volume_ml",
        "Units": "percent",
    },
    "lesion_volume_change_ml": {
        "Description": "lesion_volume_ml minus that of the participant's previous visit with complete results, "
        "both found independently; n/a unless both were made with the same sequences, model, options and version",
        "Units": "mL",
    },
    **{name: STATS_COLUMNS[own] for name, own in OF_CHANGE.items()},
    CHANGE_FLAGS: {"Description": "Why the visit could not be compared with the one before, joined by semicolons"},
    "largest_lesion_mm3": {"Description": "Volume of the largest lesion; n/a without lesions", "Units": "mm^3"},
    "median_lesion_mm3": {"Description": "Median volume of a lesion; n/a without lesions", "Units": "mm^3"},
    **{f"n_lesions_{name}_mm3": {"Description": f"Number of lesions {size_text(name)}"} for name in SIZE_CLASSES_MM3},
    "brain_volume_ml": {"Description": "Volume of the brain mask", "Units": "mL"},
    "lesion_volume_modified_z": {
        "Description": f"Modified z-score (median and MAD) of ln(lesion_volume_ml + {LOG_OFFSET_ML:g}) among the "
        f"visits with the same processing. {_RULE}"
    },
    "brain_volume_modified_z": {
        "Description": f"Modified z-score of brain_volume_ml among the visits with the same processing. {_RULE}"
    },
    "processing": {
        "Description": "Number of the combination of sequences, model, options and version; 1 is the most frequent. "
        "Only visits with the same number are comparable"
    },
    "sequences": {"Description": "Sequences that were used, joined by +"},
    "model_name": {"Description": "Model"},
    "model_sha256": {"Description": "SHA-256 of the model file"},
    "threshold": {"Description": "Probability from which a voxel is lesion"},
    "min_lesion_volume_mm3": {"Description": "Smaller lesions were dropped", "Units": "mm^3"},
    "precision": {
        "Description": "Of the networks' arithmetic",
        "Levels": {"single": "32 bits", "half": "16 bits; a few voxels differ"},
    },
    "bids_cascade_version": {"Description": "Version of bids_cascade that made the results"},
}
LESION_COLUMNS: dict[str, dict[str, Any]] = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session; n/a in a dataset without sessions"},
    "index": {"Description": "Number of the lesion in the visit's seg-lesions_dseg image"},
    "volume_mm3": {"Description": "Volume", "Units": "mm^3"},
    "centre_x_mm": {"Description": f"{CENTRE}, left to right, in the world of that image", "Units": "mm"},
    "centre_y_mm": {"Description": "The same, posterior to anterior", "Units": "mm"},
    "centre_z_mm": {"Description": "The same, inferior to superior", "Units": "mm"},
    "mean_probability": {"Description": "Mean probability over the lesion's voxels, with those of filled cavities"},
    "uncertainty": {
        "Description": "Of models with several cascades: 0 where all their masks have the lesion in the same shape, 1 "
        "where none has it"
    },
    **LOCATION_COLUMNS,
    "processing": {"Description": "As in group_visits.tsv; only lesions with the same number are comparable"},
}
OPTIONAL = ("cascade_agreement", "uncertainty", *COUNT_COLUMNS, *LOCATION_COLUMNS)
"""Columns that are left out if no visit has them: of models with several cascades, and of anatomy."""
SUMMARY_COLUMNS: dict[str, dict[str, Any]] = {
    "processing": {"Description": "As in group_visits.tsv"},
    "measure": {"Description": "A column of group_visits.tsv"},
    "n_visits": {"Description": "Visits with complete results of this processing"},
    "minimum": {"Description": "Smallest value, in the units of the measure"},
    "first_quartile": {"Description": "A quarter of the visits have at most this value"},
    "median": {"Description": "Median"},
    "third_quartile": {"Description": "Three quarters of the visits have at most this value"},
    "maximum": {"Description": "Largest value"},
}
