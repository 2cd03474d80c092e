"""Ensembles: the mean of several cascades is the result, and their disagreement its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bids_cascade.cascade.calibration import calibrate, scan_offset
from bids_cascade.cascade.engine import Engine, lesion_probability
from bids_cascade.cascade.gate import open_gate
from bids_cascade.cascade.samples import BoolVolume
from bids_cascade.cascade.two_stage import Cascade, Volume, final_probability, first_probability
from bids_cascade.config import CascadeConfig

_Voxel = TypeVar("_Voxel", bound=np.generic)


@dataclass(frozen=True)
class Ensemble:
    """One cascade or several, trained from other seeds or by other recipes, with one configuration.

    Attributes
    ----------
    members : tuple of Cascade
        At least one; their networks may differ.
    """

    members: tuple[Cascade, ...]

    def __post_init__(self) -> None:
        """Refuse an ensemble of nothing, or of cascades with different configurations.

        Raises
        ------
        ValueError
        """
        if not self.members:
            raise ValueError("an ensemble needs at least one cascade, found none")
        if any(member.config != self.config for member in self.members):
            raise ValueError("the cascades of an ensemble must have one configuration")

    @property
    def config(self) -> CascadeConfig:
        """What the members have in common."""
        return self.members[0].config


@dataclass(frozen=True)
class EnsembleSegmentation:
    """An ensemble's probabilities for one scan, as (X, Y, Z) float32 in [0, 1].

    Attributes
    ----------
    first : array
        The members' mean of stage 1, at all candidates; 0 elsewhere.
    final : array
        The members' mean of stage 2, calibrated.
    members : tuple of arrays
        Each member's own final probability, calibrated in the same way; none of a single one, which is `final`.
    """

    first: Volume
    final: Volume
    members: tuple[Volume, ...] = ()


def segment_by_ensemble(
    ensemble: Ensemble, channels: Volume, brain: BoolVolume, engine: Engine = lesion_probability
) -> EnsembleSegmentation:
    """Run the members on one scan.

    The mean of the members' stage 1 opens one gate for all. If configured, the mirror image is evaluated, too: by
    stage 2 of each member, but by stage 1 of every second member only, and instead of the scan, since stage 1 takes
    most of the time.

    Parameters and errors are those of :func:`bids_cascade.cascade.two_stage.segment`.
    """
    config, members = ensemble.config, ensemble.members
    scan = _View(channels, brain, mirrored=False)
    views = (scan, scan.mirror()) if config.mirrored else (scan,)
    first = _mean([view.first(member, engine) for member, view in zip(members, cycle(views), strict=False)])
    gate = open_gate(first, config.gate)
    finals = [_mean([view.final(member, gate, engine) for view in views]) for member in members]
    final = _mean(finals)
    offset = scan_offset(first, final, config.prevalence_weight, config.first_stage_weight)
    of_members = (
        tuple(calibrate(probability, config.calibration, offset) for probability in finals) if len(finals) > 1 else ()
    )
    return EnsembleSegmentation(first, calibrate(final, config.calibration, offset), of_members)


@dataclass(frozen=True)
class _View:
    """A scan or its mirror image; what it takes and returns is on the scan's grid.

    Attributes
    ----------
    channels, brain : arrays
        Mirrored already.
    mirrored : bool
    """

    channels: Volume
    brain: BoolVolume
    mirrored: bool

    def mirror(self) -> _View:
        """Return the other view."""
        channels, brain = np.ascontiguousarray(self.channels[:, ::-1]), np.ascontiguousarray(self.brain[::-1])
        return _View(channels, brain, not self.mirrored)

    def first(self, member: Cascade, engine: Engine) -> Volume:
        """Return the probability of a member's stage 1."""
        return self._flip(first_probability(member, self.channels, self.brain, engine))

    def final(self, member: Cascade, gate: BoolVolume, engine: Engine) -> Volume:
        """Return the probability of a member's stage 2 within the gate."""
        return self._flip(final_probability(member, self.channels, self._flip(gate), engine))

    def _flip(self, volume: NDArray[_Voxel]) -> NDArray[_Voxel]:
        # The first axis of the model's grid points from left to right.
        return np.ascontiguousarray(volume[::-1]) if self.mirrored else volume


def _mean(volumes: Sequence[Volume]) -> Volume:
    """Return the voxel-wise mean."""
    total = volumes[0].copy()
    for volume in volumes[1:]:
        total += volume
    total /= np.float32(len(volumes))
    return total
