"""Training samples: the voxels that a stage learns from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_cascade.config import CascadeConfig

BoolVolume = NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledVisit:
    """One labelled scan on the model's grid.

    Attributes
    ----------
    subject : str
        The person scanned: visits of one subject are never split between training and validation.
    channels : (C, X, Y, Z) array
        Normalised sequences, float32 or float16; may be memory-mapped.
    brain, lesion : (X, Y, Z) bool arrays
    synthetic : bool
        Whether the scan is synthetic.
    ignored : (X, Y, Z) bool array, optional
        Voxels that are ignored, since their label is doubtful.
    absent : tuple of int
        Channels that the scan lacks, which are 0.
    """

    subject: str
    channels: NDArray[np.floating]
    brain: BoolVolume
    lesion: BoolVolume
    synthetic: bool = False
    ignored: BoolVolume | None = None
    absent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check that all arrays share one grid."""
        shapes = {self.channels.shape[1:], self.brain.shape, self.lesion.shape}
        if self.ignored is not None:
            shapes.add(self.ignored.shape)
        if self.channels.ndim != 4 or len(shapes) != 1:
            raise ValueError(
                f"{self.subject}: expected channels (C, X, Y, Z) and masks (X, Y, Z) of one grid, found "
                f"{self.channels.shape} and {', '.join(map(str, sorted(shapes)))}"
            )

    def learnt(self, mask: BoolVolume) -> BoolVolume:
        """Return a mask, (X, Y, Z), without the ignored voxels."""
        return mask if self.ignored is None else mask & ~self.ignored


@dataclass(frozen=True)
class Samples:
    """The voxels of a visit that a stage learns from: all lesion voxels, and negatives.

    Attributes
    ----------
    visit : LabelledVisit
    negative_bits : (N,) uint8 array
        Voxels without lesion, eight a byte: there may be hundreds of visits.
    false_positives : bool
        Whether the negatives are false positives, whose connected components count, rather than tissue.
    """

    visit: LabelledVisit
    negative_bits: NDArray[np.uint8]
    false_positives: bool = False

    @classmethod
    def of(cls, visit: LabelledVisit, negative: BoolVolume, *, false_positives: bool = False) -> Samples:
        """Return the samples of a visit whose negatives are the given voxels (X, Y, Z), except lesion."""
        return cls(visit, np.packbits(visit.learnt(negative & ~visit.lesion)), false_positives)

    @property
    def lesion(self) -> BoolVolume:
        """Lesion voxels to learn from, (X, Y, Z)."""
        return self.visit.learnt(self.visit.lesion)

    @property
    def negative(self) -> BoolVolume:
        """Negatives to learn from, (X, Y, Z)."""
        shape = self.visit.brain.shape
        return np.unpackbits(self.negative_bits, count=math.prod(shape)).reshape(shape).view(bool)


def candidates(channels: NDArray[np.floating], brain: BoolVolume, config: CascadeConfig) -> BoolVolume:
    """Return the brain voxels that are bright enough in the candidate sequence to be evaluated, as (X, Y, Z)."""
    bright: BoolVolume = channels[config.sequences.index(config.candidate_sequence)] > config.candidate_level
    return bright & brain


def first_stage_samples(visit: LabelledVisit, config: CascadeConfig) -> Samples:
    """Take all lesion voxels and all candidates without lesion.

    The crops balance them: see :class:`bids_cascade.cascade.crops.CropPool`.
    """
    return Samples.of(visit, candidates(visit.channels, visit.brain, config))


def second_stage_samples(
    visit: LabelledVisit, first_probability: NDArray[np.float32], config: CascadeConfig
) -> Samples:
    """Take all lesion voxels and the first stage's false positives.

    These are the voxels without lesion whose first probability is above ``hard_negative_probability``; if they are
    fewer than the lesion voxels, the next most probable candidates are added.

    Parameters
    ----------
    visit : LabelledVisit
    first_probability : (X, Y, Z) float32 array
        Of the first stage at every candidate; 0 elsewhere.
    config : CascadeConfig
    """
    probability = np.where(visit.lesion, 0, first_probability)
    hard = probability > config.hard_negative_probability
    n_lesion = int(np.count_nonzero(visit.lesion))
    if np.count_nonzero(hard) < n_lesion:
        ranked = np.argsort(-probability, axis=None, kind="stable")[:n_lesion]
        hard = np.zeros(hard.size, bool)
        hard[ranked] = True
        hard = hard.reshape(probability.shape) & (probability > 0)
    return Samples.of(visit, hard, false_positives=True)
