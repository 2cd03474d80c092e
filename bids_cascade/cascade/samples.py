"""Which voxels a stage learns from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.cascade.patches import FLIPS, coarsen, read_box, read_crop
from bids_cascade.config import CascadeConfig, TrainingConfig

BoolVolume = NDArray[np.bool_]

_COARSE = 4
"""Scale from which a visit's coarse channels are kept: they are small, and what a crop sees of them is not."""

_FEWEST = 400
"""Lesion voxels that a visit counts as having at least, so that those with few or none are seen, too."""


@dataclass(frozen=True)
class LabelledVisit:
    """One labelled scan on the model's grid.

    Attributes
    ----------
    subject : str
        Who was scanned: visits of one subject are never split between training and validation.
    channels : (C, X, Y, Z) array
        Normalised sequences, float32 or float16; may be memory-mapped.
    brain, lesion : (X, Y, Z) bool arrays
    synthetic : bool
        Whether it was computed rather than scanned.
    ignored : (X, Y, Z) bool array, optional
        Voxels from which nothing is learnt, since their label is doubtful.
    """

    subject: str
    channels: NDArray[np.floating]
    brain: BoolVolume
    lesion: BoolVolume
    synthetic: bool = False
    ignored: BoolVolume | None = None

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
        """Return a mask, (X, Y, Z), without the voxels from which nothing is learnt."""
        return mask if self.ignored is None else mask & ~self.ignored


@dataclass(frozen=True)
class Samples:
    """What a stage learns from one visit: all its lesion voxels, and some others.

    Attributes
    ----------
    visit : LabelledVisit
    other_bits : (N,) uint8 array
        The others, eight voxels a byte: there may be hundreds of visits.
    false_positives : bool
        Whether the others are false positives, whose connected components count, rather than tissue.
    """

    visit: LabelledVisit
    other_bits: NDArray[np.uint8]
    false_positives: bool = False

    @classmethod
    def of(cls, visit: LabelledVisit, other: BoolVolume, *, false_positives: bool = False) -> Samples:
        """Return the samples of a visit whose other voxels are the given ones (X, Y, Z), but for lesion."""
        return cls(visit, np.packbits(visit.learnt(other & ~visit.lesion)), false_positives)

    @property
    def lesion(self) -> BoolVolume:
        """Which lesion voxels are learnt from, (X, Y, Z)."""
        return self.visit.learnt(self.visit.lesion)

    @property
    def other(self) -> BoolVolume:
        """Which voxels without lesion are learnt from, (X, Y, Z)."""
        shape = self.visit.brain.shape
        return np.unpackbits(self.other_bits, count=math.prod(shape)).reshape(shape).view(bool)


def candidates(channels: NDArray[np.floating], brain: BoolVolume, config: CascadeConfig) -> BoolVolume:
    """Return the brain voxels bright enough in the candidate sequence to be looked at, as (X, Y, Z)."""
    bright: BoolVolume = channels[config.sequences.index(config.candidate_sequence)] > config.candidate_level
    return bright & brain


def first_stage_samples(visit: LabelledVisit, config: CascadeConfig) -> Samples:
    """Take all lesion voxels and all candidates without lesion; the crops balance them (:class:`CropPool`)."""
    return Samples.of(visit, candidates(visit.channels, visit.brain, config))


