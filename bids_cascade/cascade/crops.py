"""Training crops: drawn at random from visits, and combined into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bids_cascade.cascade.appearance import vary_appearance
from bids_cascade.cascade.patches import FLIPS, coarsen, read_box, read_crop
from bids_cascade.cascade.samples import BoolVolume, Samples
from bids_cascade.cascade.weights import WeightedVoxels
from bids_cascade.config import TrainingConfig

_COARSE = 4
"""Smallest scale whose coarse channels are cached for each visit: they are small, while crops see large parts of
them."""

_LONE_SHIFT = 0.1
"""Largest error of a sequence's white-matter level if no other sequence helps to find it."""

_FEWEST = 400
"""Minimum number of lesion voxels that a visit counts as, so that visits with few or none are drawn, too."""


@dataclass(frozen=True)
class CropGeometry:
    """The surroundings of a crop that a network needs.

    Along one axis, a crop (c) of 8 voxels that starts at voxel 8, in the scales 1 and 4, with 2 voxels of each scale
    before it (b) and 1 after it (a); a voxel of scale 4 is the mean of 4 x 4 x 4::

        voxel   0       4       8       12      16      20
        scale 1             b b c c c c c c c c a
        scale 4 |   b   |   b   |   c   |   c   |   a   |

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
        Of each scale, the crop and its surroundings, which are equal on both sides, so that it can be mirrored.
    covered : list of (1, X, Y, Z) float32 arrays
        Fraction of brain in each of their voxels.
    lesion, negative : (T, T, T) bool arrays
        Voxels to learn from.
    weight : (T, T, T) float32 array
        Of each voxel's loss. The expectation of the weighted sum over drawn crops is the weighted mean loss of the
        visit's lesion voxels plus `negative_weight` times that of its negatives.
    """

    views: list[NDArray[np.float32]]
    covered: list[NDArray[np.float32]]
    lesion: BoolVolume
    negative: BoolVolume
    weight: NDArray[np.float32]


