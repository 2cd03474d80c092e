"""Label maps and lesion masks read from files, ready for synthesis."""

from __future__ import annotations

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.grid import model_grid, resample
from bids_cascade.imaging.images import data_of, load_image, mask_of
from bids_cascade.synthesis.anatomy import Anatomy, make_anatomy
from bids_cascade.synthesis.lesions import Patient, make_patient, make_single_lesions

_MARGIN_MM = 5.0


def load_anatomy(path: Path) -> Anatomy:
    """Read a label map and prepare it, at 1 mm along RAS and cropped to the head.

    Parameters
    ----------
    path : Path
        NIfTI with FreeSurfer's brain labels and SynthSeg's extracerebral ones (502-530), any grid.

    Raises
    ------
    MissingInputError, BadDataError
        If it can't be read, or is no label map of a whole head.
    """
    image = load_image(path)
    data = data_of(image)
    if (data != np.rint(data)).any():
        raise BadDataError(f"{path} holds fractions; expected a label map: whole numbers, one a structure")
    labels = nib.Nifti1Image(data.astype(np.int16), image.affine)
    resampled = resample(labels, model_grid(labels, labels, 1.0, _MARGIN_MM), 0)
    try:
        return make_anatomy(np.asarray(resampled.dataobj), resampled.affine, stem(path))
    except ValueError as error:
        raise BadDataError(
            f"{path} can't be used as a label map: {error}; expected FreeSurfer labels of a whole head"
        ) from error


def load_patient(path: Path) -> Patient:
    """Read a lesion mask in MNI space and split it into lesions, or an NPZ file of single lesions of many people.

    Raises
    ------
    MissingInputError, BadDataError
        If it can't be read, or is empty.
    """
    if path.suffix == ".npz":
        return _load_single_lesions(path)
    image = nib.as_closest_canonical(load_image(path))
    return make_patient(mask_of(image), image.affine, stem(path))


def _load_single_lesions(path: Path) -> Patient:
    """Read single lesions: flat indices `voxels` of the grid of `shape` and `affine`, split at `offsets`."""
    try:
        with np.load(path) as content:
            voxels = np.stack(np.unravel_index(content["voxels"], content["shape"]), axis=1)
            return make_single_lesions(np.split(voxels, content["offsets"][1:-1]), content["affine"], stem(path))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadDataError(
            f"{path} can't be used as a collection of single lesions: {error}; expected an NPZ file with voxels, "
            "offsets, shape and affine"
        ) from error


def stem(path: Path) -> str:
    """Return the name of a NIfTI or NPZ file without its extension."""
    return path.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".npz")