def second_stage_samples(
    visit: LabelledVisit, first_probability: NDArray[np.float32], config: CascadeConfig
) -> Samples:
    """Take all lesion voxels and the first stage's false positives.

    These are the voxels without lesion that the first stage gives more than ``hard_negative_probability``; where they
    are fewer than the lesion voxels, the next most probable candidates are added.

    Parameters
    ----------
    visit : LabelledVisit
    first_probability : (X, Y, Z) float32 array
        What the first stage says of every candidate; 0 elsewhere.
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


def component_weights(mask: BoolVolume, power: float) -> NDArray[np.float32]:
    """Return the weight of each voxel of a mask, in C order: its component's size to the power of minus `power`.

    With 0, all voxels weigh the same; with 1, all 26-connected components do. The mean over the voxels is 1.
    """
    if power == 0 or not mask.any():
        return np.ones(np.count_nonzero(mask), np.float32)
    components, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    of_voxels = components[mask]
    weights = np.bincount(of_voxels)[of_voxels] ** -power
    return np.asarray(weights / weights.mean(), np.float32)


@dataclass(frozen=True, eq=False)
class WeightedVoxels:
    """The voxels of a mask and their weights.

    Attributes
    ----------
    shape : tuple of int
        Of the volume.
    indices : (N,) int64 array
        Of the voxels in the flattened volume, ascending.
    weights : (N,) float32 array
        Their mean is 1.
    """

    shape: tuple[int, ...]
    indices: NDArray[np.int64]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, mask: BoolVolume, power: float) -> WeightedVoxels:
        """Weigh the voxels of a mask by :func:`component_weights`."""
        return cls(mask.shape, np.flatnonzero(mask), component_weights(mask, power))

    def volume(self) -> NDArray[np.float32]:
        """Return the weights as a volume, 0 outside the mask."""
        volume = np.zeros(self.shape, np.float32)
        volume.flat[self.indices] = self.weights
        return volume

    def crop(self, inside: BoolVolume, start: Sequence[int]) -> NDArray[np.float32]:
        """Return the weights in the crop that starts at a voxel; `inside` says where it shows the mask."""
        crop = np.zeros(inside.shape, np.float32)
        voxels = np.argwhere(inside) + np.array(start)
        flat = np.ravel_multi_index(tuple(voxels.T), self.shape)
        crop[inside] = self.weights[np.searchsorted(self.indices, flat)]
        return crop


@dataclass(frozen=True)
class CropGeometry:
    """What a network needs to see of a crop.

    Attributes
    ----------
    size : int
        Edge of a crop in voxels, a multiple of `step`.
    step : int
        Crops start at its multiples, itself a multiple of all scales.
    scales : tuple of int
    before, after : int
        Voxels of each scale that the network sees around the crop, `after` no more than `before`.
    """

    size: int
    step: int
    scales: tuple[int, ...]
    before: int
    after: int


@dataclass(frozen=True)
class Crop:
    """A crop of a visit.

    Attributes
    ----------
    views : list of (C, X, Y, Z) float32 arrays
        Of each scale, the crop and what surrounds it: as much on either side, so that it can be mirrored.
    covered : list of (1, X, Y, Z) float32 arrays
        How much of each of their voxels is brain.
    lesion, other : (T, T, T) bool arrays
        Voxels to learn from.
    weight : (T, T, T) float32 array
        Of each voxel's loss. Over the crops as they are drawn, the weighted sum's expectation is the weighted mean loss
        of the visit's lesion voxels plus `other_weight` times that of its other samples.
    """

    views: list[NDArray[np.float32]]
    covered: list[NDArray[np.float32]]
    lesion: BoolVolume
    other: BoolVolume
    weight: NDArray[np.float32]


class VisitCrops:
    """The crops of one visit, and how likely each is drawn.

    A lesion voxel weighs the more, the smaller its lesion is (:func:`component_weights`): otherwise large lesions drown
    all small ones. So do false positives. Half of the draws go to a crop by its part of the lesion voxels' weight, half
    by its part of the others', so that a voxel's chance of being in a crop is known: its loss is divided by it (Horvitz
    and Thompson 1952), which makes lesion voxels, and other ones, count as if they were drawn one by one by their
    weight, in equal numbers.

    Parameters
    ----------
    samples : Samples
    geometry : CropGeometry
    component_power : float
    """

    def __init__(self, samples: Samples, geometry: CropGeometry, component_power: float = 0.0) -> None:
        self.samples, self.geometry = samples, geometry
        self._lesion = WeightedVoxels.of(samples.lesion, component_power)
        other = samples.other
        self._false_positives = WeightedVoxels.of(other, component_power) if samples.false_positives else None
        self.n_lesion, self.n_other = len(self._lesion.indices), int(np.count_nonzero(other))
        n_steps = geometry.size // geometry.step
        shares = []
        for weights in (self._lesion.volume(), self._false_positives.volume() if self._false_positives else other):
            inside = _sums(_block_sums(weights, geometry.step, n_steps), n_steps)
            if inside.any():
                shares.append(inside / inside.sum())
        self.chances = np.mean(shares, axis=0) if shares else inside
        self._cumulative = self.chances.cumsum()
        visit, coarse = samples.visit, [scale for scale in geometry.scales if scale >= _COARSE]
        volumes: tuple[NDArray[Any], ...] = (visit.channels, visit.brain[None])
        self._volumes = [(one, {scale: coarsen(one, scale) for scale in coarse}) for one in volumes]
        #: Chance of each block of `step` voxels an edge to be in the crop that is drawn.
        self.block_chances = _sums(np.pad(self.chances, n_steps - 1), n_steps)

    @property
    def n_samples(self) -> int:
        """How many voxels there are to learn from."""
        return self.n_lesion + self.n_other

    def draw(self, rng: np.random.Generator) -> tuple[int, int, int]:
        """Draw a crop; return the voxel at which it starts, which may lie before the volume."""
        index = np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right")
        origin = np.unravel_index(min(int(index), self.chances.size - 1), self.chances.shape)
        return self.start_of(origin)

    def start_of(self, origin: Sequence[np.intp]) -> tuple[int, int, int]:
        """Return the first voxel of the crop with this index into :attr:`chances`."""
        step, n_steps = self.geometry.step, self.geometry.size // self.geometry.step
        x, y, z = (int(place - n_steps + 1) * step for place in origin)
        return x, y, z

    def read(self, start: tuple[int, int, int], other_weight: float = 1.0) -> Crop:
        """Read the crop that starts at a voxel; `other_weight` is that of the voxels without lesion together."""
        geometry = self.geometry
        box = [slice(edge, edge + geometry.size) for edge in start]
        lesion, other = (read_box(mask[None], box)[0] for mask in (self.samples.lesion, self.samples.other))
        n_steps = geometry.size // geometry.step
        blocks = [edge // geometry.step + n_steps - 1 for edge in start]
        chance = self.block_chances[tuple(slice(block, block + n_steps) for block in blocks)]
        for axis in range(3):
            chance = chance.repeat(geometry.step, axis)
        of_other = self._false_positives.crop(other, start) if self._false_positives else other
        each = self._lesion.crop(lesion, start) / max(self.n_lesion, 1)
        each = each + of_other * np.float32(other_weight / max(self.n_other, 1))
        weight = np.divide(each, chance, out=np.zeros(chance.shape, np.float32), where=each > 0, casting="unsafe")
        views, covered = (
            read_crop(volume, box, geometry.scales, (geometry.before,) * 2, coarse) for volume, coarse in self._volumes
        )
        return Crop(views, covered, lesion, other, weight)


@dataclass(frozen=True)
class Batch:
    """Crops of one training step.

    Attributes
    ----------
    views : list of (N, C, X, Y, Z) float32 arrays
        Of each scale.
    voxels : (M, 4) int64 array
        Which crop, and where in it.
    labels : (M,) int64 array
        1 for lesion.
    weights : (M,) float32 array
        Of each voxel's loss.
    """

    views: list[NDArray[np.float32]]
    voxels: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]


class CropPool:
    """Crops of several visits, read when they are drawn.

    Parameters
    ----------
    samples : sequence of Samples
    geometry : CropGeometry
    config : TrainingConfig
    """

    def __init__(self, samples: Sequence[Samples], geometry: CropGeometry, config: TrainingConfig) -> None:
        visits = [VisitCrops(one, geometry, config.component_power) for one in samples]
        self.visits = [one for one in visits if one.n_samples]
        self.geometry, self.config = geometry, config
        self.chances = _visit_chances(self.visits, config)

    def batches(self, n_batches: int, rng: np.random.Generator, *, augment: bool = True) -> Iterator[Batch]:
        """Yield so many batches of freshly drawn crops, mirrored and changed in intensity if `augment`."""
        for _ in range(n_batches):
            crops = []
            for index in rng.choice(len(self.visits), self.config.batch_size, p=self.chances):
                visit = self.visits[index]
                crop = visit.read(visit.draw(rng), self._other_weight(visit))
                crops.append(_augmented(crop, self.config, rng) if augment else crop)
            yield _batch(crops, self.geometry)

    def _other_weight(self, visit: VisitCrops) -> float:
        """Return what the others weigh together beside the lesion voxels: as much, or more if they are more."""
        return min(max(1.0, visit.n_other / max(visit.n_lesion, 1)), self.config.largest_other_weight)


def _visit_chances(visits: Sequence[VisitCrops], config: TrainingConfig) -> NDArray[np.float64]:
    """Return how likely each visit is drawn: by the square root of its lesion voxels, and the shares asked for."""
    chances = np.sqrt([max(one.n_lesion, _FEWEST) for one in visits])
    synthetic = np.array([one.samples.visit.synthetic for one in visits], bool)
    free = synthetic & np.array([one.n_lesion == 0 for one in visits], bool)
    if config.lesion_free_share is not None:
        _share_out(chances, free, synthetic & ~free, config.lesion_free_share)
    _share_out(chances, synthetic, ~synthetic, config.synthetic_share)
    return np.asarray(chances / max(chances.sum(), 1e-300))


def _share_out(chances: NDArray[np.float64], some: BoolVolume, others: BoolVolume, share: float) -> None:
    """Give some visits this share of what they and others have together, in place; where there are both."""
    if some.any() and others.any():
        chances[some] *= share / chances[some].sum()
        chances[others] *= (1 - share) / chances[others].sum()


def _augmented(crop: Crop, config: TrainingConfig, rng: np.random.Generator) -> Crop:
    """Mirror every other crop by one of the flips and half turns, and scale and shift each of its sequences.

    Outside the brain is nothing to scale or shift: a coarse voxel, a mean, changes by how much of it is brain.
    """
    n_channels = len(crop.views[0])
    gain = np.exp(rng.uniform(-1, 1, n_channels) * np.log(config.gain)).astype(np.float32)
    shift = rng.uniform(-config.shift, config.shift, n_channels).astype(np.float32)
    gain, shift = gain[:, None, None, None], shift[:, None, None, None]
    views = [view * gain + part * (1 - gain + shift) for view, part in zip(crop.views, crop.covered, strict=True)]
    axes = FLIPS[rng.integers(len(FLIPS))] if rng.random() < 0.5 else ()
    views, covered = ([np.flip(one, axes) for one in several] for several in (views, crop.covered))
    return Crop(views, covered, np.flip(crop.lesion, axes), np.flip(crop.other, axes), np.flip(crop.weight, axes))


def _batch(crops: Sequence[Crop], geometry: CropGeometry) -> Batch:
    seen = slice(None, geometry.after - geometry.before or None)
    voxels = np.argwhere([crop.lesion | crop.other for crop in crops])
    at = tuple(voxels.T)
    return Batch(
        views=[np.stack(views)[..., seen, seen, seen] for views in zip(*(crop.views for crop in crops), strict=True)],
        voxels=voxels,
        labels=np.stack([crop.lesion for crop in crops])[at].astype(np.int64),
        weights=np.stack([crop.weight for crop in crops])[at].astype(np.float32) / len(crops),
    )


def _block_sums(weights: NDArray[Any], step: int, n_around: int) -> NDArray[np.float64]:
    """Return the sum of the weights in each block of step^3 voxels, with `n_around` - 1 empty blocks around them."""
    margins = [(0, -size % step) for size in weights.shape]
    blocks = np.pad(weights, margins).astype(np.float64)
    for axis in range(3):
        shape = (*blocks.shape[:axis], blocks.shape[axis] // step, step, *blocks.shape[axis + 1 :])
        blocks = blocks.reshape(shape).sum(axis + 1)
    return np.pad(blocks, n_around - 1)


def _sums(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return the sums of all cubes of width^3 values, by their first one."""
    windows = sliding_window_view(values, (width, width, width))
    return np.asarray(windows.sum(axis=(3, 4, 5)))


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
