"""The gate of stage 2: the voxels that stage 1 finds likely, and the voxels connected with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TOUCHING = np.ones((3, 3, 3), bool)


def open_gate(first_probability: NDArray[np.floating], gate: tuple[float, float]) -> NDArray[np.bool_]:
    """Return the voxels above the lower level that are 26-connected, through such voxels, to one above the higher.

    The core of a large lesion may look less like one than its edge: a single threshold would cut it out (hysteresis, as
    in Canny 1986).

    Parameters
    ----------
    first_probability : (X, Y, Z) array
        Of stage 1.
    gate : pair of float
        The lower and the higher level, as in :attr:`CascadeConfig.gate`; only the higher one counts if it is not above
        the other.

    Returns
    -------
    (X, Y, Z) bool array
    """
    low, high = gate
    likely = first_probability > high
    if low >= high or not likely.any():
        return likely
    possible = first_probability > low
    box = ndimage.find_objects(possible.view(np.int8))[0]
    components, n = ndimage.label(possible[box], _TOUCHING)
    reached = np.zeros(n + 1, bool)
    reached[components[likely[box]]] = True
    opened = np.zeros_like(possible)
    opened[box] = reached[components]
    return opened
