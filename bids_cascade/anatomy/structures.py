"""The structures of the atlas, and the FreeSurfer labels of each."""

from __future__ import annotations

from enum import IntEnum


class Structure(IntEnum):
    """A structure; its value is the index of its volume in the atlas."""

    LATERAL_VENTRICLES = 0
    THIRD_VENTRICLE = 1
    FOURTH_VENTRICLE = 2
    SULCAL_FLUID = 3
    CORTEX = 4
    DEEP_GREY = 5
    WHITE_MATTER = 6
    CEREBELLUM = 7
    BRAINSTEM = 8


FREESURFER_LABELS: dict[Structure, tuple[int, ...]] = {
    # Including inferior horns and choroid plexus, which SynthSeg's maps also label 136, 137, 163 and 164.
    Structure.LATERAL_VENTRICLES: (4, 43, 5, 44, 72, 31, 63, 136, 137, 163, 164),
    Structure.THIRD_VENTRICLE: (14,),
    Structure.FOURTH_VENTRICLE: (15,),
    Structure.SULCAL_FLUID: (24,),
    # Including hippocampus and amygdala.
    Structure.CORTEX: (3, 42, 17, 53, 18, 54),
    # Including the ventral diencephalon.
    Structure.DEEP_GREY: (9, 10, 48, 49, 11, 50, 12, 51, 13, 52, 26, 58, 28, 60),
    # 25, 57 and 77 are hyperintensities of the people whose maps were used; 30 and 62 are vessels in white matter.
    Structure.WHITE_MATTER: (2, 41, 25, 57, 77, 78, 79, 251, 252, 253, 254, 255, 30, 62),
    Structure.CEREBELLUM: (7, 46, 8, 47),
    Structure.BRAINSTEM: (16,),
}

VENTRICLES = (Structure.LATERAL_VENTRICLES, Structure.THIRD_VENTRICLE, Structure.FOURTH_VENTRICLE)
FLUID = (*VENTRICLES, Structure.SULCAL_FLUID)
INFRATENTORIAL = (Structure.CEREBELLUM, Structure.BRAINSTEM, Structure.FOURTH_VENTRICLE)
