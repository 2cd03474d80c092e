"""The configuration of synthetic heads: every range, with its source.

A range is (low, high), drawn from uniformly unless said otherwise. Signals are relative to normal white matter, which
is 1 in both sequences. "Measured" refers to the table in ``docs/synthesis.md``: 16 real visits (3 T 1 mm, 3 T
3-4 mm, 1.5 T 6-8 mm), labelled by registration; ranges are the scans' medians, widened by about half their spread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

Range = tuple[float, float]


@dataclass(frozen=True)
class WarpConfig:
    """Shape and pose: from a label map to another person's head.

    Attributes
    ----------
    flip_fraction : float
        Fraction of heads that are mirrored.
    """

    flip_fraction: float = 0.5  # labels are the same on both sides
    rotation_deg: Range = (-8.0, 8.0)  # about each axis; people lie in the scanner within some ten degrees
    scale: Range = (0.92, 1.08)  # along each axis; adult intracranial volumes vary by 10 % (1 sd), 3.3 % a side
    shear: Range = (-0.04, 0.04)  # SynthSeg draws up to 0.012; a little more, as there are only 20 maps
    elastic_spacing_mm: Range = (28.0, 50.0)  # the size of a lobe down to that of a gyrus
    elastic_sd_mm: Range = (0.4, 1.8)  # seen: above 2 mm gyri look kinked
    motion_mm: Range = (-3.0, 3.0)  # between the scans of a visit, along each axis; a guess
    motion_deg: Range = (-3.0, 3.0)  # the same about each axis
    misregistration_mm: Range = (-0.4, 0.4)  # what rigid registration leaves along each axis; half a voxel at most


@dataclass(frozen=True)
class LesionConfig:
    """The lesions of a head, and their places.

    Attributes
    ----------
    zone_fractions : tuple of float
        Of the lesions moved to a new place: at the ventricles, below the cortex, in deep white matter, infratentorial.
    """

    none_fraction: float = 0.2  # heads without any lesion: the model must also learn to find none
    kept: Range = (0.4, 1.0)  # fraction of the first patient's lesions that are kept, each at its own place
    n_other_patients: tuple[int, int] = (0, 2)  # patients whose lesions are mixed in
    other_fraction: Range = (0.0, 0.4)  # fraction of each other patient's lesions
    # Heads with lesions that have single lesions of many people instead of a patient's, where there are such: patients
    # of few and small lesions, which the masks lack.
    single_fraction: float = 0.5
    n_single: Range = (1.0, 150.0)  # drawn by its logarithm; real 1 mm scans of 1.3 to 73 ml have 16 to 98 lesions
    # Of each single lesion along each axis: three quarters of those marked by hand have more than 44 mm3, of the
    # lesions of real 1 mm scans a third or so.
    single_scale: Range = (0.4, 1.1)
    n_moved: tuple[int, int] = (0, 25)  # lesions of any patient put into a new place
    moved_volume_mm3: Range = (4.0, 1500.0)  # larger ones are shaped by the ventricles they surround
    zone_fractions: tuple[float, float, float, float] = (
        0.40,
        0.25,
        0.23,
        0.12,
    )  # by eye; see the table of loads and places
    infratentorial_volume_mm3: Range = (4.0, 400.0)  # largest that fits into pons and peduncles
    shift_mm: float = 2.0  # sd of a lesion's shift from its own place: patients differ by that after alignment
    search_mm: float = 3.0  # how far along each axis the best-fitting place is looked for: the maps differ by that
    shift_cost_mm: float = 0.03  # of fit, for each mm away from its own place
    n_tries: int = 16  # places looked at for each lesion
    contact_fraction: float = 1.0  # lesions near a ventricle moved to touch it: a third of all then do, as measured
    contact_reach_mm: float = 8.0  # from the ventricle, within which a lesion counts as near
    ventricle_tolerance: float = 0.8  # of fit, for what would lie in a ventricle: no reason to move away from it
    smallest_fit: float = 0.4  # a lesion less of which lies in tissue that may hold it is left out
    rotation_deg: Range = (-25.0, 25.0)  # of a lesion kept at its place; a moved one takes any rotation
    scale: Range = (0.8, 1.25)  # of each lesion along each axis
    ripple_mm: Range = (0.0, 1.0)  # sd of the shape noise, at most half a small lesion's radius
    ripple_spacing_mm: float = 5.0
    grow_mm: Range = (-0.3, 0.4)  # raters may differ by half a voxel
    # Of lesion in a voxel from which it is labelled. Measured: in eleven scans, the dimmest 5 % of what raters drew are
    # 24-44 % (median 38 %) as bright above white matter as its median; with half, they would be 46-66 %.
    drawn_fraction: float = 0.35
    drawn_fraction_sliced: float = 0.5  # in thick slices, a voxel is drawn if most of it is lesion
    # Nor is anything labelled that is no brighter in FLAIR than this, without noise: what the fluid beside a thin band
    # hides. Inside a lesion it is, down to the cavities.
    drawn_level: float = 1.1
    whole_fraction: float = 0.9
    edge_mm: Range = (0.8, 2.6)  # over which a lesion fades; by eye on the 1 mm scan
    cortex_fraction: float = 0.25  # lesions that may reach into the cortex (leukocortical)
    # Heads with lesions whose ventricles' lining is one, too, in places: raters drew 1-3 mm of it along the bodies and
    # at the horns of the 3 T 1 mm scan, and the masks' own, moved to another brain, no longer follow the wall.
    band_fraction: float = 0.5
    band_mm: Range = (0.5, 2.0)
    band_cap_mm: Range = (0.0, 3.0)  # more of it at the frontal and occipital horns
    band_extent: Range = (-0.5, 0.6)  # -1 nowhere along the wall, 1 nearly everywhere
    band_spacing_mm: float = 12.0
    deep_grey_fraction: float = 0.3  # lesions that may lie in thalamus or basal ganglia


@dataclass(frozen=True)
class LesionSignalConfig:
    """The look of lesions. The first draw is for a head, the second, around it, for a lesion."""

    flair_gain: Range = (0.28, 0.80)  # mean of a head's large lesions; see the table of contrasts
    flair_gain_sd: float = 0.10  # among the lesions of a head
    # A small lesion is fainter than a large one: of its head's gain it has `small_gain` at 15 mm3, all of it at 400
    # mm3. Measured on five real 1 mm scans of two sites, see the table of contrasts in docs/synthesis.md.
    small_gain: float = 0.55
    small_mm3: Range = (15.0, 400.0)
    flair_gain_smallest: float = 0.12  # fainter ones no rater draws
    flair_texture: Range = (0.05, 0.25)  # sd within a lesion, relative to its gain
    texture_spacing_mm: float = 3.0
    t1w_drop: Range = (0.0, 0.28)  # mean of a head; measured: medians 0 (2D spin echo) to -.22 (3D); trials -.1 to -.32
    t1w_drop_spread: Range = (0.3, 1.9)  # a lesion's drop relative to its head's: T1 holes of every depth
    hole_fraction: Range = (0.0, 0.2)  # lesions that are holes; by eye
    hole_t1w_drop: Range = (0.30, 0.60)  # up to nearly the T1w signal of fluid
    cavity_fraction: float = 0.3  # holes whose core is dark in FLAIR, too
    cavity_flair_gain: Range = (-0.5, 0.1)
    cavity_depth_mm: float = 1.5  # below a lesion's surface
    halo_gain: Range = (0.0, 0.10)  # of FLAIR just outside a lesion, not labelled
    halo_mm: Range = (1.5, 4.0)
    # T1w after gadolinium that isn't named so: three of the nine real 3 T visits look like it. Lesions, too, enhance
    # then, wholly or as a ring, to 1.2 to 2.5 times white matter (longitudinal/sub-01/ses-2).
    enhanced_fraction: float = 0.15
    enhancing: Range = (0.0, 0.4)  # fraction of such a head's lesions
    enhancement: Range = (0.2, 1.5)
    ring_fraction: float = 0.4
    ring_mm: float = 2.0  # width of the rim


@dataclass(frozen=True)
class Signals:
    """Ranges of a sequence's signal, relative to white matter, one for each kind of tissue.

    A head's tissues aren't drawn independently: a scanner's contrast moves them together. Brain tissue is as measured;
    what the registration can't tell apart (small ventricles, septum, plexus, vessels) and all outside the brain is by
    eye from the same scans.
    """

    cortex: Range
    insula: Range
    cerebellar_white: Range
    cerebellar_cortex: Range
    brainstem: Range
    ventral_dc: Range
    thalamus: Range
    caudate: Range
    putamen: Range
    pallidum: Range
    hippocampus: Range
    amygdala: Range
    accumbens: Range
    lateral_ventricle: Range
    third_ventricle: Range
    fourth_ventricle: Range
    sulcal_csf: Range
    choroid_plexus: Range
    septum: Range
    vessel: Range
    optic: Range
    eye: Range
    muscle: Range
    fat: Range
    skin: Range
    mucosa: Range
    cord: Range
    sinus: Range
    bone: Range
    marrow: Range
    white: Range = (1.0, 1.0)  # by definition
    air: Range = (0.0, 0.02)


T1W_SIGNALS = Signals(
    cortex=(0.64, 0.84),
    insula=(0.66, 0.86),
    cerebellar_white=(0.96, 1.03),
    cerebellar_cortex=(0.74, 0.92),
    brainstem=(0.92, 1.00),
    ventral_dc=(0.89, 0.98),
    thalamus=(0.86, 0.97),
    caudate=(0.78, 0.92),
    putamen=(0.86, 0.97),
    pallidum=(0.90, 1.02),
    hippocampus=(0.70, 0.88),
    amygdala=(0.70, 0.88),
    accumbens=(0.76, 0.92),
    lateral_ventricle=(0.10, 0.50),
    third_ventricle=(0.14, 0.55),
    fourth_ventricle=(0.14, 0.55),
    sulcal_csf=(0.06, 0.46),
    choroid_plexus=(0.40, 0.70),
    septum=(0.70, 0.95),
    vessel=(0.20, 0.60),
    optic=(0.75, 0.95),
    eye=(0.15, 0.35),
    muscle=(0.45, 0.70),
    fat=(1.3, 3.2),
    skin=(0.5, 1.2),
    mucosa=(0.4, 0.8),
    cord=(0.85, 1.0),
    sinus=(0.3, 0.9),
    bone=(0.05, 0.2),
    marrow=(0.5, 1.5),
)

FLAIR_SIGNALS = Signals(
    cortex=(1.00, 1.32),
    insula=(1.06, 1.40),
    cerebellar_white=(0.92, 1.06),
    cerebellar_cortex=(0.98, 1.20),
    brainstem=(0.94, 1.10),
    ventral_dc=(0.94, 1.10),
    thalamus=(0.94, 1.10),
    caudate=(1.05, 1.24),
    putamen=(1.00, 1.18),
    pallidum=(0.76, 1.02),
    hippocampus=(1.10, 1.36),
    amygdala=(1.10, 1.36),
    accumbens=(1.05, 1.28),
    lateral_ventricle=(0.10, 0.40),
    third_ventricle=(0.15, 0.60),
    fourth_ventricle=(0.15, 0.60),
    sulcal_csf=(0.15, 0.50),
    choroid_plexus=(0.7, 1.6),
    septum=(1.1, 1.6),
    vessel=(0.2, 1.4),
    optic=(0.9, 1.2),
    eye=(0.1, 0.4),
    muscle=(0.3, 0.7),
    fat=(0.3, 2.4),
    skin=(0.4, 1.2),
    mucosa=(0.8, 1.8),
    cord=(0.9, 1.1),
    sinus=(0.1, 0.7),
    bone=(0.03, 0.15),
    marrow=(0.2, 1.0),
)


@dataclass(frozen=True)
class TextureConfig:
    """Variation within tissues, in both sequences, relative to white matter."""

    contrast_fraction: float = 0.65  # of a tissue's place in its range, how much the scanner's contrast decides
    regional_spacing_mm: float = 30.0
    t1w_regional_sd: Range = (0.005, 0.03)  # slow changes over the brain
    flair_regional_sd: Range = (0.01, 0.06)
    fine_spacing_mm: float = 3.0
    t1w_fine_sd: Range = (0.0, 0.04)  # fine structure, such as fibre bundles and iron
    flair_fine_sd: Range = (0.01, 0.07)  # with noise: measured spread of white matter T1w .041-.064, FLAIR .064-.093
    folia_period_mm: Range = (3.0, 5.0)  # the cerebellum's folia, which label maps lack
    folia_gain: Range = (0.03, 0.14)  # measured spread of the cerebellar cortex: .12 in both sequences
    cortex_sd: Range = (0.0, 0.12)  # FLAIR of the cortex from place to place
    deep_grey_sd: Range = (0.0, 0.07)  # both sequences: nuclei within thalamus and lentiform nucleus; by eye
    deep_grey_spacing_mm: float = 6.0
    csf_sd: Range = (0.0, 0.10)  # FLAIR of the sulci: fluid is not suppressed alike everywhere
    csf_spacing_mm: float = 20.0
    outside_sd: Range = (0.05, 0.25)  # skull, scalp and face, relative to their own signal; by eye
    outside_spacing_mm: float = 6.0


@dataclass(frozen=True)
class MimicConfig:
    """Structures that are bright in FLAIR but no lesions, and never labelled. Fractions are of heads."""

    lining_fraction: float = 0.9  # ventricular lining; by eye
    lining_gain: Range = (0.05, 0.42)  # up to that of a faint lesion, as in 1.5 T scans
    lining_mm: Range = (0.4, 1.4)
    cap_mm: Range = (0.5, 3.0)  # the lining is thicker at the frontal and occipital horns
    septum_fraction: float = 0.85
    choroid_spread: float = 0.25  # sd of the choroid plexus from place to place
    enhanced_gain: Range = (0.4, 1.2)  # of T1w in choroid plexus, sinuses and vessels
    insula_gain: Range = (0.0, 0.15)  # above the cortex's own range
    # Amygdala, temporal pole and cingulate cortex above the rest: FLAIR of a healthy adult and of mslesseg's scans is
    # there 1.2 to 1.6 times white matter.
    limbic_gain: Range = (0.0, 0.32)
    limbic_spacing_mm: float = 12.0
    # The corticospinal tract in the internal capsule's posterior limb, a dot or a band of normal adults' 3 T FLAIR on
    # both sides, 1.05 to 1.35 times white matter.
    tract_fraction: float = 0.7
    tract_gain: Range = (0.03, 0.35)
    # Midbrain and pons, mostly behind: periaqueductal grey, decussation, tegmentum; alike on both sides.
    stem_fraction: float = 0.7
    stem_gain: Range = (0.03, 0.40)
    stem_spacing_mm: float = 7.0
    stem_reach_mm: float = 7.0  # from third and fourth ventricle, over which it fades by 1/e
    flow_fraction: float = 0.5  # bright fluid where it moves: around the brainstem, in third and fourth ventricle
    flow_gain: Range = (0.2, 1.0)
    flow_spacing_mm: float = 7.0
    flow_smear_fraction: float = 0.5  # flow artefacts that streak across the brainstem along the phase direction
    flow_smear_gain: Range = (0.05, 0.20)
    flow_smear_mm: float = 25.0
    vessel_fraction: float = 0.8
    vessel_radius_mm: Range = (0.5, 1.1)
    vessel_spacing_mm: float = 14.0
    vessel_flair_gain: Range = (-0.5, 0.6)  # flow voids to slow flow
    vessel_t1w_gain: Range = (-0.4, 0.1)
    dirty_fraction: float = 0.6  # dirty white matter: broad, faint, without an edge
    dirty_gain: Range = (0.02, 0.14)
    dirty_spacing_mm: float = 16.0
    dirty_reach_mm: float = 12.0  # from the ventricles, over which it fades by 1/e


@dataclass(frozen=True)
class AcquisitionConfig:
    """Acquisition by a scanner. Values in voxels refer to the scan's own voxels.

    Attributes
    ----------
    protocol_fractions : tuple of float
        Both sequences 3D; T1w 3D and FLAIR in slices; both in slices; T1w in slices and FLAIR 3D (Lesjak et al. 2018).
    """

    protocol_fractions: tuple[float, float, float, float] = (0.40, 0.20, 0.25, 0.15)
    voxel_3d_mm: Range = (0.9, 1.1)  # isotropic; the common research protocols
    anisotropy_3d: Range = (1.0, 1.25)  # of one axis of a 3D scan
    voxel_2d_mm: Range = (0.6, 1.0)  # within slices: longitudinal .6-.9, labelled-thick .9
    slice_mm: Range = (2.5, 7.0)  # between slices: longitudinal 3-4, labelled-thick 6.4-8.1 (thickness and gap)
    slice_fill: Range = (0.75, 1.0)  # thickness as a fraction of the distance: gaps of up to a quarter
    psf_voxels: Range = (0.2, 0.75)  # sd of the point spread beside the voxel's own extent; trials: .45-.95 with it
    sharpening: Range = (0.0, 0.5)  # overshoot of edges by filters and truncated k-space
    # Rician, relative to white matter; interpolation to 1 mm halves it or so: measured there T1w .007-.020, FLAIR
    # .022-.049, trials .005-.035.
    t1w_noise_sd: Range = (0.005, 0.05)
    flair_noise_sd: Range = (0.012, 0.10)
    noise_unevenness: Range = (0.0, 0.3)  # sd of the noise's own field (parallel imaging)
    white_level: Range = (150.0, 1500.0)  # of white matter in a scan's file; scanners have no unit
    bias_sd: Range = (0.02, 0.25)  # sd of the log field of a raw scan; a guess, wider than the phantom's
    residual_bias_sd: Range = (0.0, 0.06)  # what N4 leaves; FLAIR of white matter, smoothed, varies by .03-.06
    bias_spacing_mm: Range = (60.0, 140.0)  # at most: four knots along each axis, at least
    # Of a training head's brain mask beyond the true one: deepbet's on synthetic heads are 1-2 mm larger, those of
    # stripped public scans not at all.
    brain_margin_mm: Range = (0.0, 2.0)
    ghost_fraction: float = 0.35
    ghost_gain: Range = (0.01, 0.06)  # of the shifted copy; by eye on 1.5 T scans, whose scalp it shows
    ghost_shift: Range = (0.12, 0.5)  # of the field of view
    n_ghosts: int = 2


@dataclass(frozen=True)
class SynthesisConfig:
    """The whole configuration."""

    warp: WarpConfig = field(default_factory=WarpConfig)
    lesions: LesionConfig = field(default_factory=LesionConfig)
    lesion_signal: LesionSignalConfig = field(default_factory=LesionSignalConfig)
    t1w: Signals = T1W_SIGNALS
    flair: Signals = FLAIR_SIGNALS
    texture: TextureConfig = field(default_factory=TextureConfig)
    mimics: MimicConfig = field(default_factory=MimicConfig)
    acquisition: AcquisitionConfig = field(default_factory=AcquisitionConfig)
