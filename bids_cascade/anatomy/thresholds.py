"""Distances and limits of the anatomy, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """What counts as near, and when something looks wrong.

    Attributes
    ----------
    periventricular_mm : float
        From the centre of a voxel to the centre of the nearest one of a lateral ventricle: lesions that abut it,
        without white matter in between [1]_; a voxel's breadth is left to partial volume, as other tools do [2]_.
    juxtacortical_mm : float
        The same for cortex: lesions that touch it [1]_, the neighbours that share a face or an edge at 1 mm [2]_.
    infratentorial_fraction : float
        Of a lesion's volume in brainstem or cerebellum, from which on it is infratentorial: most of it.
    confluent_fraction : float
        Of a lesion's volume in each of two zones other than deep white matter, from which on it spans both.
    ring_mm : tuple of float
        Distances from a lesion between which white matter is called its surroundings: beyond partial volume and the
        rim that masks leave out, and near enough to have the same bias field.
    agreement_below : float
        Correlation of tissue by intensity with what the warped atlas expects, below which a registration looks failed;
        the atlas's card says what it is where right and where wrong.
    agreement_without_t1w_below : float
        The same of fluid alone, which is all that FLAIR tells.

    References
    ----------
    .. [1] Filippi M. et al., Assessment of lesions on magnetic resonance imaging in multiple sclerosis: practical
       guidelines, Brain 142 (2019) 1858-1875.
    .. [2] 2 mm from the lateral ventricles in SHiVAi and mslesions, 1.5 mm from the cortex in mslesions.
    """

    periventricular_mm: float = 2.0
    juxtacortical_mm: float = 1.5
    infratentorial_fraction: float = 0.5
    confluent_fraction: float = 0.1
    ring_mm: tuple[float, float] = (2.0, 6.0)
    agreement_below: float = 0.42
    agreement_without_t1w_below: float = 0.4


THRESHOLDS = Thresholds()
