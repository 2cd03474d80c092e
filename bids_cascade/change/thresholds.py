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
    least_probability : float
        Probability of lesion from which a voxel can belong to what has changed: a lesion that begins is seen by the
        network less well than one that is there, and masks end at 0.5.
    voxel_z : float
        FLAIR difference of such a voxel, in standard deviations of this pair's noise there.
    least_peak : float
        Highest probability of lesion in a changed region at the visit at which it is lesion.
    least_probability_step : float
        Mean difference of probability in it.
    least_contrast : float
        Mean FLAIR difference of it; white matter is 1, fluid about 0. Fainter ones are neither seen nor drawn by
        raters.
    region_z : float
        Mean FLAIR difference of it, in standard deviations of means over as many connected voxels of this pair. In 20
        synthetic pairs without change, what was above it and called lies in one of them, and is no new lesion.
    usual_edge_noise_mm : float
        Displacement that would make the noise at edges of two scans by one protocol; of twice as much, twice the
        `region_z` is asked for: between thick and thin slices, lesions differ by more than normal tissue does.
    least_mm3 : float
        Volume of a new or resolved lesion: the least of MSSEG-2 (Commowick et al. 2021, MSSEG-2 challenge proceedings).
    least_diameter_mm : float
        Its length: that which McDonald and MAGNIMS criteria ask for (Filippi et al. 2019, Brain 142:1858-1875).
    least_change_mm3, least_change_fraction : float
        Net volume by which a lesion enlarges or shrinks, and as a fraction of the volume at the earlier visit.
    noise_factor : float
        That volume in standard deviations of what this pair's noise alone does to a lesion of this size.
    growth_sd : float
        The least that is taken for it, of a lesion of 1 mm^3: 0.62 in 343 lesions of 20 synthetic pairs without change.
    least_correlation : float
        Of both T1w images in both brains, once registered: 0.81 to 0.92 in four pairs of visits of two patients, one
        of them with contrast agent at some, and 0.24 between the two patients.
    most_inconsistency_mm : float
        Mean distance in the brain between where registration forward and backward put a point.
    least_overlap : float
        Fraction of the smaller brain that lies in both images.
    most_edge_noise_mm : float
        That displacement: beyond it, the pair is not comparable.
    most_noise : float
        Standard deviation of the FLAIR difference in normal-appearing white matter; white matter is 1. Beyond it, the
        pair is not comparable: a lesion of usual contrast would be lost in it.
    """

    least_probability: float = 0.1
    voxel_z: float = 2.0
    least_peak: float = 0.25
    least_probability_step: float = 0.1
    least_contrast: float = 0.15
    region_z: float = 7.0
    usual_edge_noise_mm: float = 0.25
    least_mm3: float = 3.0
    least_diameter_mm: float = 3.0
    least_change_mm3: float = 10.0
    least_change_fraction: float = 0.15
    noise_factor: float = 2.0
    growth_sd: float = 0.6
    least_correlation: float = 0.75
    most_inconsistency_mm: float = 1.0
    least_overlap: float = 0.8
    most_edge_noise_mm: float = 0.6
    most_noise: float = 0.15
