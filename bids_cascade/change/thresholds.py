"""Thresholds for change between two visits, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChangeThresholds:
    """What counts as a change, and which pairs of visits can be compared.

    Thresholds without a source were chosen on synthetic pairs of visits (``benchmarks/longitudinal.py``), never on
    scans that are reported on.

    Attributes
    ----------
    least_probability : float
        Probability of lesion that a changed voxel must reach: the network sees early lesions less clearly than
        established ones, and masks end at 0.5.
    voxel_z : float
        FLAIR difference of such a voxel, in standard deviations of this pair's noise there.
    least_peak : float
        Highest probability of lesion in a changed region, at the visit at which it is lesion. Without it, a few more
        lesions of synthetic heads are found, but flow in a third ventricle (0.24) is nearly called a new lesion.
    least_probability_step : float
        Mean difference of probability in the region.
    least_contrast : float
        Mean FLAIR difference in the region; white matter is 1, fluid about 0. Raters neither see nor draw fainter
        changes.
    region_z : float
        Mean FLAIR difference in the region, in standard deviations of means over as many connected voxels of this pair.
        Of 20 synthetic pairs without change, calls were above it in only one, and none of these is a new lesion.
    usual_edge_noise_mm : float
        Displacement that would cause the noise at edges between two scans by one protocol. Above it, `region_z` grows
        in proportion: between thick and thin slices, lesions differ by more than normal tissue does.
    least_mm3 : float
        Volume of a new or resolved lesion: the minimum of MSSEG-2 (Commowick et al. 2021, MSSEG-2 challenge
        proceedings).
    least_diameter_mm : float
        Its length: the minimum of the McDonald and MAGNIMS criteria (Filippi et al. 2019, Brain 142:1858-1875).
    least_change_mm3, least_change_fraction : float
        Net volume by which a lesion enlarges or shrinks, and as a fraction of the mean volume of both visits.
    noise_factor : float
        The same volume, in standard deviations of the change that this pair's noise alone causes in a lesion of this
        size.
    growth_sd : float
        Lower limit of that standard deviation for a lesion of 1 mm^3: it is 0.62 in 343 lesions of 20 synthetic pairs
        without change.
    least_correlation : float
        Correlation of the registered T1w images within both brains: 0.81 to 0.92 in four pairs of visits of two
        patients, one of them with contrast agent at some visits, and 0.24 to 0.52 in six pairs of two people's scans.
    most_inconsistency_mm : float
        Mean distance, in the brain, between a point and its position after registration forward and backward.
    least_overlap : float
        Fraction of the smaller brain that lies in both images.
    most_edge_noise_mm : float
        The displacement of `usual_edge_noise_mm` beyond which the pair is not comparable.
    most_noise : float
        Standard deviation of the FLAIR difference in normal-appearing white matter (whose level is 1) beyond which the
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
