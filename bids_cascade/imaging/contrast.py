"""Whether a visit's sequences are what their names say, judged by their contrast.

Measured on 17 visits of four sites, 10 of them with T2w: 12 mm deep the brain is brighter than at its rim, of fluid
and cortex, by 1.4 to 2.1 standard deviations in T1w (0.9 where it was stripped badly), by 0.9 to 2.4 in FLAIR and by
-0.4 to 0.5 in T2w. Voxel by voxel, T1w correlates with FLAIR by .40 to .81 (.14 there), with T2w by -.71 to -.35.

These measures hardly change if T1w and FLAIR are exchanged, since fluid is dark in both. They differ in whether grey
matter, near the surface, or white matter, deep in the brain, is brighter. With fluid and the brightest voxels, such as
lesions, excluded, the brain is brighter 12 mm deep than 3 to 9 mm deep by 0.39 to 1.06 standard deviations in T1w and
by -0.52 to 0.14 in FLAIR; the difference is 0.62 to 1.34 in 20 visits of four sites, and has the opposite sign if they
are exchanged. Where there is no T1w to compare with, the FLAIR's own rise tells it from a T1w: it was -0.13 to 0.22 in
10 visits, that of their T1w 0.76 to 1.04, and that of their T2w below -0.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.images import data_of, mask_of

_STEP_MM = 3.0
_RIM_STEPS, _INNER_STEPS = 1, 4
_FEWEST_VOXELS = 100
_FEWEST_INTENSITIES = 16

_SAME_IMAGE = 0.95
_NOT_FLAIR = -0.2
_DARK_INSIDE = {"T1w": 0.3, "FLAIR": 0.5}
_EXPECTED_DEPTH = {"T1w": "1.4 to 2.1", "FLAIR": "0.9 to 2.4"}
_EXCHANGED = -0.3
"""Coarse phantoms, of little contrast, reach -0.1."""

_CORTEX_MM, _WHITE_MM = (3.0, 9.0), 12.0
_PARENCHYMA_PERCENTILES = (25, 90)

_LIKE_T1W = 0.5


def check_intensities(image: nib.Nifti1Image, mask: nib.Nifti1Image) -> None:
    """Refuse a scan that is a mask or a label map.

    Parameters
    ----------
    image, mask : nibabel.Nifti1Image
        Not corrected yet; brain mask, on one grid.

    Raises
    ------
    BadDataError
        If it has fewer than 16 different intensities in the brain.
    """
    inside = data_of(image)[mask_of(mask)]
    n_found = len(np.unique(inside))
    if 0 < n_found < _FEWEST_INTENSITIES:
        raise BadDataError(
            f"{image.get_filename() or 'the image'} has {n_found} different intensities in the brain; expected a scan "
            f"with {_FEWEST_INTENSITIES} at least, not a mask or a label map"
        )


def measure_contrast(
    channels: NDArray[np.float32], brain: NDArray[np.bool_], voxel_size_mm: float, sequences: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Measure the contrast of each sequence.

    Parameters
    ----------
    channels : (C, X, Y, Z) float32 array
        Normalised.
    brain : (X, Y, Z) bool array
    voxel_size_mm : float
    sequences : sequence of str
        Of the channels, in their order, the T1w, if there is one, first.

    Returns
    -------
    dict of dict
        By sequence and column: ``depth_contrast``, how much brighter the brain is 12 mm deep than at its rim, in
        standard deviations; but for the T1w, ``t1w_correlation``, Pearson's; of the FLAIR, ``tissue_order``, how much
        more brightness rises from grey to white matter in the T1w, in standard deviations. Without a T1w, of the FLAIR,
        ``white_rise``, how much it rises. None where there is too little to measure.
    """
    step = max(1, round(_STEP_MM / voxel_size_mm))
    coarse, values = brain[::step, ::step, ::step], channels[:, ::step, ::step, ::step]
    rim = coarse & ~ndimage.binary_erosion(coarse, iterations=_RIM_STEPS)
    inner = ndimage.binary_erosion(coarse, iterations=_INNER_STEPS)
    contrasts: dict[str, dict[str, float | None]] = {}
    with_t1w = sequences[0] == "T1w"
    for name, channel in zip(sequences, values, strict=True):
        spread = float(channel[coarse].std()) if coarse.any() else 0.0
        enough = spread > 0 and min(np.count_nonzero(rim), np.count_nonzero(inner)) >= _FEWEST_VOXELS
        depth = float(np.median(channel[inner]) - np.median(channel[rim])) / spread if enough else None
        contrasts[name] = {"depth_contrast": depth}
        if with_t1w and name != "T1w":
            correlation = float(np.corrcoef(values[0][coarse], channel[coarse])[0, 1]) if enough else None
            contrasts[name]["t1w_correlation"] = correlation
        if with_t1w and name == "FLAIR":
            rise = _white_rise(values[[0, sequences.index(name)]], coarse, step * voxel_size_mm)
            contrasts[name]["tissue_order"] = float(rise[0] - rise[1]) if rise is not None else None
        elif name == "FLAIR":
            rise = _white_rise(channel[None], coarse, step * voxel_size_mm)
            contrasts[name]["white_rise"] = float(rise[0]) if rise is not None else None
    return contrasts


