"""The configuration, as frozen dataclasses made once in :mod:`bids_cascade.cli`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

SEQUENCES = ("T1w", "FLAIR", "T2w", "PDw")
"""BIDS suffixes a model may use, in the order in which its channels are stacked."""


def needed_sequences(sequences: Sequence[str], optional: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the sequences of a visit: the T1w, in which the brain is found, then the model's others.

    Optional sequences may be missing. Without a T1w image, the first of the others replaces it.
    """
    ordered = ("T1w", *(sequence for sequence in sequences if sequence != "T1w"))
    return tuple(sequence for sequence in ordered if sequence not in optional)


SKULL_STRIP_MODES = ("auto", "skip", "force")
"""Unless the image is already stripped; never; always."""


@dataclass(frozen=True)
class Selection:
    """The selected participants, sessions and files of a dataset.

    Attributes
    ----------
    participants, sessions : tuple of str
        Labels without ``sub-`` or ``ses-``; empty means all.
    filters : mapping of str to mapping
        By sequence (a BIDS suffix, lower case accepted), the pybids entities that its image must have, as in
        fMRIPrep's ``--bids-filter-file``; a value may be a string, a list, or None for "without this entity".
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    filters: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True)
class NetworkConfig:
    """One patch-wise 3D CNN: branches of unpadded convolution, batch norm, ReLU and max-pool, then dense layers.

    Attributes
    ----------
    n_channels : int
        Number of sequences.
    patch_size : int
        Edge of the cubic patch in voxels; odd, so that a patch has a centre voxel.
    features : tuple of int
        Output channels of each block's convolution.
    kernel_size : int
        Edge of each convolution kernel in voxels.
    pool_size : int
        Edge and stride of each max-pool in voxels.
    scales : tuple of int
        Edge of the voxels of each branch's input, in voxels of the grid; 1 alone is the published network.
    dense : tuple of int
        Widths of the hidden dense layers.
    dropout : float
        Probability of dropping an input of each hidden dense layer.
    convolutions : int
        Convolutions of each block; what each after the first makes of a map is added to it.
    """

    n_channels: int
    patch_size: int = 11
    features: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    pool_size: int = 2
    scales: tuple[int, ...] = (1, 2, 4, 8)
    dense: tuple[int, ...] = (256,)
    dropout: float = 0.3
    convolutions: int = 1


@dataclass(frozen=True)
class PaddedNetworkConfig:
    """The network of nicMSlesions: blocks of two zero-padded 3x3x3 convolutions and a max-pool of 2, then dense layers.

    Attributes
    ----------
    n_channels : int
        Number of sequences.
    patch_size : int
        Edge of the cubic patch in voxels; odd.
    features : tuple of int
        Output channels of both convolutions of each block.
    dense : tuple of int
        Widths of the hidden dense layers.
    """

    n_channels: int
    patch_size: int = 11
    features: tuple[int, ...] = (32, 64)
    dense: tuple[int, ...] = (256, 128, 64)


@dataclass(frozen=True)
class LesionRule:
    """The rule from a probability map to a lesion mask, see :func:`bids_cascade.lesions.rule.lesion_mask`.

    Attributes
    ----------
    threshold : float
        Probability from which a voxel is lesion.
    min_lesion_volume_mm3 : float
        Connected components smaller than this are dropped.
    peak_probability : float
        So are those whose highest probability is lower.
    largest_cavity_mm3 : float
        Cavities that a lesion encloses are filled up to this volume; the largest that raters have left measures 149,
        see ``docs/lesion_rule.md``.
    """

    threshold: float
    min_lesion_volume_mm3: float
    peak_probability: float
    largest_cavity_mm3: float = 1000.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises
        ------
        ValueError
            When a number is out of range.
        """
        if not 0 < self.threshold <= 1:
            raise ValueError(f"the threshold is {self.threshold}; expected 0 < threshold <= 1")
        if not 0 <= self.peak_probability <= 1:
            raise ValueError(f"the peak probability is {self.peak_probability}; expected 0 to 1")
        if not self.min_lesion_volume_mm3 >= 0:
            raise ValueError("the smallest lesion volume must not be negative")


