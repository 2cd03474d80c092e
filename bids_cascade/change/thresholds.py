"""Every number by which a change between two visits is called, with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChangeThresholds:
    """What counts as a change, and which pairs of visits can be compared.

    Those without a source were chosen on synthetic pairs of visits (``benchmarks/longitudinal.py``), never on scans
    that are reported on.

    Attributes
    ----------
    voxel_z : float
        FLAIR difference of a changed voxel, in standard deviations of this pair's noise there.
    least_probability_step : float
        Its difference of lesion probability.
    least_contrast : float
        Mean FLAIR difference of a changed region; white matter is 1, fluid about 0. Fainter ones are neither seen nor
        drawn by raters.
    region_z : float
        Mean FLAIR difference of a changed region, in standard deviations of means over as many voxels of this pair.
        In two pairs without change, regions have reached 4.3: lesions differ by more than normal tissue does.
    least_probability : float
        Probability of lesion of a changed voxel outside the mask of the visit at which it is lesion: rather lesion than
        not, so that what has changed is measured as masks are.
    least_mm3 : float
        Volume of a new or resolved lesion: the least of MSSEG-2 (Commowick et al. 2021, MSSEG-2 challenge proceedings).
    least_diameter_mm : float
        Its length: that which McDonald and MAGNIMS criteria ask for (Filippi et al. 2019, Brain 142:1858-1875).
    least_change_mm3, least_change_fraction : float
        Net volume by which a lesion enlarges or shrinks, and as a fraction of the volume at the earlier visit.
    noise_factor : float
        That volume in standard deviations of what this pair's noise alone does to a lesion of this size.
    least_correlation : float
        Of both T1w images in both brains, once registered: 0.81 to 0.92 in four pairs of visits of two patients, one
        of them with contrast agent at some, and 0.24 between the two patients.
    most_inconsistency_mm : float
        Mean distance in the brain between where registration forward and backward put a point.
    least_overlap : float
        Fraction of the smaller brain that lies in both images.
    most_noise : float
        Standard deviation of the FLAIR difference in normal-appearing white matter; white matter is 1. Beyond it, the
        pair is not comparable: a lesion of usual contrast would be lost in it.
    """

    voxel_z: float = 2.0
    least_probability_step: float = 0.25
    least_contrast: float = 0.15
    region_z: float = 5.0
    least_probability: float = 0.5
    least_mm3: float = 3.0
    least_diameter_mm: float = 3.0
    least_change_mm3: float = 10.0
    least_change_fraction: float = 0.15
    noise_factor: float = 2.0
    least_correlation: float = 0.75
    most_inconsistency_mm: float = 1.0
    least_overlap: float = 0.8
    most_noise: float = 0.15
