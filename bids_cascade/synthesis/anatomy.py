"""A label map prepared for synthesis: tissues and distances.

All of this depends on the label map alone, so it is computed once for many heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.synthesis.fields import smooth_noise

BoolVolume = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

MARGIN_MM = 12
"""Kept around the brain in its box; covers the model grid's margin and the point spread."""


class Tissue(IntEnum):
    """The tissue of a voxel.

    In lower case, the names are those of :class:`bids_cascade.synthesis.config.Signals`.
    """

    AIR = 0
    WHITE = 1
    CORTEX = 2
    INSULA = 3
    CEREBELLAR_WHITE = 4
    CEREBELLAR_CORTEX = 5
    BRAINSTEM = 6
    VENTRAL_DC = 7
    THALAMUS = 8
    CAUDATE = 9
    PUTAMEN = 10
    PALLIDUM = 11
    HIPPOCAMPUS = 12
    AMYGDALA = 13
    ACCUMBENS = 14
    LATERAL_VENTRICLE = 15
    THIRD_VENTRICLE = 16
    FOURTH_VENTRICLE = 17
    SULCAL_CSF = 18
    CHOROID_PLEXUS = 19
    SEPTUM = 20
    VESSEL = 21
    OPTIC = 22
    EYE = 23
    MUSCLE = 24
    FAT = 25
    SKIN = 26
    MUCOSA = 27
    CORD = 28
    SINUS = 29
    BONE = 30
    MARROW = 31


_LABELS: dict[Tissue, tuple[int, ...]] = {
    Tissue.AIR: (0,),
    # 25, 57 and 77 are white-matter hyperintensities of the people the maps were made from: white matter here.
    Tissue.WHITE: (2, 41, 25, 57, 77, 78, 79, 251, 252, 253, 254, 255),
    Tissue.CORTEX: (3, 42),
    Tissue.CEREBELLAR_WHITE: (7, 46),
    Tissue.CEREBELLAR_CORTEX: (8, 47),
    Tissue.BRAINSTEM: (16,),
    Tissue.VENTRAL_DC: (28, 60),
    Tissue.THALAMUS: (9, 10, 48, 49),
    Tissue.CAUDATE: (11, 50),
    Tissue.PUTAMEN: (12, 51),
    Tissue.PALLIDUM: (13, 52),
    Tissue.HIPPOCAMPUS: (17, 53),
    Tissue.AMYGDALA: (18, 54),
    Tissue.ACCUMBENS: (26, 58),
    Tissue.LATERAL_VENTRICLE: (4, 43, 5, 44, 72),
    Tissue.THIRD_VENTRICLE: (14,),
    Tissue.FOURTH_VENTRICLE: (15,),
    Tissue.SULCAL_CSF: (24,),
    # 136, 137, 163 and 164 lie inside the ventricles of SynthSeg's maps.
    Tissue.CHOROID_PLEXUS: (31, 63, 136, 137, 163, 164),
    Tissue.VESSEL: (30, 62),
    Tissue.OPTIC: (85, 530),
    Tissue.EYE: (506,),
    Tissue.MUSCLE: (502, 507, 508),
    Tissue.MUCOSA: (509,),
    Tissue.SKIN: (511,),
    Tissue.CORD: (512,),
    Tissue.SINUS: (514,),
    Tissue.BONE: (515,),
    Tissue.MARROW: (516,),
}
_LEFT_VENTRICLE, _RIGHT_VENTRICLE = (4, 5), (43, 44)