def _white_rise(
    images: NDArray[np.float32], brain: NDArray[np.bool_], voxel_size_mm: float
) -> NDArray[np.float64] | None:
    """Return how much brightness rises from grey to white matter, in standard deviations, (C,) of (C, X, Y, Z)."""
    inside = images[:, brain]
    if inside.shape[1] < _FEWEST_VOXELS:
        return None
    low, high = np.percentile(inside, _PARENCHYMA_PERCENTILES, axis=1)[..., None]
    parenchyma = ((inside >= low) & (inside <= high)).all(axis=0)
    depth_mm = ndimage.distance_transform_edt(brain)[brain] * voxel_size_mm
    shallowest_mm, deepest_mm = _CORTEX_MM
    grey = parenchyma & (depth_mm >= shallowest_mm) & (depth_mm <= deepest_mm)
    white = parenchyma & (depth_mm >= _WHITE_MM)
    spread = inside[:, parenchyma].std(axis=1) if parenchyma.any() else np.zeros(len(inside))
    if min(np.count_nonzero(grey), np.count_nonzero(white)) < _FEWEST_VOXELS or not (spread > 0).all():
        return None
    rise = np.median(inside[:, white], axis=1) - np.median(inside[:, grey], axis=1)
    return np.asarray(rise / spread, np.float64)


def check_contrast(measured: Mapping[str, Mapping[str, float | None]], names: Mapping[str, str]) -> None:
    """Refuse sequences that can't be what their names say.

    Parameters
    ----------
    measured : mapping of str to mapping
        By sequence, see :func:`measure_contrast`.
    names : mapping of str to str
        What to call each sequence's image.

    Raises
    ------
    BadDataError
        If the T1w, or the FLAIR where there is no T1w, is no brighter inside the brain than at its rim, another
        sequence is a copy of the T1w, the FLAIR's contrast is that of a T2w, or T1w and FLAIR are exchanged.
    """
    first = next(iter(measured))
    depth = measured[first]["depth_contrast"]
    if depth is not None and depth < _DARK_INSIDE[first]:
        raise BadDataError(
            f"{names[first]} can't be a {first} image: the inside of the brain is {depth:.1f} standard deviations "
            f"brighter than its rim (expected {_EXPECTED_DEPTH[first]}); it may be a T2w image, or inverted"
        )
    white_rise = measured[first].get("white_rise")
    if white_rise is not None and white_rise > _LIKE_T1W:
        raise BadDataError(
            f"{names[first]} can't be a {first} image: it rises by {white_rise:.1f} standard deviations from grey to "
            "white matter (expected -0.2 to 0.3); it may be a T1w image"
        )
    for sequence, row in measured.items():
        correlation = row.get("t1w_correlation")
        if correlation is None:
            continue
        if correlation > _SAME_IMAGE:
            raise BadDataError(
                f"{names[sequence]} looks like a copy of {names['T1w']} (correlation {correlation:.2f} in the brain); "
                f"expected a {sequence} image, so provide the right one"
            )
        if sequence == "FLAIR" and correlation < _NOT_FLAIR:
            raise BadDataError(
                f"{names[sequence]} can't be a FLAIR image: it is bright where {names['T1w']} is dark (correlation "
                f"{correlation:.2f} in the brain, expected 0.4 to 0.8); it may be a T2w image"
            )
        order = row.get("tissue_order")
        if sequence == "FLAIR" and order is not None and order < _EXCHANGED:
            raise BadDataError(
                f"{names['T1w']} and {names[sequence]} seem to be swapped: from grey to white matter the FLAIR image "
                f"rises by {-order:.1f} standard deviations more than the T1w (expected 0.6 to 1.3 less); check that "
                "each file is what its name says"
            )
