"""The rule that turns a probability map into a lesion mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.config import LesionRule
from bids_cascade.lesions.components import box_of, remove_small_lesions, remove_weak_lesions

_IN_A_RING = 0.5
"""Fraction of the threshold from which a voxel is filled that a lesion encloses in a plane; see
``docs/lesion_rule.md``."""


def lesion_mask(probability: NDArray[np.floating], rule: LesionRule, voxel_volume_mm3: float) -> NDArray[np.bool_]:
    """Return the voxels that form lesions, as (X, Y, Z).

    A lesion is a 26-connected component of voxels of at least the rule's threshold, large enough, and with a voxel of
    at least its peak probability: its extent takes a lower probability than its detection (a threshold with hysteresis,
    as in Canny 1986). Cavities that it encloses are part of it, see :func:`fill_cavities`; so are less likely voxels
    that it encloses in a plane, see :func:`fill_planes`.

    Parameters
    ----------
    probability : (X, Y, Z) array
        Of lesion; it stays as it is.
    rule : LesionRule
    voxel_volume_mm3 : float
    """
    return mask_above(rule.threshold, probability, rule, voxel_volume_mm3)


def mask_above(
    threshold: float, values: NDArray[np.floating], rule: LesionRule, voxel_volume_mm3: float
) -> NDArray[np.bool_]:
    """Apply a rule with another threshold than its own.

    Parameters
    ----------
    threshold : float
        Smallest value of a candidate voxel.
    values : (X, Y, Z) array
        Probability, or another map to which the threshold and the rule's peak refer.
    rule : LesionRule
    voxel_volume_mm3 : float
    """
    large = remove_small_lesions(values >= threshold, voxel_volume_mm3, rule.min_lesion_volume_mm3)
    lesions = remove_weak_lesions(large, values, rule.peak_probability)
    whole = fill_cavities(lesions, voxel_volume_mm3, rule.largest_cavity_mm3)
    return fill_planes(whole, values >= _IN_A_RING * threshold)


def fill_cavities(
    mask: NDArray[np.bool_], voxel_volume_mm3: float, largest_mm3: float = LesionRule.largest_cavity_mm3
) -> NDArray[np.bool_]:
    """Return the mask with its enclosed cavities filled, but for those above `largest_mm3`.

    A cavity is a set of voxels outside the mask from which no path through faces (6-connected, as lesions are
    26-connected) leads out: filling joins only lesions that lie within each other. Whether FLAIR is bright or dark in a
    cavity does not matter: a core that has lost its tissue, a black hole, is a part of the T2 lesion (Sahraian et al.
    2010, Acta Neurol Scand 122:1-8), and raters mark it (``docs/lesion_rule.md``). Larger cavities are rather parts of
    a ventricle, or healthy brain within a false shell.

    Parameters
    ----------
    mask : (X, Y, Z) bool array
    voxel_volume_mm3, largest_mm3 : float
    """
    filled = mask.copy()
    box = box_of(mask)
    # The border is connected with everything outside the box around all lesions.
    outside = np.pad(~mask[box], 1, constant_values=True)
    regions, _ = ndimage.label(outside)
    volumes_mm3 = np.bincount(regions.ravel()) * voxel_volume_mm3
    is_cavity = volumes_mm3 <= largest_mm3 * (1 + 1e-6)  # but for rounding
    is_cavity[[0, regions[0, 0, 0]]] = False
    filled[box] |= is_cavity[regions[1:-1, 1:-1, 1:-1]]
    return filled


def fill_planes(mask: NDArray[np.bool_], likely: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask with holes in single planes filled if they are likely lesion themselves.

    The core of an enhancing lesion looks less like a lesion than its rim, and in thick slices a ring is open above and
    below. A hole is a set of voxels of one plane, along any axis, from which no path through edges leads out.

    Parameters
    ----------
    mask, likely : (X, Y, Z) bool arrays
    """
    filled = mask.copy()
    box = box_of(mask)
    inside = np.pad(mask[box], 1)
    holes = np.zeros_like(inside)
    for axis in range(3):
        # Connected within planes, not across them: each plane is labelled by itself.
        structure = ndimage.generate_binary_structure(3, 1)
        structure[tuple(slice(None, None, 2) if other == axis else slice(None) for other in range(3))] = False
        regions, n_regions = ndimage.label(~inside, structure)
        is_hole = np.ones(n_regions + 1, bool)
        is_hole[0] = False
        for other in {0, 1, 2} - {axis}:
            faces = np.moveaxis(regions, other, 0)[[0, -1]]
            is_hole[np.unique(faces)] = False
        holes |= is_hole[regions]
    filled[box] |= holes[1:-1, 1:-1, 1:-1] & likely[box]
    return filled
