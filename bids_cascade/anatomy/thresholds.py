"""Distances and limits of anatomy, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """Distances and fractions that define zones, and limits below which a registration is suspect.

    Attributes
    ----------
    periventricular_mm : float
        Largest distance from the centre of a voxel to the centre of the nearest voxel of a lateral ventricle.
        Periventricular lesions abut the ventricle, without white matter in between [1]_; one voxel is allowed for
        partial volume, as in other tools [2]_.
    juxtacortical_mm : float
        The same for cortex. Juxtacortical lesions touch it [1]_: at 1 mm, they share a face or an edge with it [2]_.
    infratentorial_fraction : float
        Least fraction of an infratentorial lesion in brainstem or cerebellum: most of it.
    confluent_fraction : float
        Least fraction of a confluent lesion in each of two zones other than deep white matter.
    ring_mm : tuple of float
        Least and largest distance from a lesion of the white matter that is its surroundings: beyond partial volume and
        the rim that masks miss, and near enough to have the same bias field.
    agreement_below : float
        Correlation of tissue by intensity with that of the warped atlas, below which a registration looks failed; the
        atlas's card has its values for correct and failed registrations.
    agreement_without_t1w_below : float
        The same for fluid alone, the only tissue that FLAIR identifies.

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
    agreement_below: float = 0.45
    agreement_without_t1w_below: float = 0.4


THRESHOLDS = Thresholds()
