from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bids_cascade.cascade.calibration import calibrate, scan_offset
from bids_cascade.cascade.engine import lesion_probability
from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.gate import open_gate
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.cascade.two_stage import Cascade, segment
from bids_cascade.config import CascadeConfig

from .conftest import TINY, make_visit
from .test_inference import random_network

CONFIG = CascadeConfig(gate_probability=0.3)


def random_cascade(seed: int, config: CascadeConfig = CONFIG) -> Cascade:
    return Cascade(config, (random_network(TINY, seed), random_network(TINY, seed + 1)))


def test_one_cascade_says_what_it_says_alone() -> None:
    visit, cascade = make_visit("a", 0), random_cascade(0)
    alone = segment(cascade, visit.channels, visit.brain)
    found = segment_by_ensemble(Ensemble((cascade,)), visit.channels, visit.brain)
    assert alone.final.any()
    np.testing.assert_array_equal(found.first, alone.first)
    np.testing.assert_array_equal(found.final, alone.final)
    assert found.members == ()


def final_within(cascade: Cascade, visit: LabelledVisit, gate: NDArray[np.bool_], flipped: bool = False) -> Any:
    """Return stage 2's probability of a visit, or, brought back, of its mirror image."""
    step = -1 if flipped else 1
    channels, gate = visit.channels[:, ::step].copy(), gate[::step].copy()
    return lesion_probability(cascade.networks[1], channels, gate)[::step]


def first_of(cascade: Cascade, visit: LabelledVisit, flipped: bool = False) -> Any:
    """Return stage 1's probability of a visit, or, brought back, of its mirror image."""
    step = -1 if flipped else 1
    return segment(cascade, visit.channels[:, ::step].copy(), visit.brain[::step].copy()).first[::step]


def test_several_share_the_gate_that_their_mean_opens_and_say_their_mean_calibrated() -> None:
    visit, calibration = make_visit("a", 0), (0.5, 1.0)
    config = replace(CONFIG, calibration=calibration)
    members = [random_cascade(seed, config) for seed in (0, 10, 20)]
    found = segment_by_ensemble(Ensemble(tuple(members)), visit.channels, visit.brain)
    first = np.mean([first_of(one, visit) for one in members], axis=0)
    gate = open_gate(first, config.gate)
    finals = [final_within(one, visit, gate) for one in members]
    assert len({one.sum() for one in finals}) == 3
    np.testing.assert_allclose(found.first, first, atol=1e-6)
    np.testing.assert_allclose(found.final, calibrate(np.mean(finals, axis=0), calibration), atol=1e-6)
    for member, one in zip(found.members, finals, strict=True):
        np.testing.assert_allclose(member, calibrate(one, calibration), atol=1e-6)


def test_all_are_moved_by_the_prevalence_and_the_stage_1_that_their_means_show() -> None:
    visit = make_visit("a", 0)
    plain = Ensemble(tuple(random_cascade(seed) for seed in (0, 10)))
    config = replace(CONFIG, calibration=(0.5, 1.0), prevalence_weight=0.7, first_stage_weight=0.2)
    moved = Ensemble(tuple(replace(one, config=config) for one in plain.members))
    before, found = (segment_by_ensemble(one, visit.channels, visit.brain) for one in (plain, moved))
    offset = scan_offset(before.first, before.final, 0.7, 0.2)
    assert offset.std() > 0
    for was, now in zip((before.final, *before.members), (found.final, *found.members), strict=True):
        np.testing.assert_allclose(now, calibrate(was, (0.5, 1.0), offset), atol=1e-6)


@pytest.mark.parametrize("seeds", [(0,), (0, 10), (0, 10, 20)])
def test_mirrored_stage_2_evaluates_both_images_and_stage_1_one_by_turns(seeds: Sequence[int]) -> None:
    visit, config = make_visit("a", 0), replace(CONFIG, mirrored=True)
    members = [random_cascade(seed, config) for seed in seeds]
    found = segment_by_ensemble(Ensemble(tuple(members)), visit.channels, visit.brain)
    first = np.mean([first_of(one, visit, flipped=place % 2 == 1) for place, one in enumerate(members)], axis=0)
    gate = open_gate(first, config.gate)
    finals = [final_within(one, visit, gate, flipped) for one in members for flipped in (False, True)]
    assert len({one.sum() for one in finals}) == 2 * len(seeds)
    np.testing.assert_allclose(found.first, first, atol=1e-6)
    np.testing.assert_allclose(found.final, np.mean(finals, axis=0), atol=1e-6)


def test_members_have_one_configuration() -> None:
    with pytest.raises(ValueError, match="at least one cascade, found none"):
        Ensemble(())
    other = replace(CONFIG, candidate_level=1.1)
    with pytest.raises(ValueError, match="must have one configuration"):
        Ensemble((random_cascade(0), random_cascade(1, other)))
