"""Makes intensities comparable, however a scan was stored: 0 around the head, and no absurd outliers.

Only this file decides what is background. Ordinary scans are returned unchanged, bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.imaging.images import data_of, load_image

_STRIPPED_FRACTION = 0.3
"""Smallest fraction of an image that a background set to one value fills."""

_ROUNDING = 1e-6
_FAR_BELOW, _FAR_ABOVE = -0.02, 0.2
"""Between these fractions of its range, the lowest percentile of a scan is taken as air (observed: -0.001 to 0.002)."""

_ABSURD = 5.0
"""An intensity this many times that of the brightest thousandth is absurd; real scans, vessels included, reach 3.2."""

_NOISE_WINDOW, _NOISE_KERNEL, _NOISE_LEVEL = 5, (1.0, 0.0, -2.0, 0.0, 1.0), 0.12
"""Noise is measured by second differences along all three axes at once, between every other voxel, which suppress
edges. As a mean over a window, and a fraction of the range: 0.16 at least (first percentile) where a ratio is noise
alone, interpolated to twice the voxels or not; up to 0.10 (99.9th percentile) in brains whose inversions have a
signal-to-noise ratio of 10, sulci and ventricles included."""

_LEAST_NOISE = 0.2
"""Fraction of an image that is noise where the air has not been set to 0: two thirds in heads with a margin."""

_PIECE_VOXELS = 2
_LEAST_PIECE = 0.05
"""Of the largest piece; noise that happens to be even makes pieces of a few voxels."""

_LEAST = 1e-6
_STEP = 61
"""Percentiles are computed from every n-th voxel: of a million, still 16,000."""


def background_value(data: NDArray[np.floating]) -> float:
    """Return the most frequent value on the outer faces of an image (X, Y, Z)."""
    faces = [data.take(end, axis).ravel() for axis in range(3) for end in (0, -1)]
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    return float(values[counts.argmax()])


def foreground(data: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which voxels of an image (X, Y, Z) differ from its background by more than rounding does.

    The background need not be 0: slope and intercept may make it -0.0033, a converter 8, a z-score negative.
    """
    level = background_value(data)
    rounding = _ROUNDING * max(float(data.max()) - level, level - float(data.min()))
    return np.asarray((data > level + rounding) | (data < level - rounding))


def settle(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Set an image's background to 0 and its foreground above that, and clip absurd outliers.

    A value that fills 30 % of the image is the background; otherwise it is the lowest percentile, if that is too far
    from 0 to be air. Voxels five times as bright as the brightest thousandth are set to that limit. An image that needs
    no change is returned as it is.

    Parameters
    ----------
    image : nibabel.Nifti1Image
        (X, Y, Z), finite and not constant.
    """
    data = data_of(image)
    settled = _without_outliers(_above_background(data))
    if settled is data:
        return image
    result = nib.Nifti1Image(settled, image.affine)
    result.header.set_xyzt_units("mm")
    if name := image.get_filename():
        result.set_filename(name)
    return result


def load_scan(path: str | Path) -> nib.Nifti1Image:
    """Read a scan, see :func:`bids_cascade.imaging.images.load_image`, with settled intensities."""
    return settle(load_image(path))


def without_noise_around(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Set the noise around the head to 0 in the uniform image of MP2RAGE (X, Y, Z).

    This image is a ratio of two images, which is random where neither has signal. Voxels are noise where the ratio
    varies from voxel to voxel over much of its range. The head is the union of all large pieces without noise, since
    bone without signal may surround the brain, and of what they enclose. An image with little noise, as after masking,
    is returned unchanged.
    """
    low, high = np.percentile(_some(data), (1, 99))
    rough = data
    for axis in range(3):
        rough = ndimage.convolve1d(rough, _NOISE_KERNEL, axis)
    # White noise is amplified by this factor.
    gain = np.linalg.norm(_NOISE_KERNEL) ** 3
    noisy = ndimage.uniform_filter(np.abs(rough), _NOISE_WINDOW) > _NOISE_LEVEL * gain * (high - low)
    labels, n_pieces = ndimage.label(ndimage.binary_opening(~noisy, iterations=_PIECE_VOXELS))
    if noisy.mean() < _LEAST_NOISE or not n_pieces:
        return data
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    head = (sizes >= _LEAST_PIECE * sizes.max())[labels]
    head = ndimage.binary_fill_holes(ndimage.binary_dilation(head, iterations=_PIECE_VOXELS))
    return np.where(head, data, np.float32(0))


def outlier_count(image: nib.Nifti1Image) -> int:
    """Return how many voxels of an image are so bright or dark that :func:`settle` changes them."""
    data = _above_background(data_of(image))
    limit = _ABSURD * _brightest(data)
    return int(np.count_nonzero(data > limit) + np.count_nonzero(data < -limit)) if limit > 0 else 0


def is_mostly_background(inside: NDArray[np.bool_]) -> bool:
    """Whether as much of an image is background of one value as after skull stripping."""
    return bool(np.count_nonzero(inside) <= (1 - _STRIPPED_FRACTION) * inside.size)


def _above_background(data: NDArray[np.float32]) -> NDArray[np.float32]:
    inside = foreground(data)
    if not is_mostly_background(inside):
        low, high = np.percentile(_some(data), (1, 99))
        far = not _FAR_BELOW * (high - low) <= low <= _FAR_ABOVE * high
        return np.asarray(data - np.float32(low)) if far else data
    level = background_value(data)
    sample = _some(data)[_some(inside)]
    low, high = np.percentile(sample, (1, 99)) if sample.size else (level, level)
    if low < level + _FAR_BELOW * (high - level):
        # As after a z-score over the brain: dark voxels lie below the background.
        least = np.float32(_LEAST * (high - low))
        return np.where(inside, np.maximum(data - np.float32(low), least), np.float32(0))
    return np.asarray(data - np.float32(level)) if level else data


def _without_outliers(data: NDArray[np.float32]) -> NDArray[np.float32]:
    high = _brightest(data)
    limit = _ABSURD * high
    if high == 0 or (data.max() <= limit and data.min() >= -limit):
        return data
    return np.where(data > limit, np.float32(high), np.where(data < -limit, np.float32(0), data))


def _brightest(data: NDArray[np.float32]) -> float:
    """Return the intensity that a thousandth of the voxels above 0 exceed; 0 where there are none."""
    sample = _some(data)
    above = sample[sample > 0]
    return float(np.percentile(above, 99.9)) if above.size else 0.0


def _some(data: NDArray[Any]) -> NDArray[Any]:
    """Return a sample of voxels from all over an image, in the order of its memory."""
    return data.ravel("K")[::_STEP]
