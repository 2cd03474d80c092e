"""Which voxels a stage learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.patches import gather_patches
from bids_cascade.config import CascadeConfig

BoolVolume = NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledVisit:
    """One labelled scan on the model's grid.

    Attributes
    ----------
    subject : str
        Who was scanned: visits of one subject are never split between training and validation.
    channels : (C, X, Y, Z) float32 array
        Normalised sequences; may be memory-mapped.
    brain, lesion : (X, Y, Z) bool arrays
    """

    subject: str
    channels: NDArray[np.float32]
    brain: BoolVolume
    lesion: BoolVolume

    def __post_init__(self) -> None:
        """Check that all arrays share one grid."""
        shapes = {self.channels.shape[1:], self.brain.shape, self.lesion.shape}
        if self.channels.ndim != 4 or len(shapes) != 1:
            raise ValueError(
                f"{self.subject}: expected channels (C, X, Y, Z) and masks (X, Y, Z) of one grid, found "
                f"{self.channels.shape}, {self.brain.shape} and {self.lesion.shape}"
            )


@dataclass(frozen=True)
class Samples:
    """Lesion and other voxels of one visit, as patch centres (N, 3) each."""

    visit: LabelledVisit
    lesion: NDArray[np.int32]
    other: NDArray[np.int32]


def candidates(channels: NDArray[np.float32], brain: BoolVolume, config: CascadeConfig) -> BoolVolume:
    """Return the brain voxels bright enough in the candidate sequence to be looked at, as (X, Y, Z)."""
    bright: BoolVolume = channels[config.sequences.index(config.candidate_sequence)] > config.candidate_z
    return bright & brain


def first_stage_samples(visit: LabelledVisit, config: CascadeConfig, rng: np.random.Generator) -> Samples:
    """Draw all lesion voxels and as many random candidates without lesion."""
    lesion = np.argwhere(visit.lesion)
    other = np.argwhere(candidates(visit.channels, visit.brain, config) & ~visit.lesion)
    chosen = rng.permutation(len(other))[: len(lesion)]
    return Samples(visit, lesion.astype(np.int32), other[np.sort(chosen)].astype(np.int32))


def second_stage_samples(
    visit: LabelledVisit, first_probability: NDArray[np.float32], config: CascadeConfig, rng: np.random.Generator
) -> Samples:
    """Draw all lesion voxels and as many of the first stage's false positives.

    They are drawn at random from the voxels without lesion that the first stage gives more than
    ``hard_negative_probability``; where these are too few, the next most probable candidates are added.

    Parameters
    ----------
    visit : LabelledVisit
    first_probability : (X, Y, Z) float32 array
        What the first stage says of every candidate; 0 elsewhere.
    config : CascadeConfig
    rng : numpy.random.Generator
    """
    lesion = np.argwhere(visit.lesion)
    other = np.argwhere(candidates(visit.channels, visit.brain, config) & ~visit.lesion)
    probability = first_probability[tuple(other.T)]
    hard = np.flatnonzero(probability > config.hard_negative_probability)
    if len(hard) >= len(lesion):
        chosen = rng.permutation(hard)[: len(lesion)]
    else:
        chosen = np.argsort(-probability, kind="stable")[: len(lesion)]
    return Samples(visit, lesion.astype(np.int32), other[np.sort(chosen)].astype(np.int32))


class SamplePool:
    """All samples of several visits; patches are read batch by batch, never all at once.

    Parameters
    ----------
    samples : sequence of Samples
    """

    def __init__(self, samples: Sequence[Samples]) -> None:
        self.visits = [one.visit for one in samples]
        parts = [(index, one.lesion, True) for index, one in enumerate(samples)]
        parts += [(index, one.other, False) for index, one in enumerate(samples)]
        empty = np.empty((0, 3), np.int32)
        self.centres = np.concatenate([empty, *(centres for _, centres, _ in parts)])
        self.visit_of = np.repeat([index for index, _, _ in parts], [len(centres) for _, centres, _ in parts])
        self.is_lesion = np.repeat([label for _, _, label in parts], [len(centres) for _, centres, _ in parts])

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.centres)

    def draw(self, at_most: int | None, rng: np.random.Generator) -> NDArray[np.intp]:
        """Return the shuffled indices of all samples, or of `at_most`, half of them lesion where there are enough."""
        if at_most is None or at_most >= len(self):
            return rng.permutation(len(self))
        lesion, other = np.flatnonzero(self.is_lesion), np.flatnonzero(~self.is_lesion)
        n_lesion = min(len(lesion), max(at_most // 2, at_most - len(other)))
        drawn = [rng.permutation(lesion)[:n_lesion], rng.permutation(other)[: at_most - n_lesion]]
        return rng.permutation(np.concatenate(drawn))

    def read(self, indices: NDArray[np.intp], patch_size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return patches (N, C, P, P, P) and labels (N,), 1 for lesion, of the given samples in their order."""
        n_channels = len(self.visits[0].channels)
        patches = np.empty((len(indices), n_channels, patch_size, patch_size, patch_size), np.float32)
        for visit in np.unique(self.visit_of[indices]):
            rows = np.flatnonzero(self.visit_of[indices] == visit)
            patches[rows] = gather_patches(self.visits[visit].channels, self.centres[indices[rows]], patch_size)
        return patches, self.is_lesion[indices].astype(np.int64)

    def batches(
        self, indices: NDArray[np.intp], patch_size: int, batch_size: int
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Yield the given samples as (patches, labels), `batch_size` at a time."""
        for start in range(0, len(indices), batch_size):
            yield self.read(indices[start : start + batch_size], patch_size)


def split_subjects(
    subjects: Sequence[str], validation_fraction: float, rng: np.random.Generator
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split subjects, never visits or voxels, into those to train on and those to validate on.

    Parameters
    ----------
    subjects : sequence of str
        Names; those that come twice count once.
    validation_fraction : float
        Share to validate on, in [0, 1); rounded, at least one of several subjects, none of a single one.
    rng : numpy.random.Generator

    Returns
    -------
    training, validation : tuple of str
        Each in the order given.

    Raises
    ------
    ValueError
        When there is no subject or the fraction is out of range.
    """
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"the validation fraction is {validation_fraction}; expected 0 <= fraction < 1")
    unique = list(dict.fromkeys(subjects))
    if not unique:
        raise ValueError("there is no subject to train on")
    wanted = max(1, round(validation_fraction * len(unique))) if validation_fraction > 0 else 0
    n_validation = min(wanted, len(unique) - 1)
    held_out = set(rng.permutation(len(unique))[:n_validation].tolist())
    training = tuple(name for index, name in enumerate(unique) if index not in held_out)
    return training, tuple(name for index, name in enumerate(unique) if index in held_out)


def split_folds(subjects: Sequence[str], n_folds: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Split subjects, never visits or voxels, into folds to leave out in turn; their sizes differ by at most one.

    Parameters
    ----------
    subjects : sequence of str
        Names; those that come twice count once.
    n_folds : int
    rng : numpy.random.Generator

    Returns
    -------
    list of tuple of str
        Each subject in one fold, in the order given.

    Raises
    ------
    ValueError
        When there are fewer than two folds or fewer subjects than folds.
    """
    unique = list(dict.fromkeys(subjects))
    if not 2 <= n_folds <= len(unique):
        raise ValueError(f"{n_folds} folds of {len(unique)} subjects; expected 2 folds to one for each subject")
    order = rng.permutation(len(unique))
    return [tuple(unique[index] for index in sorted(order[start::n_folds])) for start in range(n_folds)]
