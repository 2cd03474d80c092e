"""Labelled lesions that are not visible, which training ignores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_NEAR_MM, _FAR_MM = 1.0, 3.0
"""The ring around a lesion that it is compared with."""


def doubtful_lesions(
    flair: NDArray[np.floating],
    brain: NDArray[np.bool_],
    lesion: NDArray[np.bool_],
    least_contrast: float,
    voxel_size_mm: float = 1.0,
) -> NDArray[np.bool_]:
    """Return the lesions that are hardly brighter in FLAIR than what surrounds them.

    Parameters
    ----------
    flair : (X, Y, Z) array
        Normalised: white matter is 1.
    brain, lesion : (X, Y, Z) bool arrays
    least_contrast : float
        Of a 26-connected lesion's mean over the median of the brain 1 to 3 mm around it.
    voxel_size_mm : float
        Edge of the isotropic voxels.

    Returns
    -------
    (X, Y, Z) bool array
        All voxels of these lesions.
    """
    doubtful = np.zeros(lesion.shape, bool)
    components, _ = ndimage.label(lesion, np.ones((3, 3, 3)))
    margin = int(np.ceil(_FAR_MM / voxel_size_mm)) + 1
    for number, bounds in enumerate(ndimage.find_objects(components), start=1):
        box = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in bounds)
        own = components[box] == number
        distance_mm = ndimage.distance_transform_edt(~own) * voxel_size_mm
        ring = (distance_mm > _NEAR_MM) & (distance_mm <= _FAR_MM) & brain[box] & ~lesion[box]
        if ring.any() and flair[box][own].mean() - np.median(flair[box][ring]) < least_contrast:
            doubtful[box] |= own
    return doubtful
