"""Quality measures of a visit's scans and of their processing."""

from __future__ import annotations

from collections.abc import Mapping

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.imaging.grid import fraction_inside
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.imaging.intensity import outlier_count, settle
from bids_cascade.imaging.quality_rules import AGREEMENT, RULES, Row
from bids_cascade.imaging.scan import Scan, make_scan, slice_axis

_CONTRASTS = ("t1w_correlation", "tissue_order", "depth_contrast")
_MOST_SLICES = 24
_MUSCLE = 0.79
_AIR_DISTANCE_MM = 25.0
_MIN_VOXELS = 500
_SHELL_MM = (2.0, 6.0)
_MAD_TO_SD = 1.4826
# Second differences along rows of those along columns; without the 6, noise would come out 6 times as large.
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


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
        row |= {column: value for column, value in contrasts.items() if column in RULES}
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


def _reach(image: nib.Nifti1Image, distance_mm: float) -> list[int]:
    """Return the size in voxels of a box that extends `distance_mm` from its centre to all sides."""
    return [1 + 2 * int(np.ceil(distance_mm / size_mm)) for size_mm in voxel_sizes(image.affine)]
