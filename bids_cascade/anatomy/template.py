"""Templates: the built-in one, whose images nilearn ships, and local ones of TemplateFlow."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.errors import BadDataError, MissingInputError
from bids_cascade.imaging.grid import grid_of, resample
from bids_cascade.imaging.images import load_image, load_mask, mask_of, same_grid
from bids_cascade.nifti_file import has_orientation, read_header

BUILT_IN = "MNI152NLin2009aSym"
"""BIDS name of the atlas's template [1]_.

References
----------
.. [1] Fonov V. et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011) 313-327.
"""
URI = "https://www.bic.mni.mcgill.ca/ServicesAtlases/ICBM152NLin2009"
"""Description of the template."""
TEMPLATEFLOW_URI = "https://github.com/templateflow"
"""TemplateFlow's templates, one repository each."""
HOME = "TEMPLATEFLOW_HOME"
"""Environment variable that names TemplateFlow's folder."""

_FILE = "mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
_RESOLUTIONS = ("_res-01", "_res-1", "", "_res-02", "_res-2")
"""In order of preference."""


@cache
def template_image(kind: str = "t1") -> nib.Nifti1Image:
    """Return the T1-weighted brain of the built-in template, or its white matter, scaled from 0 to 1.

    Parameters
    ----------
    kind : {'t1', 'wm'}

    Raises
    ------
    MissingInputError
        When the installed nilearn does not ship it.
    """
    # The package is located without an import, which would take seconds.
    spec = find_spec("nilearn")
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = Path(*folders[:1], "datasets", "data", _FILE.format(kind=kind))
    if not path.is_file():
        raise MissingInputError(f"{path} does not exist: nilearn 0.14 ships it; install that version.")
    image = load_image(path)
    data = np.asarray(image.dataobj, np.float32)
    return nib.Nifti1Image(data / data.max(), image.affine)


def load_template(name: str) -> nib.Nifti1Image:
    """Return a template's T1-weighted brain; nothing is downloaded.

    Parameters
    ----------
    name : str
        :data:`BUILT_IN`, or a template of TemplateFlow.

    Raises
    ------
    MissingInputError, BadDataError, ReadWriteError
        See :func:`find_template`; also when its images can't be read.
    """
    if name == BUILT_IN:
        return template_image()
    scan, mask = find_template(name)
    if not has_orientation(read_header(scan)):
        raise BadDataError(f"{scan} has neither sform nor qform, so left and right may be swapped; fetch it again")
    image = load_image(scan)
    if mask is None:
        return image
    brain = load_mask(mask)
    if not same_grid(brain, image):
        raise BadDataError(f"{mask} is not on the grid of {scan}; fetch the template again")
    inside = mask_of(resample(brain, grid_of(image), 0))
    if not inside.any():
        raise BadDataError(f"{mask} shows no brain; fetch the template again")
    return nib.Nifti1Image(np.where(inside, np.asarray(image.dataobj, np.float32), 0), image.affine)


def find_template(name: str) -> tuple[Path, Path | None]:
    """Return a template's T1w image in ``TEMPLATEFLOW_HOME``, and its brain mask unless the image is skull-stripped.

    Raises
    ------
    MissingInputError
        When there is no such folder, or it has no T1w image with a brain mask, nor a skull-stripped one.
    """
    home = os.environ.get(HOME)
    if not home:
        raise MissingInputError(
            f"the template {name} is neither built in ({BUILT_IN} is) nor found: set {HOME} to the folder that "
            "holds TemplateFlow's templates"
        )
    folder = Path(home) / f"tpl-{name}"
    for resolution in _RESOLUTIONS:
        stem = folder / f"tpl-{name}{resolution}"
        brain, whole, mask = (
            Path(f"{stem}_{ending}.nii.gz") for ending in ("desc-brain_T1w", "T1w", "desc-brain_mask")
        )
        if brain.is_file():
            return brain, None
        if whole.is_file() and mask.is_file():
            return whole, mask
    raise MissingInputError(
        f"{folder} holds no T1w image of the template with its brain mask, such as tpl-{name}_res-01_T1w.nii.gz and "
        f"tpl-{name}_res-01_desc-brain_mask.nii.gz; fetch it with TemplateFlow"
    )