WHITE_MATTER = (Tissue.WHITE, Tissue.CEREBELLAR_WHITE, Tissue.BRAINSTEM, Tissue.VENTRAL_DC)
DEEP_GREY = (Tissue.THALAMUS, Tissue.CAUDATE, Tissue.PUTAMEN, Tissue.PALLIDUM, Tissue.ACCUMBENS)
CORTICAL = (Tissue.CORTEX, Tissue.INSULA, Tissue.HIPPOCAMPUS, Tissue.AMYGDALA)
PARENCHYMA = (*WHITE_MATTER, *DEEP_GREY, *CORTICAL, Tissue.CEREBELLAR_CORTEX, Tissue.SEPTUM)
VENTRICLES = (Tissue.LATERAL_VENTRICLE, Tissue.THIRD_VENTRICLE, Tissue.FOURTH_VENTRICLE, Tissue.CHOROID_PLEXUS)
_NEVER_BRAIN = tuple(Tissue[name] for name in ("EYE", "MUSCLE", "FAT", "SKIN", "MUCOSA", "CORD", "BONE", "MARROW"))
FLUID = (*VENTRICLES[:3], Tissue.SULCAL_CSF)

_BRAIN_CLOSING_MM = 8.0  # bridges sulci, as brain extraction does
_HULL_CLOSING_MM, _HULL_DEPTH_MM = 14, 8
_AIR_MM = 3.0  # no air so deep in a brain; the sphenoid sinus is not as deep
_INSULA_MM = 11.0  # of cortex from the putamen: claustrum and capsules lie between
_SEPTUM_MM = 3.0  # from both lateral ventricles
_SCALP_MM = 8.0
_WALL_MM = 8.0
_FLOW_MM = 14.0  # around the brainstem
_CAPSULE_MM = 7.0  # of white matter from thalamus and lentiform nucleus both: the internal capsule
_CAPSULE_BEHIND = 0.55  # of the thalamus' length, from its front: where the corticospinal tract passes
_AMYGDALA_MM = 22.0  # from it, over which amygdala and temporal pole fade into other cortex
_CINGULATE_MM = (10.0, 20.0)  # of cortex from the midplane, and from the lateral ventricles

STRUCTURES: dict[str, int] = {
    "thalamus left": 10,
    "thalamus right": 49,
    "caudate left": 11,
    "caudate right": 50,
    "putamen left": 12,
    "putamen right": 51,
    "hippocampus left": 17,
    "hippocampus right": 53,
    "cerebral white left": 2,
    "cerebral white right": 41,
    "cerebellum left": 8,
    "cerebellum right": 47,
    "ventricle left": 4,
    "ventricle right": 43,
    "brainstem": 16,
}
"""Structures whose centres align a label map with the space of the lesion masks: FreeSurfer labels."""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A label map and the maps derived from it.

    Attributes
    ----------
    name : str
        Whose head.
    tissue : (X, Y, Z) uint8 array
        :class:`Tissue` of each voxel, 1 mm.
    affine : (4, 4) array
        Voxel to RAS+ mm.
    box : tuple of slices
        The part of `tissue` around the brain that the next four cover.
    brain_depth_mm, from_ventricle_mm, from_cortex_mm : float16 arrays
        How deep inside the brain (negative outside); distances from the lateral ventricles and from the cortex.
    flow : bool array
        Fluid that moves: around the brainstem, in third and fourth ventricle.
    tract, limbic, stem : float16 arrays
        How much of the corticospinal tract in the internal capsule a voxel is, 0 to 1; of the cortex of amygdala,
        temporal pole and cingulate gyrus, 0 to 1; how near the third and fourth ventricle a voxel of midbrain and pons
        is, in mm, infinite elsewhere.
    centres : (S, 3) array
        Centres of :data:`STRUCTURES` as indices into `tissue`; NaN for one that the map lacks.
    """

    name: str
    tissue: NDArray[np.uint8]
    affine: NDArray[np.float64]
    box: Box
    brain_depth_mm: NDArray[np.float16]
    from_ventricle_mm: NDArray[np.float16]
    from_cortex_mm: NDArray[np.float16]
    flow: BoolVolume
    tract: NDArray[np.float16]
    limbic: NDArray[np.float16]
    stem: NDArray[np.float16]
    centres: NDArray[np.float64]

    @property
    def brain_tissue(self) -> NDArray[np.uint8]:
        """`tissue` inside `box`."""
        return self.tissue[self.box]

    @property
    def corner(self) -> NDArray[np.int64]:
        """Index of the box's first voxel."""
        return np.array([part.start for part in self.box])


