"""Ensembles: the mean of several cascades is the result, and their disagreement its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bids_cascade.cascade.calibration import calibrate, prevalence_logit
from bids_cascade.cascade.engine import Engine, lesion_probability
from bids_cascade.cascade.samples import BoolVolume
from bids_cascade.cascade.two_stage import Cascade, Segmentation, Volume, segment
from bids_cascade.config import CascadeConfig


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
    """Run the members on one scan, one after another.

    Parameters and errors are those of :func:`bids_cascade.cascade.two_stage.segment`.
    """
    first, final = np.zeros(brain.shape, np.float32), np.zeros(brain.shape, np.float32)
    members = []
    for member in ensemble.members:
        volumes = _segment(member, channels, brain, engine)
        first += volumes.first
        final += volumes.final
        members.append(volumes.final)
    n, config = np.float32(len(members)), ensemble.config
    first /= n
    final /= n
    offset = config.prevalence_weight * prevalence_logit(final) if config.prevalence_weight else 0.0
    of_members = (
        tuple(calibrate(probability, config.calibration, offset) for probability in members) if len(members) > 1 else ()
    )
    return EnsembleSegmentation(first, calibrate(final, config.calibration, offset), of_members)


def _segment(cascade: Cascade, channels: Volume, brain: BoolVolume, engine: Engine) -> Segmentation:
    """Run a cascade on one scan, and on its mirror image if configured; return the mean."""
    volumes = segment(cascade, channels, brain, engine)
    if not cascade.config.mirrored:
        return volumes
    # The first axis of the model's grid points from left to right.
    mirrored = segment(cascade, np.ascontiguousarray(channels[:, ::-1]), np.ascontiguousarray(brain[::-1]), engine)
    half = np.float32(0.5)
    return Segmentation(half * (volumes.first + mirrored.first[::-1]), half * (volumes.final + mirrored.final[::-1]))
