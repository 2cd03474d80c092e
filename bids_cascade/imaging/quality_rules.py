"""The limits of quality measures, with their sources, and the flags that measures beyond them raise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_cascade.config import SEQUENCES
from bids_cascade.imaging.registration import COVERED_FROM, FAILED_BELOW

Row = dict[str, float | None]
"""Measures by column."""

AGREEMENT = "cascade_agreement"
"""Column for the agreement of a model's cascades: the mean Dice of each two masks."""


@dataclass(frozen=True)
class _Rule:
    """What a column holds, the range in which it is expected, and the message for values beyond it."""

    description: str
    units: str
    flag: str
    low: float
    high: float
    reason: str


# Where the limits come from. Similarity and coverage: see the registration. Brain volume: brain masks of adults, with
# some room. The rest: 16 visits from three sites, and copies of one of them degraded on purpose. Contrast was 2.8 to
# 6.2. Noise was 0.004 to 0.056, and 0.075 after adding noise of 8 % of the brain's intensity. Ghosting was -0.053 to
# 0.002 (below 0 since scanners dim the edges of the field of view, which are nearer in front and behind), 0.065 with
# ghosts of 7.5 %, 0.025 to 0.034 with visible motion. Cut areas up to 18 cm^2 were the medulla or the rim of the mask;
# scans that do cut the brain had 55 to 84 cm^2. What is bright in which sequence: see contrast. The packaged
# model's cascades agree by 0.69 or more on 22 scans and synthetic heads with lesions, and by 0.34 or less in four of
# five heads without lesions in which at least one of them finds some.
RULES = {
    "registration_similarity": _Rule(
        "Normalised mutual information of the registered {sequence} image and the T1w image in the brain",
        "",
        "registration_looks_failed",
        FAILED_BELOW,
        np.inf,
        "the registration of the {sequence} image looks failed (similarity {value:.2f}, expected at least {low:g})",
    ),
    "brain_coverage": _Rule(
        "Fraction of the brain within the field of view of the {sequence} image",
        "",
        "truncated_field_of_view",
        COVERED_FROM,
        np.inf,
        "the {sequence} image shows only {value:.0%} of the brain (expected at least {low:.0%})",
    ),
    "brain_volume_ml": _Rule(
        "Volume of the brain mask",
        "mL",
        "brain_volume_out_of_range",
        900,
        2000,
        "the brain mask has {value:.0f} ml (expected {low:.0f} to {high:.0f} ml)",
    ),
    "brain_cut_area_cm2": _Rule(
        "Area over which the outer faces of the T1w image, or of the FLAIR where there is none, cut the brain mask",
        "cm^2",
        "truncated_field_of_view",
        -np.inf,
        25,
        "the edge of the image from which the brain was extracted cuts the brain over {value:.0f} cm² (expected at "
        "most {high:g} cm²)",
    ),
    "neck_volume_ml": _Rule(
        "Volume of the lowest slices of the brain mask that are darker than brain in the T1w image, like muscle",
        "mL",
        "brain_mask_reaches_neck",
        -np.inf,
        10,
        "the lowest {value:.0f} ml of the brain mask are darker than brain in the T1w image, like the muscles of the "
        "neck (expected at most {high:g} ml): lesions found there are false",
    ),
    "lesion_contrast_sd": _Rule(
        "Intensity of lesions above that of the brain 2 to 6 mm around them, in standard deviations of the latter",
        "",
        "low_lesion_contrast",
        2,
        np.inf,
        "lesions are only {value:.1f} standard deviations brighter than the brain around them (expected at least "
        "{low:g})",
    ),
    "t1w_correlation_flair": _Rule(
        "Correlation of the T1w and FLAIR images in the brain",
        "",
        "implausible_contrast",
        0.25,
        0.9,
        "the correlation of the T1w and FLAIR images in the brain is {value:.2f} (expected {low:g} to {high:g}): one "
        "of them may be another sequence, or the brain mask includes more than brain",
    ),
    "t1w_correlation_t2w": _Rule(
        "Correlation of the T1w and T2w images in the brain",
        "",
        "implausible_contrast",
        -np.inf,
        0.0,
        "the correlation of the T1w and T2w images in the brain is {value:.2f} (expected at most {high:g}): one of "
        "them may be another sequence",
    ),
    "tissue_order_flair": _Rule(
        "Rise in intensity from grey to white matter in the T1w image less that in the FLAIR image, in standard "
        "deviations",
        "",
        "implausible_contrast",
        0.2,
        np.inf,
        "from grey to white matter the T1w image rises by only {value:.1f} standard deviations more than the FLAIR "
        "image (expected at least {low:g}): they may be swapped",
    ),
    "depth_contrast_t1w": _Rule(
        "How much brighter the brain is 12 mm deep than at its rim in the T1w image, in standard deviations",
        "",
        "implausible_contrast",
        1.0,
        np.inf,
        "the T1w image is only {value:.1f} standard deviations brighter deep in the brain than at its rim (expected at "
        "least {low:g}): it may be another sequence, or the brain mask includes more than brain",
    ),
    "depth_contrast_flair": _Rule(
        "How much brighter the brain is 12 mm deep than at its rim in the FLAIR image, in standard deviations",
        "",
        "implausible_contrast",
        0.6,
        np.inf,
        "the FLAIR image is only {value:.1f} standard deviations brighter deep in the brain than at its rim (expected "
        "at least {low:g}): it may be another sequence",
    ),
    "outlier_voxels": _Rule(
        "Voxels of the {sequence} image that are absurdly bright or dark; they are clipped to the usual range first",
        "",
        "absurd_intensities",
        -np.inf,
        0,
        "{value:.0f} voxels of the {sequence} image are absurdly bright or dark",
    ),
    AGREEMENT: _Rule(
        "Mean pairwise Dice of the masks of the model's cascades",
        "",
        "cascades_disagree",
        0.65,  # the packaged model: 0.74 or more where there are lesions, 0.57 or less where all are false
        np.inf,
        "the model's cascades agree poorly (mean Dice {value:.2f} of their masks, expected at least {low:g})",
    ),
    "noise": _Rule(
        "Noise within the brain of the {sequence} image as a fraction of its median intensity",
        "",
        "motion_like_noise",
        -np.inf,
        0.07,
        "the noise of the {sequence} image is {value:.1%} of its signal (expected at most {high:.0%})",
    ),
    "ghosting": _Rule(
        "Signal in the air in front of and behind the head less that in the air beside it in the {sequence} image, "
        "as a "
        "fraction of the brain's median intensity",
        "",
        "motion_like_noise",
        -0.06,
        0.02,
        "the signal in the air in front of and behind the head differs from that beside it by {value:.1%} of the "
        "brain's in "
        "the {sequence} image, as after motion (expected {low:.0%} to {high:.0%})",
    ),
}
"""By column; the columns of a sequence append an underscore and its name."""


