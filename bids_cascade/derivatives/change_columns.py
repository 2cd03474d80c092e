"""Descriptions of the columns of the tables of change, for their sidecars."""

from __future__ import annotations

from typing import Any

from bids_cascade.change.tracking import KINDS
from bids_cascade.lesions.components import CENTRE

LESION_COLUMNS: dict[str, dict[str, Any]] = {
    "kind": {"Description": "What became of the lesion", "Levels": KINDS},
    "before_mm3": {"Description": "Volume at the earlier visit, half-way between both", "Units": "mm^3"},
    "after_mm3": {"Description": "The same at the later visit", "Units": "mm^3"},
    "change_mm3": {"Description": "after_mm3 less before_mm3", "Units": "mm^3"},
    "change_percent": {"Description": "The same in per cent of before_mm3; n/a for a new lesion", "Units": "percent"},
    "z": {
        "Description": "Mean FLAIR difference of what has changed, or of all of a stable lesion, in standard "
        "deviations of the pair's noise over as many voxels; above 0 where it is brighter at the later visit"
    },
    "flair_difference": {"Description": "The same difference; white matter is 1, fluid about 0"},
    "probability_difference": {"Description": "Mean difference of the probability of lesion there"},
    "topology": {
        "Description": "Whether parts have merged or come apart",
        "Levels": {"same": "As many parts as before", "merged": "Fewer parts", "split": "More parts"},
    },
    "centre_x_mm": {"Description": f"{CENTRE}, left to right, in the world of the later T1w image", "Units": "mm"},
    "centre_y_mm": {"Description": "The same, posterior to anterior", "Units": "mm"},
    "centre_z_mm": {"Description": "The same, inferior to superior", "Units": "mm"},
}

_COUNTS = {f"n_{kind}": {"Description": f"Number of {kind} lesions: {text}"} for kind, text in KINDS.items()}

STATS_COLUMNS: dict[str, dict[str, Any]] = {
    "compared_with": {"Description": "Session of the earlier visit"},
    "comparable": {
        "Description": "Whether the visits can be compared; where not, QualityFlags says why, and no change is called",
        "Levels": {"yes": "They can", "no": "They can't"},
    },
    **_COUNTS,
    "n_merged": {"Description": "Number of lesions of which parts have merged"},
    "n_split": {"Description": "Number of lesions of which parts have come apart"},
    "new_ml": {"Description": "Volume of the new lesions", "Units": "mL"},
    "enlarging_ml": {"Description": "Volume by which enlarging lesions have grown", "Units": "mL"},
    "shrinking_ml": {"Description": "Volume by which shrinking lesions have become smaller", "Units": "mL"},
    "resolved_ml": {"Description": "Volume of the resolved lesions, at the earlier visit", "Units": "mL"},
    "before_ml": {"Description": "Volume of all lesions at the earlier visit, by the evidence of both", "Units": "mL"},
    "after_ml": {"Description": "The same at the later visit", "Units": "mL"},
    "change_ml": {"Description": "after_ml less before_ml", "Units": "mL"},
    "change_sd_ml": {
        "Description": "By how much the volumes of the masks of the earlier visit and of its copy differ, which was "
        "moved, given this pair's noise, and segmented and compared as the later visit was; n/a with "
        "--no-noise-floor, and where the model that has found the lesions was not at hand",
        "Units": "mL",
    },
    "days": {"Description": "Time between the visits; n/a unless both have a date", "Units": "day"},
    "new_per_year": {"Description": "n_new for a year", "Units": "1/year"},
    "change_ml_per_year": {"Description": "change_ml for a year", "Units": "mL/year"},
    "false_new": {"Description": "New lesions called in that copy, where nothing has changed"},
    "false_others": {"Description": "Enlarging, shrinking and resolved lesions called there"},
    "false_ml": {"Description": "Change of the lesion volume called there", "Units": "mL"},
    "least_growth_30_mm3": {"Description": "By how much a lesion of 30 mm^3 must change to be called", "Units": "mm^3"},
    "least_growth_300_mm3": {"Description": "The same of one of 300 mm^3", "Units": "mm^3"},
    "white_matter_noise": {
        "Description": "Standard deviation of the FLAIR difference in normal-appearing white matter; its level is 1"
    },
    "edge_noise_mm": {"Description": "Displacement that would make the noise found at edges", "Units": "mm"},
    "correlation": {"Description": "Of both registered images in the brain"},
    "inconsistency_mm": {
        "Description": "Mean distance in the brain of points registered forward and back from where they were",
        "Units": "mm",
    },
    "overlap": {"Description": "Fraction of the smaller brain that lies in both images"},
}