class VisitCrops:
    """The crops of one visit, and the chance of each to be drawn.

    Voxels of small lesions have larger weights (:func:`bids_cascade.cascade.weights.component_weights`): otherwise
    large lesions would dominate the loss. The same holds for false positives. Half of the draws choose a crop by its
    fraction of the lesion voxels' weight, half by its fraction of the negatives'. A voxel's loss is divided by its
    chance of being in a crop (Horvitz and Thompson 1952), so that lesion voxels and negatives count as if they were
    drawn one by one by their weight, in equal numbers.

    Parameters
    ----------
    samples : Samples
    geometry : CropGeometry
    component_power : float
    """

    def __init__(self, samples: Samples, geometry: CropGeometry, component_power: float = 0.0) -> None:
        self.samples, self.geometry = samples, geometry
        self._lesion = WeightedVoxels.of(samples.lesion, component_power)
        negative = samples.negative
        self._false_positives = WeightedVoxels.of(negative, component_power) if samples.false_positives else None
        self.n_lesion, self.n_negative = len(self._lesion.indices), int(np.count_nonzero(negative))
        n_steps = geometry.size // geometry.step
        fractions = []
        for weights in (self._lesion.volume(), self._false_positives.volume() if self._false_positives else negative):
            inside = _sums(_block_sums(weights, geometry.step, n_steps), n_steps)
            if inside.any():
                fractions.append(inside / inside.sum())
        self.chances = np.mean(fractions, axis=0) if fractions else inside
        self._cumulative = self.chances.cumsum()
        visit, coarse = samples.visit, [scale for scale in geometry.scales if scale >= _COARSE]
        volumes: tuple[NDArray[Any], ...] = (visit.channels, visit.brain[None])
        self._volumes = [(volume, {scale: coarsen(volume, scale) for scale in coarse}) for volume in volumes]
        #: Chance of each block of `step` voxels an edge to be in the crop that is drawn.
        self.block_chances = _sums(np.pad(self.chances, n_steps - 1), n_steps)

    @property
    def n_samples(self) -> int:
        """Number of voxels to learn from."""
        return self.n_lesion + self.n_negative

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

    def read(self, start: tuple[int, int, int], negative_weight: float = 1.0) -> Crop:
        """Read the crop that starts at a voxel; `negative_weight` is that of all negatives together."""
        geometry = self.geometry
        box = [slice(edge, edge + geometry.size) for edge in start]
        lesion, negative = (read_box(mask[None], box)[0] for mask in (self.samples.lesion, self.samples.negative))
        n_steps = geometry.size // geometry.step
        blocks = [edge // geometry.step + n_steps - 1 for edge in start]
        chance = self.block_chances[tuple(slice(block, block + n_steps) for block in blocks)]
        for axis in range(3):
            chance = chance.repeat(geometry.step, axis)
        of_negatives = self._false_positives.crop(negative, start) if self._false_positives else negative
        each = self._lesion.crop(lesion, start) / max(self.n_lesion, 1)
        each = each + of_negatives * np.float32(negative_weight / max(self.n_negative, 1))
        weight = np.divide(each, chance, out=np.zeros(chance.shape, np.float32), where=each > 0, casting="unsafe")
        views, covered = (
            read_crop(volume, box, geometry.scales, (geometry.before,) * 2, coarse) for volume, coarse in self._volumes
        )
        return Crop(views, covered, lesion, negative, weight)


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
    optional_channels : sequence of int
        Channels that a scan may lack.
    """

    def __init__(
        self,
        samples: Sequence[Samples],
        geometry: CropGeometry,
        config: TrainingConfig,
        optional_channels: Sequence[int] = (),
    ) -> None:
        visits = [VisitCrops(sample, geometry, config.component_power) for sample in samples]
        self.visits = [visit for visit in visits if visit.n_samples]
        self.geometry, self.config = geometry, config
        self.optional_channels = tuple(optional_channels)
        self.chances = _visit_chances(self.visits, config)

    def batches(self, n_batches: int, rng: np.random.Generator, *, augment: bool = True) -> Iterator[Batch]:
        """Yield batches of freshly drawn crops, mirrored and changed in intensity if `augment`."""
        for _ in range(n_batches):
            crops = []
            for index in rng.choice(len(self.visits), self.config.batch_size, p=self.chances):
                visit = self.visits[index]
                crop = visit.read(visit.draw(rng), self._negative_weight(visit))
                crops.append(self._augmented(crop, visit.samples.visit.absent, rng) if augment else crop)
            yield _batch(crops, self.geometry)

    def _augmented(self, crop: Crop, absent: tuple[int, ...], rng: np.random.Generator) -> Crop:
        """Change a crop's intensities, drop some optional channels in addition to the absent ones, and mirror it."""
        if self.config.appearance_fraction and rng.random() < self.config.appearance_fraction:
            scales, before = self.geometry.scales, self.geometry.before
            crop = replace(crop, views=vary_appearance(crop.views, crop.covered, scales, before, rng))
        optional = [channel for channel in self.optional_channels if channel not in absent]
        if optional and rng.random() < self.config.sequence_dropout:
            n_absent = rng.integers(1, len(optional), endpoint=True)
            absent += tuple(rng.choice(optional, n_absent, replace=False).tolist())
        return _mirrored(_without(_scaled(crop, self.config, rng), absent, rng), rng)

    def _negative_weight(self, visit: VisitCrops) -> float:
        """Return the total weight of the negatives relative to the lesion voxels: 1, or more if they are more."""
        return min(max(1.0, visit.n_negative / max(visit.n_lesion, 1)), self.config.largest_negative_weight)


def _visit_chances(visits: Sequence[VisitCrops], config: TrainingConfig) -> NDArray[np.float64]:
    """Return each visit's chance to be drawn: by the square root of its lesion voxels, and the configured fractions."""
    chances = np.sqrt([max(visit.n_lesion, _FEWEST) for visit in visits])
    synthetic = np.array([visit.samples.visit.synthetic for visit in visits], bool)
    free = synthetic & np.array([visit.n_lesion == 0 for visit in visits], bool)
    if config.lesion_free_fraction is not None:
        _set_fraction(chances, free, synthetic & ~free, config.lesion_free_fraction)
    _set_fraction(chances, synthetic, ~synthetic, config.synthetic_fraction)
    return np.asarray(chances / max(chances.sum(), 1e-300))


def _set_fraction(chances: NDArray[np.float64], chosen: BoolVolume, rest: BoolVolume, fraction: float) -> None:
    """Scale the chances, in place, so that the chosen visits have this fraction of the total, if both kinds exist."""
    if chosen.any() and rest.any():
        chances[chosen] *= fraction / chances[chosen].sum()
        chances[rest] *= (1 - fraction) / chances[rest].sum()


def _scaled(crop: Crop, config: TrainingConfig, rng: np.random.Generator) -> Crop:
    """Scale and shift each of a crop's sequences.

    Only brain is scaled and shifted: a coarse voxel, which is a mean, changes in proportion to its brain.
    """
    n_channels = len(crop.views[0])
    gain = np.exp(rng.uniform(-1, 1, n_channels) * np.log(config.gain)).astype(np.float32)
    shift = rng.uniform(-config.shift, config.shift, n_channels).astype(np.float32)
    gain, shift = gain[:, None, None, None], shift[:, None, None, None]
    views = [view * gain + part * (1 - gain + shift) for view, part in zip(crop.views, crop.covered, strict=True)]
    return replace(crop, views=views)


def _without(crop: Crop, absent: Sequence[int], rng: np.random.Generator) -> Crop:
    """Set the absent channels to 0, and shift the others further: without those, their scale is less certain."""
    if not absent:
        return crop
    kept = np.ones((len(crop.views[0]), 1, 1, 1), np.float32)
    kept[list(absent)] = 0
    shift = rng.uniform(-_LONE_SHIFT, _LONE_SHIFT, kept.shape).astype(np.float32)
    views = [(view + part * shift) * kept for view, part in zip(crop.views, crop.covered, strict=True)]
    return replace(crop, views=views)


def _mirrored(crop: Crop, rng: np.random.Generator) -> Crop:
    """Mirror every other crop by one of the flips and half turns."""
    axes = FLIPS[rng.integers(len(FLIPS))] if rng.random() < 0.5 else ()
    views, covered = ([np.flip(volume, axes) for volume in volumes] for volumes in (crop.views, crop.covered))
    return Crop(views, covered, np.flip(crop.lesion, axes), np.flip(crop.negative, axes), np.flip(crop.weight, axes))


def _batch(crops: Sequence[Crop], geometry: CropGeometry) -> Batch:
    seen = slice(None, geometry.after - geometry.before or None)
    voxels = np.argwhere([crop.lesion | crop.negative for crop in crops])
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
