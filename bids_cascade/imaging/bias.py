"""Bias field correction."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.contrast import check_intensities
from bids_cascade.imaging.grid import grid_of, in_order_of, in_ras_order, resample
from bids_cascade.imaging.images import data_of, from_ants, load_ants, mask_of, to_ants

_WORKING_VOXEL_MM = 6.0
_SPLINE_DISTANCE_MM = 200
# Three levels end at control points 50 mm apart; a fourth was seen to follow white against grey matter.
_ITERATIONS = [50, 50, 50]


def correct_bias(image: nib.Nifti1Image, mask: nib.Nifti1Image) -> nib.Nifti1Image:
    """Divide an image by the smooth bias field that N4 [1]_ finds inside the brain.

    The field is found on block means of about 6 mm: an axis is shrunk only as far as its voxels are finer, so that
    thick slices are not merged. Beyond the brain's bounding box the field keeps its outermost value. Its logarithm is
    interpolated linearly and has mean 0 in the mask, so that intensities keep their scale and their sign. Blocks begin
    at the corner nearest to LPI, whatever the order in which the axes are stored.

    Parameters
    ----------
    image, mask : nibabel.Nifti1Image
        (X, Y, Z), on the same grid.

    Returns
    -------
    nibabel.Nifti1Image
        float32, the whole image corrected.

    Raises
    ------
    BadDataError
        If the image has no positive voxel inside the mask.

    References
    ----------
    .. [1] Tustison N. J. et al., N4ITK: Improved N3 bias correction, IEEE Transactions on Medical Imaging 29 (2010)
       1310-1320.
    """
    turned = in_ras_order(image)
    data = data_of(turned)
    inside = mask_of(in_ras_order(mask)) & (data > 0)
    if not inside.any():
        name = image.get_filename() or "the image"
        raise BadDataError(f"{name} has no positive voxel inside the brain mask; check that both show the same head.")
    factors = _shrink_factors(voxel_sizes(turned.affine))
    field = _shrunk_log_field(data, inside, turned.affine, factors)
    log_field = _enlarge(field, factors, data.shape)
    log_field -= log_field[inside].mean()
    corrected = nib.Nifti1Image(in_order_of(data / np.exp(log_field), image.affine), image.affine)
    corrected.header.set_xyzt_units("mm")
    return corrected


def correct_scan(image: nib.Nifti1Image, brain: nib.Nifti1Image, t1w_to_own: NDArray[np.float64]) -> nib.Nifti1Image:
    """Correct the bias field of an image whose brain is known on the grid of the T1w image.

    Parameters
    ----------
    image : nibabel.Nifti1Image
    brain : nibabel.Nifti1Image
        Brain mask on the grid of the T1w image.
    t1w_to_own : (4, 4) array
        Maps points of the T1w image's world to the image's, in mm.

    Raises
    ------
    BadDataError
        When the image is constant over the brain, or misses it, see
        :func:`bids_cascade.imaging.contrast.check_intensities` and :func:`correct_bias`.
    """
    own_brain = resample(brain, grid_of(image), 0, np.asarray(np.linalg.inv(t1w_to_own), np.float64))
    check_intensities(image, own_brain)
    return correct_bias(image, own_brain)


def _shrink_factors(sizes_mm: NDArray[np.float64]) -> tuple[int, int, int]:
    x, y, z = np.maximum(1, np.rint(_WORKING_VOXEL_MM / sizes_mm)).astype(int).tolist()
    return x, y, z


def _shrunk_log_field(
    data: NDArray[np.float32], inside: NDArray[np.bool_], affine: NDArray[np.float64], factors: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Logarithm of the bias field on the grid of blocks of `factors` voxels."""
    weight = _block_sums(inside.astype(np.float32), factors)
    total = _block_sums(np.where(inside, data, 0), factors)
    # Blocks that are mostly brain, by their brain voxels alone, so that the rim is not darkened by the background.
    within = weight > 0.5 * np.prod(factors)
    if not within.any():
        within = weight > 0
    mean = np.where(within, total / np.maximum(weight, 1), 0).astype(np.float32)
    shrunk_affine = affine @ np.diag([*factors, 1.0])
    shrunk_affine[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((np.asarray(factors) - 1) / 2)
    box = ndimage.find_objects(within.astype(np.uint8))[0]
    field = load_ants().n4_bias_field_correction(
        to_ants(nib.Nifti1Image(mean[box], shrunk_affine)),
        mask=to_ants(nib.Nifti1Image(within[box].astype(np.float32), shrunk_affine)),
        shrink_factor=1,
        convergence={"iters": _ITERATIONS, "tol": 1e-7},
        spline_param=_SPLINE_DISTANCE_MM,
        return_bias_field=True,
    )
    log_field = np.log(data_of(from_ants(field)))
    return np.pad(log_field, [(s.start, n - s.stop) for s, n in zip(box, within.shape, strict=True)], mode="edge")


def _block_sums(values: NDArray[np.float32], factors: tuple[int, int, int]) -> NDArray[np.float32]:
    padded = np.pad(values, [(0, -n % factor) for n, factor in zip(values.shape, factors, strict=True)])
    for axis, factor in enumerate(factors):
        padded = np.add.reduceat(padded, np.arange(0, padded.shape[axis], factor), axis=axis)
    return padded


def _enlarge(field: NDArray[np.float32], factors: tuple[int, int, int], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate linearly from block centres to voxels, holding the outermost value."""
    scale = 1 / np.asarray(factors)
    return np.asarray(
        ndimage.affine_transform(
            field,
            np.diag(scale),
            offset=(scale - 1) / 2,
            output_shape=shape,
            order=1,
            mode="nearest",
            output=np.float32,
        )
    )
