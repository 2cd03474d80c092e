"""Brain masks of T1-weighted images, or of FLAIR images where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.grid import grid_of, in_order_of, in_ras_order
from bids_cascade.imaging.images import data_of
from bids_cascade.imaging.intensity import foreground, is_mostly_background, without_noise_around

BRAIN_VOLUME_LIMITS_ML = (500.0, 2500.0)

_MP2RAGE = "_UNIT1."
"""In the name of an image around whose head there is noise as bright as the brain."""

_STRIPPED_BORDER_FRACTION = 0.05
_FULLEST_BOX = 0.7
"""Fraction of the box around it that a brain fills at most; 20 real masks fill .44 to .54, a cylinder .79."""


@dataclass(frozen=True, eq=False)
class BrainMask:
    """A brain mask and where it comes from.

    Attributes
    ----------
    mask : nibabel.Nifti1Image
        uint8, 1 in the brain, on the image's own grid.
    method : {'deepbet', 'nonzero'}
        Brain extraction, or all but the background of an image that was already skull-stripped.
    volume_ml : float
        Volume of the mask.
    """

    mask: nib.Nifti1Image
    method: Literal["deepbet", "nonzero"]
    volume_ml: float


def is_skull_stripped(image: nib.Nifti1Image) -> bool:
    """Whether everything but a brain-sized blob was already set to one value.

    True when the background's value, whatever it is, fills at least 30 % of the image, the rest has the volume of a
    brain (500-2500 ml in its largest part) and fills less than 5 % of the image's outer faces. A raw head, even defaced
    and with a background of zeros, is larger or cut off at the neck.
    """
    inside = foreground(data_of(image))
    if not is_mostly_background(inside):
        return False
    faces = [face for axis in range(3) for face in (inside.take(0, axis), inside.take(-1, axis))]
    if sum(face.sum() for face in faces) > _STRIPPED_BORDER_FRACTION * sum(face.size for face in faces):
        return False
    low, high = BRAIN_VOLUME_LIMITS_ML
    return bool(low <= _volume_ml(_solid(inside), image) <= high)


def brain_mask(
    image: nib.Nifti1Image,
    mode: Literal["auto", "skip", "force"] = "auto",
    n_threads: int = 1,
    sequence: str = "T1w",
) -> BrainMask:
    """Find the brain in a T1-weighted image, or in a FLAIR.

    Parameters
    ----------
    image : nibabel.Nifti1Image
        (X, Y, Z), any orientation.
    mode : {'auto', 'skip', 'force'}
        Extract the brain with deepbet [1]_ unless the image is already stripped; take all but the background; always
        extract.
    n_threads : int
        Threads of the network; the mask does not depend on it.
    sequence : str
        What the image is called in messages.

    Returns
    -------
    BrainMask
        One connected region without holes, on the grid of the image.

    Raises
    ------
    BadDataError
        If the brain's volume is outside 500-2500 ml, or it fills the box around it as no brain does.

    References
    ----------
    .. [1] Fisch L. et al., deepbet: Fast brain extraction of T1-weighted MRI using convolutional neural networks,
       Computers in Biology and Medicine 179 (2024) 108845.
    """
    skip = mode == "skip" or (mode == "auto" and is_skull_stripped(image))
    voxels = foreground(data_of(image)) if skip else _extract(image, n_threads, sequence)
    voxels = _solid(voxels) if voxels.any() else voxels
    volume_ml = _volume_ml(voxels, image)
    low, high = BRAIN_VOLUME_LIMITS_ML
    fault = ""
    if not low <= volume_ml <= high:
        fault = f"the brain mask has {volume_ml:.0f} ml; expected {low:.0f} to {high:.0f} ml"
    elif (filled := _fraction_of_box(voxels)) > _FULLEST_BOX:
        fault = f"the brain mask fills {filled:.0%} of the box around it; expected at most {_FULLEST_BOX:.0%}"
    if fault:
        advice = "use --skull-strip force" if skip else f"check that it is a {sequence} image of a whole brain"
        raise BadDataError(f"{image.get_filename() or f'{sequence} image'}: {fault}, so {advice}.")
    mask = nib.Nifti1Image(voxels.astype(np.uint8), image.affine)
    mask.header.set_xyzt_units("mm")
    return BrainMask(mask, "nonzero" if skip else "deepbet", volume_ml)


def _extract(image: nib.Nifti1Image, n_threads: int, sequence: str) -> NDArray[np.bool_]:
    import torch
    from deepbet.bet import BrainExtraction

    data = data_of(in_ras_order(image))
    if _MP2RAGE in (image.get_filename() or ""):
        data = without_noise_around(data)
    threads_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        extraction: Any = BrainExtraction(no_gpu=True)
        extracted = extraction.run_model(data.copy()) > 0.5
    except (AssertionError, ValueError, RuntimeError) as error:
        # deepbet asserts, or fails on an empty array, when it sees no brain at all.
        name = image.get_filename() or f"{sequence} image"
        raise BadDataError(f"{name}: deepbet finds no brain ({error}); check that it is a {sequence} image.") from error
    finally:
        torch.set_num_threads(threads_before)
    return in_order_of(extracted, image.affine)


def _solid(voxels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Largest 6-connected component, its holes filled; `voxels` is not empty."""
    labels, _ = ndimage.label(voxels)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()), dtype=bool)


def _fraction_of_box(voxels: NDArray[np.bool_]) -> float:
    """Fraction of their bounding box that the voxels, at least one, fill."""
    return float(voxels[ndimage.find_objects(voxels.astype(np.uint8))[0]].mean())


def _volume_ml(voxels: NDArray[np.bool_], image: nib.Nifti1Image) -> float:
    return float(np.count_nonzero(voxels) * grid_of(image).voxel_volume_mm3 / 1000)