def make_anatomy(labels: NDArray[Any], affine: NDArray[np.float64], name: str) -> Anatomy:
    """Prepare a label map.

    Parameters
    ----------
    labels : (X, Y, Z) array of whole numbers
        FreeSurfer's brain labels and SynthSeg's extracerebral ones (502-530), in voxels of 1 mm along RAS.
    affine : (4, 4) array
        Voxel to RAS+ mm.
    name : str
        Whose head.

    Raises
    ------
    ValueError
        When there is a label of unknown meaning, or no brain or no lateral ventricle.
    """
    labels = np.rint(labels).astype(np.int16)
    tissue = _tissues(labels)
    for kind, structure in ((Tissue.CORTEX, "cerebral cortex"), (Tissue.LATERAL_VENTRICLE, "lateral ventricle")):
        if not (tissue == kind).any():
            raise ValueError(f"there is no {structure} in it (labels {', '.join(map(str, _LABELS[kind]))})")
    box = box_around(is_any(tissue, PARENCHYMA), MARGIN_MM)
    inside, part = tissue[box], labels[box]
    _split_insula(inside)
    _split_septum(inside, part)
    _split_fat(tissue)
    depth = _brain_depth(inside)
    from_ventricle_mm = _distance_from(inside == Tissue.LATERAL_VENTRICLE)
    inside[(inside == Tissue.AIR) & (depth > _AIR_MM)] = Tissue.SULCAL_CSF  # tissue that the maps leave out
    return Anatomy(
        name=name,
        tissue=tissue,
        affine=np.asarray(affine, np.float64),
        box=box,
        brain_depth_mm=depth,
        from_ventricle_mm=from_ventricle_mm,
        from_cortex_mm=_distance_from(is_any(inside, (Tissue.CORTEX, Tissue.INSULA))),
        flow=_flow(inside),
        tract=_tract(inside),
        limbic=_limbic(inside, from_ventricle_mm),
        stem=_stem(inside),
        centres=_centres(labels),
    )


def is_any(tissue: NDArray[np.uint8], kinds: Sequence[Tissue]) -> BoolVolume:
    """Whether each voxel is of one of these kinds."""
    table = np.zeros(256, bool)
    table[list(kinds)] = True
    return table[tissue]


def ventricle_wall(anatomy: Anatomy) -> tuple[Box, NDArray[np.float32], NDArray[np.float32]]:
    """Return the surroundings of the lateral ventricles, and how near they are to the end of a horn.

    Returns
    -------
    box : tuple of slice
        Of the brain's box, all that is less than 8 mm from a lateral ventricle.
    distance_mm : (X, Y, Z) float32 array
        In this box, from the ventricles; the first voxel of white matter is 1 mm from the ventricle's.
    horn : (1, Y, 1) float32 array
        0 along the ventricles' bodies to 1 at the frontal and occipital horns.
    """
    distance = anatomy.from_ventricle_mm.astype(np.float32)
    box = box_around(distance < _WALL_MM, 0)
    rows = np.flatnonzero((anatomy.brain_tissue == Tissue.LATERAL_VENTRICLE).any(axis=(0, 2)))
    y = np.arange(box[1].start, box[1].stop)
    horn = np.clip(np.abs(y - rows.mean()) / (np.ptp(rows) / 2) * 4 - 2.6, 0, 1)
    return box, distance[box], horn[None, :, None].astype(np.float32)


def box_around(mask: BoolVolume, margin: int) -> Box:
    """Return the bounding box of a mask that is not empty, with a margin within the volume."""
    x, y, z = (
        slice(max(0, s.start - margin), min(n, s.stop + margin))
        for s, n in zip(ndimage.find_objects(mask.astype(np.int8))[0], mask.shape, strict=True)
    )
    return x, y, z


def _tissues(labels: NDArray[np.int16]) -> NDArray[np.uint8]:
    table = np.full(32768, 255, np.uint8)
    for kind, values in _LABELS.items():
        table[list(values)] = kind
    tissue: NDArray[np.uint8] = table[np.maximum(labels, -1)]
    unknown = np.unique(labels[tissue == 255])
    if len(unknown):
        raise ValueError(f"it has labels of unknown meaning: {', '.join(map(str, unknown[:10]))}")
    return tissue


