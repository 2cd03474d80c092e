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
    least_contrast : float
        Mean FLAIR difference of it; white matter is 1, fluid about 0. Fainter ones are neither seen nor drawn by
        raters.
    region_evidence : float
        Mean FLAIR difference of it, in standard deviations of means over as many connected voxels of this pair, and
        `odds_weight` times the step of the log odds of lesion: from the highest at the visit at which it is none, in it
        or in the next voxel, to the highest in it at the other one. In ten synthetic pairs without change of the five
        heads it was chosen on, two regions beyond it are called resolved, none new; with 7, five and none.
    odds_weight : float
        By logistic regression of what has truly changed, in 4016 regions of 14 pairs of four of these heads: 0.48.
    usual_edge_noise_mm : float
        Displacement that would make the noise at edges of two scans by one protocol; of twice as much, a standard
        deviation counts half: between thick and thin slices, lesions differ by more than normal tissue does.
    least_mm3 : float
        Volume of a new or resolved lesion: the least of MSSEG-2 (Commowick et al. 2021, MSSEG-2 challenge proceedings).
    least_diameter_mm : float
        Its length: that which McDonald and MAGNIMS criteria ask for (Filippi et al. 2019, Brain 142:1858-1875).
    least_change_mm3, least_change_fraction : float
        Net volume by which a lesion enlarges or shrinks, and as a fraction of the volume at the earlier visit.
    noise_factor : float
        That volume in standard deviations of what this pair's noise alone does to a lesion of this size.
    growth_sd : float
        The least that is taken for it, of a lesion of 1 mm^3: more than the 0.25 of 328 lesions of ten synthetic pairs
        without change, of which some were 0.62 off by an earlier rule.
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

    least_probability: float = 0.06
    voxel_z: float = 2.0
    least_contrast: float = 0.15
    region_evidence: float = 7.5
    odds_weight: float = 0.5
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