def find_flags(row: Row) -> dict[str, str]:
    """Return what should be looked at, by flag, with the reason in a sentence."""
    reasons_by_flag: dict[str, list[str]] = {}
    for column, value in row.items():
        rule, sequence = _rule_of(column)
        if value is not None and not rule.low <= value <= rule.high:
            reason = rule.reason.format(sequence=sequence, value=value, low=rule.low, high=rule.high)
            reasons_by_flag.setdefault(rule.flag, []).append(reason)
    return {flag: "; ".join(reasons) + "." for flag, reasons in reasons_by_flag.items()}


def describe_columns(row: Row) -> dict[str, dict[str, str]]:
    """Return each column's BIDS description, with the values that raise a flag."""
    descriptions = {}
    for column in row:
        rule, sequence = _rule_of(column)
        usual = " to ".join(f"{limit:g}" for limit in (rule.low, rule.high) if np.isfinite(limit))
        word = "at least " if np.isinf(rule.high) else "at most " if np.isinf(rule.low) else ""
        text = f"{rule.description.format(sequence=sequence)}; expected {word}{usual}, else flagged {rule.flag}"
        descriptions[column] = {"Description": text} | ({"Units": rule.units} if rule.units else {})
    return descriptions


def _rule_of(column: str) -> tuple[_Rule, str]:
    """Return the rule of a column, and the sequence that its name ends with, if any."""
    if column in RULES:
        return RULES[column], ""
    start, _, end = column.rpartition("_")
    return RULES[start], next(name for name in SEQUENCES if name.lower() == end)