def _distance_from(mask: BoolVolume) -> NDArray[np.float16]:
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float16)
    return np.asarray(ndimage.distance_transform_edt(~mask), np.float16)


def _brain_depth(tissue: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Return the depth inside parenchyma and ventricles with their sulci closed, in mm; negative outside.

    Voxels deep inside the brain's hull, as in a wide fissure or the straight sinus, count as brain.
    """
    solid = is_any(tissue, (*PARENCHYMA, *VENTRICLES))
    solid |= _hull(solid)
    grown = ndimage.distance_transform_edt(~solid) <= _BRAIN_CLOSING_MM
    depth = ndimage.distance_transform_edt(grown) - _BRAIN_CLOSING_MM + 0.4
    # Between brain stem and temporal lobes, closing reaches into the skull base.
    depth[is_any(tissue, _NEVER_BRAIN)] -= _BRAIN_CLOSING_MM
    return np.asarray(depth, np.float16)


def _hull(solid: BoolVolume) -> BoolVolume:
    """Return the voxels well below the surface of a mask whose widest fissures are closed, to 2 mm."""
    step = 2
    coarse = np.pad(solid[::step, ::step, ::step], _HULL_CLOSING_MM // step)
    grown = ndimage.distance_transform_edt(~coarse, sampling=step) <= _HULL_CLOSING_MM
    deep = ndimage.distance_transform_edt(grown, sampling=step) > _HULL_CLOSING_MM + _HULL_DEPTH_MM
    deep = deep[tuple(slice(_HULL_CLOSING_MM // step, -_HULL_CLOSING_MM // step) for _ in range(3))]
    fine = deep.repeat(step, 0).repeat(step, 1).repeat(step, 2)
    return np.asarray(fine[tuple(slice(n) for n in solid.shape)])


def _split_insula(tissue: NDArray[np.uint8]) -> None:
    """Separate the insula from other cortex by its distance from the putamen, in place."""
    putamen = tissue == Tissue.PUTAMEN
    if putamen.any():
        box = box_around(putamen, int(_INSULA_MM) + 1)
        near = ndimage.distance_transform_edt(~putamen[box]) <= _INSULA_MM
        tissue[box][near & (tissue[box] == Tissue.CORTEX)] = Tissue.INSULA


def _split_septum(tissue: NDArray[np.uint8], labels: NDArray[np.int16]) -> None:
    """Mark the septum between the lateral ventricles, in place; in the maps it is white matter, fluid or nothing."""
    sides = [np.isin(labels, side) for side in (_LEFT_VENTRICLE, _RIGHT_VENTRICLE)]
    if not all(side.any() for side in sides):
        return
    box = box_around(sides[0] | sides[1], 2)
    left, right = (ndimage.distance_transform_edt(~side[box]) for side in sides)
    inside = tissue[box]
    between = (left <= _SEPTUM_MM) & (right <= _SEPTUM_MM) & is_any(inside, (Tissue.WHITE, Tissue.SULCAL_CSF))
    # Where the ventricles touch, a septum one voxel wide, on the left of the boundary.
    between |= (left == 0) & (right == 1)
    inside[between] = Tissue.SEPTUM


def _split_fat(tissue: NDArray[np.uint8]) -> None:
    """Separate fat from muscle in the maps' soft tissue, in place: the scalp, and patches further inside."""
    step = 2
    air = np.pad(tissue[::step, ::step, ::step] == Tissue.AIR, 1, constant_values=True)
    air[:, :, 0] = air[:, :, 1]  # the neck continues below
    regions, _ = ndimage.label(air)
    depth = ndimage.distance_transform_edt(regions != regions[0, 0, -1], sampling=step)[1:-1, 1:-1, 1:-1]
    patches = smooth_noise(np.random.default_rng(0), depth.shape, 5) > 0.6
    fat = (depth < _SCALP_MM) | patches
    fine = fat.repeat(step, 0).repeat(step, 1).repeat(step, 2)[tuple(slice(n) for n in tissue.shape)]
    tissue[fine & (tissue == Tissue.MUSCLE)] = Tissue.FAT


def _flow(tissue: NDArray[np.uint8]) -> BoolVolume:
    flow = is_any(tissue, (Tissue.THIRD_VENTRICLE, Tissue.FOURTH_VENTRICLE))
    brainstem = tissue == Tissue.BRAINSTEM
    if brainstem.any():
        box = box_around(brainstem, int(_FLOW_MM) + 1)
        near = ndimage.distance_transform_edt(~brainstem[box]) <= _FLOW_MM
        flow[box] |= near & (tissue[box] == Tissue.SULCAL_CSF)
    return flow


def _tract(tissue: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Return the corticospinal tract in the posterior limb of the internal capsule, 0 to 1.

    It is the white matter between thalamus and lentiform nucleus beside the middle of the thalamus.
    """
    tract = np.zeros(tissue.shape, np.float16)
    thalamus = tissue == Tissue.THALAMUS
    if not thalamus.any():
        return tract
    box = box_around(thalamus, int(_CAPSULE_MM) + 2)
    inside = tissue[box]
    capsule = is_any(inside, (Tissue.WHITE, Tissue.VENTRAL_DC))
    for kinds in ((Tissue.THALAMUS,), (Tissue.PUTAMEN, Tissue.PALLIDUM)):
        nucleus = is_any(inside, kinds)
        if not nucleus.any():
            return tract
        capsule &= ndimage.distance_transform_edt(~nucleus) <= _CAPSULE_MM
    rows = np.flatnonzero(thalamus.any(axis=(0, 2)))
    y = np.arange(box[1].start, box[1].stop)
    passes = rows[-1] - _CAPSULE_BEHIND * np.ptp(rows)
    along = np.exp(-(((y - passes) / (0.2 * np.ptp(rows))) ** 2))
    tract[box] = ndimage.gaussian_filter(capsule.astype(np.float32), 0.8) * capsule * along[None, :, None]
    return tract


def _limbic(tissue: NDArray[np.uint8], from_ventricle_mm: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return how much of the cortex that is brightest in FLAIR a voxel is, 0 to 1."""
    cortical = is_any(tissue, CORTICAL)
    limbic = np.zeros(tissue.shape, np.float32)
    amygdala = tissue == Tissue.AMYGDALA
    if amygdala.any():
        limbic = np.exp(-((_distance_from(amygdala).astype(np.float32) / _AMYGDALA_MM) ** 2))
    midplane = np.argwhere(tissue == Tissue.LATERAL_VENTRICLE)[:, 0].mean()
    from_midplane = np.abs(np.arange(len(tissue)) - midplane)[:, None, None]
    cingulate = (from_midplane <= _CINGULATE_MM[0]) & (from_ventricle_mm <= _CINGULATE_MM[1])
    return np.asarray(np.maximum(limbic, cingulate) * cortical, np.float16)


def _stem(tissue: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Return the distance of midbrain and pons from third and fourth ventricle; infinite elsewhere."""
    distance = _distance_from(is_any(tissue, (Tissue.THIRD_VENTRICLE, Tissue.FOURTH_VENTRICLE)))
    return np.where(is_any(tissue, (Tissue.BRAINSTEM, Tissue.VENTRAL_DC)), distance, np.float16(np.inf))


def _centres(labels: NDArray[np.int16]) -> NDArray[np.float64]:
    wanted = list(STRUCTURES.values())
    table = np.zeros(32768, np.int16)
    table[wanted] = np.arange(1, len(wanted) + 1)
    numbered = table[labels]
    voxels = np.argwhere(numbered)
    numbers = numbered[tuple(voxels.T)]
    counts = np.bincount(numbers, minlength=len(wanted) + 1)[1:]
    sums = np.stack([np.bincount(numbers, along, minlength=len(wanted) + 1)[1:] for along in voxels.T], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums / counts[:, None])
