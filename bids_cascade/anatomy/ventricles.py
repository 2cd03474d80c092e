"""Ventricles: the fluid that belongs to them, and their walls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.structures import FLUID, Structure

_LATERAL, _SULCAL = Structure.LATERAL_VENTRICLES + 1, Structure.SULCAL_FLUID + 1
_CERTAIN = {
    Structure.LATERAL_VENTRICLES: 0.5,
    Structure.THIRD_VENTRICLE: 0.3,
    Structure.FOURTH_VENTRICLE: 0.3,
    Structure.SULCAL_FLUID: 0.5,
}
"""Prior above which fluid certainly belongs to a structure. With 0.3 for sulci, horns of large ventricles became
sulci."""
_DEPTHS_VOXELS = (5.0, 3.5, 2.5, 2.0, 1.5, 1.0)
"""Least distances from tissue at which fluid spreads, one after the other."""
_MOST_TURNS, _STEPS = 12, 2
"""Largest number of rounds at each depth before shallower voxels are included, and voxels per round."""
_REACH_VOXELS = 18
"""Distance from where the atlas is certain of a lateral ventricle, up to which its fluid is sought. Where it is found
at this distance, it is sought as far again: occipital horns of large ventricles were cut off."""
_LEAST_PRIOR = 0.1
"""Prior that a separate island of fluid must reach to belong to a lateral ventricle; at the ends of horns it is low."""
_PLEXUS_VOXELS, _SURE_OF_VENTRICLE = 2, 0.3
"""Voxels of the morphological closing of ventricles, and the prior above which it applies."""
_WALL_VOXELS = 2
"""Largest width of a blurred wall."""
_ENHANCED, _PLEXUS_REACH_VOXELS = 1.25, 6
"""T1w relative to white matter from which tissue beside a ventricle is plexus with contrast agent, and its width."""
_WALL = (Structure.CORTEX + 1, Structure.DEEP_GREY + 1, Structure.WHITE_MATTER + 1)


def tell_fluid_apart(structures: NDArray[np.uint8], priors: NDArray[np.floating], lesion: NDArray[np.bool_]) -> None:
    """Divide fluid between the lateral ventricles and their surroundings, in place, and add the choroid plexus.

    If the ventricles are larger than in the atlas's people, or shifted, its priors hardly say to which structure fluid
    belongs. Labels therefore spread from seeds where the priors are certain: from all seeds at once, first through the
    middle of wide spaces and then through ever narrower ones. A horn is widely connected to its ventricle, but a sulcus
    or cistern by a slit at most.

    Parameters
    ----------
    structures : (X, Y, Z) uint8 array
        :class:`~bids_cascade.anatomy.structures.Structure` + 1.
    priors : (S, X, Y, Z) array
    lesion : (X, Y, Z) bool array
        Excluded from the plexus.
    """
    lateral = _certain(structures, priors, Structure.LATERAL_VENTRICLES)
    if not lateral.any():
        return
    others = np.any([_certain(structures, priors, structure) for structure in FLUID[1:]], axis=0)
    fluid = np.isin(structures, [structure + 1 for structure in FLUID])
    box = _box_around(lateral, _REACH_VOXELS)
    found, surroundings = _spread(fluid[box], lateral[box], others[box])
    wider = _beyond_borders(box, found)
    if wider != box:
        box = wider
        found, surroundings = _spread(fluid[box], lateral[box], others[box])
    part, prior = structures[box], priors[Structure.LATERAL_VENTRICLES][box]
    part[(part == _LATERAL) & surroundings] = _SULCAL
    plexus = ndimage.binary_closing(found, iterations=_PLEXUS_VOXELS)
    plexus &= (prior > _SURE_OF_VENTRICLE) & ~lesion[box]
    part[found | plexus] = _LATERAL
    _drop_unlikely(structures, priors[Structure.LATERAL_VENTRICLES])


def _beyond_borders(box: tuple[slice, ...], found: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the box, extended where what was found in it reaches its border."""
    return tuple(
        slice(
            max(0, edge.start - _REACH_VOXELS * int(found.take(0, axis).any())),
            edge.stop + _REACH_VOXELS * int(found.take(-1, axis).any()),
        )
        for axis, edge in enumerate(box)
    )


def _certain(structures: NDArray[np.uint8], priors: NDArray[np.floating], structure: Structure) -> NDArray[np.bool_]:
    return np.asarray((structures == structure + 1) & (priors[structure] > _CERTAIN[structure]))


def _spread(
    fluid: NDArray[np.bool_], ventricle: NDArray[np.bool_], surroundings: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the fluid that is reached first from each of two sets of seeds; the rest goes to the surroundings."""
    depth = ndimage.distance_transform_edt(fluid)
    for least in _DEPTHS_VOXELS:
        wide = fluid & (depth >= least)
        for _ in range(_MOST_TURNS):
            reached = np.count_nonzero(ventricle) + np.count_nonzero(surroundings)
            ventricle = ventricle | ndimage.binary_dilation(ventricle, mask=wide & ~surroundings, iterations=_STEPS)
            surroundings = surroundings | ndimage.binary_dilation(
                surroundings, mask=wide & ~ventricle, iterations=_STEPS
            )
            if np.count_nonzero(ventricle) + np.count_nonzero(surroundings) == reached:
                break
    return ventricle, surroundings | ndimage.binary_propagation(surroundings, mask=fluid & ~ventricle)


def _drop_unlikely(structures: NDArray[np.uint8], prior: NDArray[np.floating]) -> None:
    """Relabel islands as sulcal fluid, in place, if the atlas expects a lateral ventricle nowhere in them."""
    islands, n = ndimage.label(structures == _LATERAL)
    unlikely = ndimage.maximum(prior, islands, np.arange(n + 1)) < _LEAST_PRIOR
    unlikely[0] = False
    structures[unlikely[islands]] = _SULCAL


def extend_to_walls(structures: NDArray[np.uint8], t1w: NDArray[np.floating], lesion: NDArray[np.bool_]) -> None:
    """Extend the lateral ventricles, in place, by adjacent voxels that are more than half fluid.

    At a wall, voxels that mix fluid and white matter look like cortex and have been labelled so. Those darker in T1w
    than midway between the two are mostly fluid. Choroid plexus beside the wall is treated alike, also if it has taken
    up contrast agent and is brighter than any tissue.

    Parameters
    ----------
    structures : (X, Y, Z) uint8 array
    t1w : (X, Y, Z) array
    lesion : (X, Y, Z) bool array
        Excluded, since it may be as dark.
    """
    ventricle, white = structures == _LATERAL, structures == Structure.WHITE_MATTER + 1
    if not (ventricle.any() and white.any()):
        return
    white_level = np.median(t1w[white])
    middle = (np.median(t1w[ventricle]) + white_level) / 2
    box = _box_around(ventricle, _PLEXUS_REACH_VOXELS)
    part, values, tissue = structures[box], t1w[box], np.isin(structures[box], _WALL) & ~lesion[box]
    for fits, reach in ((values < middle, _WALL_VOXELS), (values > _ENHANCED * white_level, _PLEXUS_REACH_VOXELS)):
        part[ndimage.binary_dilation(ventricle[box], mask=fits & tissue, iterations=reach)] = _LATERAL


def _box_around(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    return tuple(slice(max(0, edge.start - margin), edge.stop + margin) for edge in box)