WHITE_MATTER = "white matter 1"
"""Scaled so that white matter is 1, see :mod:`bids_cascade.cascade.normalisation`."""
WHOLE_VOLUME = "whole-volume z-score"
"""As in nicMSlesions, see :mod:`bids_cascade.cascade.zscore`."""
NORMALISATIONS = (WHITE_MATTER, WHOLE_VOLUME)
"""How a model's channels may be normalised."""


@dataclass(frozen=True)
class CascadeConfig:
    """Candidates, gate, calibration and lesion rule of a cascade.

    Attributes
    ----------
    sequences : tuple of str
        BIDS suffixes in channel order.
    candidate_sequence : str
        The sequence whose brightness makes a voxel a candidate.
    candidate_level : float
        Voxels above this level of the candidate sequence, in which white matter is 1, are candidates.
    hard_negative_probability : float
        Stage-1 probability above which a voxel without lesion is a negative sample of stage 2.
    gate_probability : float
        Stage-1 probability above which stage 2 evaluates a voxel, and all that are connected to it by voxels above
        `hard_negative_probability`, among which stage 2 was trained.
    threshold : float
        Probability from which a voxel is lesion.
    min_lesion_volume_mm3 : float
        Connected components smaller than this are dropped.
    peak_probability : float
        So are those whose highest probability is lower.
    voxel_size_mm : float
        Edge of the model's isotropic voxels.
    calibration : pair of float
        Slope and intercept: a probability above 0 becomes ``sigmoid(slope * logit(p) + intercept)``, to which the
        threshold and the peak probability apply.
    prevalence_weight : float
        Fraction of the logit of the scan's estimated prevalence of lesion among the evaluated voxels that is added to
        the logit of each voxel, see :mod:`bids_cascade.cascade.calibration`.
    first_stage_weight : float
        Fraction of the logit of stage 1's probability that is added to that of each voxel, too.
    normalisation : str
        One of ``NORMALISATIONS``.
    mirrored : bool
        Whether stage 2 also evaluates the mirror image of each scan, and the mean of both is used. Stage 1, which takes
        most of the time, evaluates the scan alone; that of every second cascade of an ensemble only the mirror image.
    optional_sequences : tuple of str
        Those of the sequences that a scan may lack, since the networks were also trained without them: their channels
        are then 0.
    """

    sequences: tuple[str, ...] = ("T1w", "FLAIR")
    candidate_sequence: str = "FLAIR"
    candidate_level: float = 1.25
    hard_negative_probability: float = 0.2
    gate_probability: float = 0.6
    threshold: float = 0.5
    min_lesion_volume_mm3: float = 10.0
    peak_probability: float = 0.8
    voxel_size_mm: float = 1.0
    calibration: tuple[float, float] = (1.0, 0.0)
    prevalence_weight: float = 0.0
    first_stage_weight: float = 0.0
    normalisation: str = WHITE_MATTER
    mirrored: bool = False
    optional_sequences: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises
        ------
        ValueError
            When a sequence is unknown or comes twice, the candidate sequence is none of them, or a number is out of
            range.
        """
        if (
            not self.sequences
            or not set(self.sequences) <= set(SEQUENCES)
            or len(set(self.sequences)) != len(self.sequences)
        ):
            raise ValueError(f"the sequences are {self.sequences}; expected some of {SEQUENCES}, each once")
        if self.candidate_sequence not in self.sequences:
            raise ValueError(f"the candidate sequence {self.candidate_sequence} is none of {self.sequences}")
        if not set(self.optional_sequences) <= set(self.sequences) - {self.candidate_sequence}:
            raise ValueError(
                f"the optional sequences are {self.optional_sequences}; expected some of {self.sequences}, without the "
                f"candidate sequence {self.candidate_sequence}"
            )
        if not (0 <= self.gate_probability < 1 and 0 <= self.hard_negative_probability < 1):
            raise ValueError("the gate and hard-negative probabilities must be at least 0 and below 1")
        if not self.voxel_size_mm > 0:
            raise ValueError(f"the voxel size is {self.voxel_size_mm}; expected above 0")
        if len(self.calibration) != 2 or not all(map(math.isfinite, self.calibration)) or self.calibration[0] <= 0:
            raise ValueError(
                f"the calibration is {self.calibration}; expected a slope above 0 and an intercept, both finite"
            )
        for of_what in ("prevalence", "first_stage"):
            weight = getattr(self, f"{of_what}_weight")
            if not (math.isfinite(weight) and weight >= 0):
                name = of_what.replace("_", " ")
                raise ValueError(f"the {name} weight is {weight}; expected a number of at least 0")
        if self.normalisation not in NORMALISATIONS:
            raise ValueError(f"the normalisation is {self.normalisation!r}; expected one of {NORMALISATIONS}")
        _ = self.rule  # which refuses values out of range

    @property
    def rule(self) -> LesionRule:
        """The rule from the cascade's probability to the lesion mask."""
        return LesionRule(self.threshold, self.min_lesion_volume_mm3, self.peak_probability)

    @property
    def voxel_volume_mm3(self) -> float:
        """Of the model's grid."""
        return self.voxel_size_mm**3

    @property
    def gate(self) -> tuple[float, float]:
        """Lower and higher probability of stage 1 for :mod:`bids_cascade.cascade.gate`."""
        return self.hard_negative_probability, self.gate_probability

    def with_choices(self, threshold: float | None, min_lesion_volume_mm3: float | None) -> CascadeConfig:
        """Return this with the user's choices for the lesion rule; None keeps a value."""
        smallest = self.min_lesion_volume_mm3 if min_lesion_volume_mm3 is None else min_lesion_volume_mm3
        return replace(
            self, threshold=self.threshold if threshold is None else threshold, min_lesion_volume_mm3=smallest
        )


