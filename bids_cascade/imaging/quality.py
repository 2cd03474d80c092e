"""Quality measures of a visit's scans and of their processing, and the flags they raise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.config import SEQUENCES
from bids_cascade.imaging.grid import fraction_inside
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.imaging.intensity import outlier_count, settle
from bids_cascade.imaging.registration import COVERED_FROM, FAILED_BELOW
from bids_cascade.imaging.scan import Scan, make_scan, slice_axis

Row = dict[str, float | None]

AGREEMENT = "cascade_agreement"
"""Column for the agreement of a model's cascades: the mean Dice of each two masks."""

_CONTRASTS = ("t1w_correlation", "tissue_order", "depth_contrast")
_MOST_SLICES = 24
_MUSCLE = 0.79
_AIR_DISTANCE_MM = 25.0
_MIN_VOXELS = 500
_SHELL_MM = (2.0, 6.0)
_MAD_TO_SD = 1.4826
# Second differences along rows of those along columns; without the 6, noise would come out 6 times as large.
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


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
# scans that do cut the brain had 55 to 84 cm^2. What is bright in which sequence: see contrast. The limit of the
# cascades' agreement is a first guess.
_RULES = {
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
        0.5,
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


def measure_raw(
    raw: nib.Nifti1Image,
    brain: nib.Nifti1Image,
    t1w_to_own: NDArray[np.float64],
    similarity: float | None,
    sequence: str = "T1w",
) -> tuple[Scan, Row]:
    """Measure a raw scan with its intensities settled; return that scan and its measures.

    Parameters
    ----------
    raw : nibabel.Nifti1Image
    brain : nibabel.Nifti1Image
        Brain mask on the grid of the T1w image.
    t1w_to_own : (4, 4) array
        Maps points of the T1w image's world to the sequence's, in mm.
    similarity : float or None
        Of the sequence with the T1w image after registration; None for the T1w image itself.
    sequence : str
    """
    scan = make_scan(settle(raw), brain, t1w_to_own)
    return scan, measure_scan(scan, brain, similarity, sequence) | {"outlier_voxels": outlier_count(raw)}


def measure_scan(scan: Scan, t1w: nib.Nifti1Image, similarity: float | None, sequence: str = "T1w") -> Row:
    """Measure one sequence, without regard to lesions.

    Parameters
    ----------
    scan : Scan
        Before bias correction.
    t1w : nibabel.Nifti1Image
        Brain mask on the grid of the T1w image.
    similarity : float or None
        With the T1w image, see :func:`bids_cascade.imaging.registration.registration_quality`; None for that itself.
    sequence : str
        Of the scan. The neck is measured in the T1w only, where the darkness of muscle is known.

    Returns
    -------
    dict
        By column, without the sequence's name; None where something can't be measured.
    """
    row: Row = {}
    if similarity is None:
        row["brain_volume_ml"] = float(mask_of(t1w).sum() * abs(np.linalg.det(t1w.affine[:3, :3])) / 1000)
        row["brain_cut_area_cm2"] = cut_area_cm2(t1w)
        row["neck_volume_ml"] = neck_volume_ml(scan) if sequence == "T1w" else None
    else:
        row["registration_similarity"] = similarity
        row["brain_coverage"] = fraction_inside(scan.image, t1w, scan.t1w_to_own)
    return row | {"noise": noise(scan.image, scan.brain), "ghosting": ghosting(scan.image, scan.brain)}


def join_measures(scans: Mapping[str, Row], contrasts: Mapping[str, Row]) -> dict[str, Row]:
    """Return the measures of each scan with those of its contrast, by sequence, in the order of the scans."""
    return {sequence: {**row, **contrasts[sequence]} for sequence, row in scans.items()}


def gather(measured: Mapping[str, Row], contrast: float | None, agreement: float | None = None) -> Row:
    """Return the measures of a visit, by column.

    Parameters
    ----------
    measured : mapping of str to dict
        By sequence, the T1w image first: what :func:`measure_scan`,
        :func:`bids_cascade.imaging.contrast.measure_contrast` and
        :func:`bids_cascade.imaging.intensity.outlier_count` (``outlier_voxels``) have found.
    contrast : float or None
        What :func:`lesion_contrast` has found.
    agreement : float, optional
        Mean pairwise Dice of the masks of the model's cascades, if it has several.
    """
    t1w, *others = measured
    row = {
        f"{column}_{name.lower()}": measured[name][column]
        for name in others
        for column in ("registration_similarity", "brain_coverage")
    }
    row |= {column: measured[t1w][column] for column in ("brain_volume_ml", "brain_cut_area_cm2", "neck_volume_ml")}
    for name, measures in measured.items():
        contrasts = {f"{column}_{name.lower()}": measures[column] for column in _CONTRASTS if column in measures}
        row |= {column: value for column, value in contrasts.items() if column in _RULES}
    row["lesion_contrast_sd"] = contrast
    if agreement is not None:
        row[AGREEMENT] = agreement
    for name, measures in measured.items():
        row |= {f"{column}_{name.lower()}": measures[column] for column in ("noise", "ghosting", "outlier_voxels")}
    return row


def cut_area_cm2(brain: nib.Nifti1Image) -> float:
    """Area over which a brain mask touches the outer faces of its image, in cm^2.

    A mask that ends at the skull has none; one that extends into the neck touches the lowest face with the few cm^2
    of the medulla.
    """
    voxels, sizes_mm = mask_of(brain), voxel_sizes(brain.affine)
    area_mm2 = 0.0
    for axis in range(3):
        pixel_mm2 = np.prod(np.delete(sizes_mm, axis))
        area_mm2 += float((voxels.take(0, axis).sum() + voxels.take(-1, axis).sum()) * pixel_mm2)
    return area_mm2 / 100


def neck_volume_ml(t1w: Scan) -> float | None:
    """Volume of the lowest slices of a brain mask whose median T1w intensity is below 0.79 of the brain's, in ml.

    Brain extraction may include muscles beside the spinal cord, where vessels look like lesions. Observed: 14 to 19 ml
    in three visits in which it does, up to 7 ml of fluid and cord in 17 others.

    Returns
    -------
    float or None
        None without a brain.
    """
    data, brain = data_of(t1w.image), mask_of(t1w.brain)
    if not brain.any():
        return None
    dark, n_voxels = _MUSCLE * np.median(data[brain]), 0
    for level in np.flatnonzero(brain.any(axis=(0, 1))):
        inside = brain[:, :, level]
        if np.median(data[:, :, level][inside]) >= dark:
            break
        n_voxels += int(np.count_nonzero(inside))
    return float(n_voxels * abs(np.linalg.det(t1w.image.affine[:3, :3])) / 1000)


def lesion_contrast(scan: Scan, lesion: nib.Nifti1Image) -> float | None:
    """How much brighter lesions are than the brain 2 to 6 mm around them, in standard deviations of the latter.

    Medians, and the median absolute deviation as a standard deviation's robust estimate. The lesion mask is on the grid
    of the scan.

    Returns
    -------
    float or None
        None without lesions, or without enough brain around them.
    """
    voxels = mask_of(lesion)
    if not voxels.any():
        return None
    near, far = (ndimage.maximum_filter(voxels, _reach(scan.image, distance)) for distance in _SHELL_MM)
    shell, data = far & ~near & mask_of(scan.brain), data_of(scan.image)
    if np.count_nonzero(shell) < _MIN_VOXELS // 10:
        return None
    middle = np.median(data[shell])
    spread = _MAD_TO_SD * np.median(np.abs(data[shell] - middle))
    return float((np.median(data[voxels]) - middle) / spread) if spread > 0 else None


def noise(raw: nib.Nifti1Image, brain_mask: nib.Nifti1Image) -> float | None:
    """Noise within the brain, as a fraction of the brain's median intensity.

    The standard deviation that Immerkaer's operator [1]_ finds in the slices the scanner took; the median over voxels
    passes over edges.

    References
    ----------
    .. [1] Immerkaer J., Fast noise variance estimation, Computer Vision and Image Understanding 64 (1996) 300-302.
    """
    axis = slice_axis(raw)
    data, brain = (np.moveaxis(volume, axis, 0) for volume in (data_of(raw), mask_of(brain_mask)))
    area = brain.sum(axis=(1, 2))
    wide = np.flatnonzero(area > area.max() / 2)
    if not len(wide):
        return None
    chosen = wide[:: max(1, len(wide) // _MOST_SLICES)]
    inside = ndimage.minimum_filter(brain[chosen], (1, 5, 5))
    if np.count_nonzero(inside) < _MIN_VOXELS:
        return None
    rest = ndimage.convolve(data[chosen], _NOISE_KERNEL[None])
    return float(_MAD_TO_SD * np.median(np.abs(rest[inside])) / np.median(data[brain]))


def ghosting(raw: nib.Nifti1Image, brain_mask: nib.Nifti1Image) -> float | None:
    """Signal in the air in front of and behind the head less that beside it, as a fraction of the brain's.

    Motion and pulsation smear the head along the phase-encoding axis, which this ratio of mean intensities shows as
    it does in the phantom test of the American College of Radiology (its "percent-signal ghosting"); noise is alike
    on all sides. It is taken beyond 25 mm from the upper half of the brain, where there is no face.

    Returns
    -------
    float or None
        Negative when there is more beside the head; None where the image shows too little air, or all of it is 0.
    """
    data, brain = data_of(raw), mask_of(brain_mask)
    if not brain.any():
        return None
    levels = np.flatnonzero(brain.any(axis=(0, 1)))
    upper = slice((levels[0] + levels[-1]) // 2, levels[-1] + 1)
    data, half = data[:, :, upper], brain[:, :, upper]
    margins = [n // 2 for n in _reach(raw, _AIR_DISTANCE_MM)[:2]]
    spans = [np.flatnonzero(half.any(axis=(1 - axis, 2)))[[0, -1]] for axis in (0, 1)]
    beside = [slice(None, max(0, spans[0][0] - margins[0])), slice(spans[0][1] + margins[0] + 1, None)]
    along = [slice(None, max(0, spans[1][0] - margins[1])), slice(spans[1][1] + margins[1] + 1, None)]
    within = [slice(start, stop + 1) for start, stop in spans]
    air_x = np.concatenate([data[side, within[1]].ravel() for side in beside])
    air_y = np.concatenate([data[within[0], end].ravel() for end in along])
    if min(air_x.size, air_y.size) < _MIN_VOXELS or not (air_x.any() or air_y.any()):
        return None
    return float((air_y.mean() - air_x.mean()) / np.median(data[half]))


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
    if column in _RULES:
        return _RULES[column], ""
    start, _, end = column.rpartition("_")
    return _RULES[start], next(name for name in SEQUENCES if name.lower() == end)


def _reach(image: nib.Nifti1Image, distance_mm: float) -> list[int]:
    """Return the size in voxels of a box that extends `distance_mm` from its centre to all sides."""
    return [1 + 2 * int(np.ceil(distance_mm / size_mm)) for size_mm in voxel_sizes(image.affine)]