@dataclass(frozen=True)
class TrainingConfig:
    """The training of a stage.

    Attributes
    ----------
    max_epochs : int
        The learning rate falls to zero at the last one.
    second_stage_epochs : int or None
        The same for stage 2; None for as many.
    stages : tuple of int
        Those to train; another one keeps the weights of the cascade to start from.
    crops_per_epoch, batch_size : int
        Crops drawn an epoch, and in each step.
    crop_size : int
        Edge of a crop in voxels, a multiple of the network's scales.
    validation_fraction : float
        Fraction of the subjects (never of the voxels) held out to choose the threshold; at least one of several
        subjects, none of a single one; 1, all of them, beside synthetic visits.
    learning_rate : float
        The highest.
    gain, shift : float
        Each sequence of a crop is scaled, around white matter, by up to `gain` or its inverse, and shifted by up to
        `shift` (white matter is 1).
    appearance_fraction : float
        Chance that a crop's contrast, field, noise and sharpness are varied, too
        (:mod:`bids_cascade.cascade.appearance`).
    largest_negative_weight : float
        Largest total weight of the negatives relative to the lesion voxels: 1 balances them; with a larger one, all
        voxels have equal weights until the negatives reach this total.
    synthetic_fraction : float
        Fraction of the crops from synthetic visits if there are others, too.
    lesion_free_fraction : float or None
        Fraction of the synthetic visits' crops from those without a lesion; None to draw these as if they had a few
        lesion voxels.
    component_power : float
        A lesion voxel's weight is its lesion's number of voxels to the power of minus this, and likewise for false
        positives: with 0 all voxels count the same, with 1 all lesions.
    least_contrast : float
        Labelled lesions of real scans that are brighter in FLAIR than their surroundings by less than this (white
        matter is 1) are ignored in training.
    sequence_dropout : float
        Chance that a crop lacks some of the cascade's optional sequences.
    half_precision : bool
        Whether the passes compute in bfloat16: about twice as fast where the hardware has it.
    seed : int
        Seed of weights, drawing, augmentation and split.
    """

    max_epochs: int = 20
    second_stage_epochs: int | None = None
    stages: tuple[int, ...] = (1, 2)
    crops_per_epoch: int = 300
    batch_size: int = 6
    crop_size: int = 24
    validation_fraction: float = 0.25
    learning_rate: float = 2e-3
    gain: float = 1.15
    shift: float = 0.03
    appearance_fraction: float = 0.0
    largest_negative_weight: float = 1.0
    synthetic_fraction: float = 0.7
    lesion_free_fraction: float | None = None
    component_power: float = 0.5
    least_contrast: float = 0.15
    sequence_dropout: float = 0.0
    half_precision: bool = False
    seed: int = 0

    @property
    def n_steps(self) -> int:
        """Steps of an epoch."""
        return -(-self.crops_per_epoch // self.batch_size)


@dataclass(frozen=True)
class HeadsConfig:
    """Synthetic heads to train on, beside labelled visits.

    Attributes
    ----------
    label_maps, lesion_masks : tuple of Path
        Files or folders; see the synthesize level.
    n_heads : int
    seed : int
    n_insertions : int
        Copies of each labelled visit with further lesions in it.
    """

    label_maps: tuple[Path, ...]
    lesion_masks: tuple[Path, ...]
    n_heads: int = 200
    seed: int = 0
    n_insertions: int = 0


@dataclass(frozen=True)
class RunConfig:
    """How the app runs; nothing here changes the results, except for the last digits of a training's sums.

    Attributes
    ----------
    work_dir : Path
        Intermediate results; a second run resumes from it.
    n_procs : int
        Processes at once.
    omp_nthreads : int
        Threads of one process. A training with another number adds in another order, so its weights differ.
    mem_gb : float
        Total memory of all processes.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is resolved before this is made.
    plugin_file : Path or None
        YAML with ``plugin`` and ``plugin_args`` that replace the app's own nipype plugin.
    stop_on_first_crash : bool
        Stop at the first failure instead of processing the other visits.
    write_graph : bool
        Draw the workflow into the log folder.
    resource_monitor : bool
        Record each step's memory and processor use in the log folder.
    clean_work_dir : bool
        Delete a visit's intermediate results as soon as it is finished.
    """

    work_dir: Path
    n_procs: int = 1
    omp_nthreads: int = 1
    mem_gb: float = 4.0
    device: str = "cpu"
    plugin_file: Path | None = None
    stop_on_first_crash: bool = False
    write_graph: bool = False
    resource_monitor: bool = False
    clean_work_dir: bool = False


@dataclass(frozen=True)
class Inputs:
    """The input and output folders, and the selected part of the dataset.

    Attributes
    ----------
    bids_dir, out_dir : Path
        Roots of the raw and of the derivative dataset.
    selection : Selection
    database_dir : Path or None
        Folder of pybids' index.
    validate : bool
        Whether to run the BIDS validator on the input first.
    """

    bids_dir: Path
    out_dir: Path
    selection: Selection = field(default_factory=Selection)
    database_dir: Path | None = None
    validate: bool = True


@dataclass(frozen=True)
class ParticipantConfig:
    """The choices of the participant level.

    Attributes
    ----------
    model : Path or None
        Model file; None for the packaged one.
    threshold, min_lesion_volume_mm3 : float or None
        None for the model's own value.
    skull_strip : str
        One of :data:`SKULL_STRIP_MODES`.
    seed : int
    half_precision : bool
        Whether the networks compute in half precision; a few voxels of a mask then differ.
    guess_orientation : bool
        Accept and flag images whose headers do not say where left and right are, instead of refusing them.
    longitudinal : bool
        Whether each visit is compared with the participant's previous and first ones.
    noise_floor : bool
        Whether the earlier of two visits is also compared with a perturbed copy of itself.
    anatomy : bool
        Whether to find the regions of lesions, to fill them and to bring their mask to the template.
    output_spaces : tuple of str
        Templates to bring all images to.
    require_sequences : bool
        Refuse visits without all of the model's sequences, even those that it can do without.
    """

    model: Path | None = None
    threshold: float | None = None
    min_lesion_volume_mm3: float | None = None
    skull_strip: str = "auto"
    seed: int = 0
    half_precision: bool = False
    guess_orientation: bool = False
    longitudinal: bool = True
    noise_floor: bool = True
    anatomy: bool = True
    output_spaces: tuple[str, ...] = ()
    require_sequences: bool = False

    def may_lack(self, cascade: CascadeConfig) -> tuple[str, ...]:
        """Return the sequences of a model that a visit may lack."""
        return () if self.require_sequences else cascade.optional_sequences


@dataclass(frozen=True)
class TrainConfig:
    """The choices of the train level.

    Attributes
    ----------
    labels : str
        Path of the derivative dataset that holds the manual masks, or its name under ``derivatives``.
    cascade : CascadeConfig
    training : TrainingConfig
    heads : HeadsConfig or None
        Synthetic heads for the training.
    start_from : Path or None
        Model file with the starting weights.
    features, dense : tuple of int or None
        Widths of the trained networks' blocks and hidden dense layers; None for those of the starting model, or the
        standard ones.
    convolutions : int or None
        Convolutions of each of the trained networks' blocks; None for as many as in the starting model, or one.
    kept_fraction : float
        Weight of the starting model in the average with the trained one.
    choose_threshold : bool
        Replace the cascade's threshold by the best one for the held-out subjects.
    skull_strip : str
        One of :data:`SKULL_STRIP_MODES`.
    name : str
        Name of the model.
    guess_orientation : bool
        As for :class:`ParticipantConfig`.
    """

    labels: str
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    heads: HeadsConfig | None = None
    start_from: Path | None = None
    features: tuple[int, ...] | None = None
    dense: tuple[int, ...] | None = None
    convolutions: int | None = None
    kept_fraction: float = 0.0
    choose_threshold: bool = True
    skull_strip: str = "auto"
    name: str = "cascade"
    guess_orientation: bool = False


@dataclass(frozen=True)
class CrossValidationConfig:
    """How subjects are left out in turn.

    Attributes
    ----------
    n_folds : int or None
        Number of parts into which the subjects are split; None for as many as there are subjects.
    fold : int or None
        The only fold to work on, counted from 1; None for all, and to gather them.
    """

    n_folds: int | None = None
    fold: int | None = None


@dataclass(frozen=True)
class EvaluateConfig:
    """The choices of the evaluate level.

    Attributes
    ----------
    labels : str
        Path of the derivative dataset that holds the reference masks, or its name under ``derivatives``.
    predictions : str or None
        The same for the masks to evaluate; None for the output folder.
    seed : int
        Of the bootstrap.
    """

    labels: str
    predictions: str | None = None
    seed: int = 0


SYNTHETIC_PROTOCOLS = ("mixed", "3d", "2d")
"""Scans of all kinds, only 3D ones, or only thick slices."""

SYNTHETIC_SEQUENCES = ("T1w", "FLAIR")
"""The sequences of synthetic heads."""


@dataclass(frozen=True)
class SynthesizeConfig:
    """The choices of the synthesize level.

    The ranges are those of :class:`bids_cascade.synthesis.config.SynthesisConfig`.

    Attributes
    ----------
    lesion_masks : tuple of Path
        Lesion masks in MNI space, or folders of them.
    n_heads : int
    protocol : str
        One of :data:`SYNTHETIC_PROTOCOLS`: all kinds of scans, 3D ones, or thick slices.
    lesion_free_fraction : float
        Heads without any lesion, 0 to 1.
    seed : int
    """

    lesion_masks: tuple[Path, ...]
    n_heads: int = 20
    protocol: str = "mixed"
    lesion_free_fraction: float = 0.1
    seed: int = 0
