from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.cascade.calibration import calibrate, prevalence_logit
from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
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


def test_several_say_their_mean_calibrated() -> None:
    visit, calibration = make_visit("a", 0), (0.5, 1.0)
    config = replace(CONFIG, calibration=calibration)
    members = [random_cascade(seed, config) for seed in (0, 10, 20)]
    alone = [segment(one, visit.channels, visit.brain) for one in members]
    found = segment_by_ensemble(Ensemble(tuple(members)), visit.channels, visit.brain)
    mean = np.mean([one.final for one in alone], axis=0)
    assert len({one.final.sum() for one in alone}) == 3
    np.testing.assert_allclose(found.first, np.mean([one.first for one in alone], axis=0), atol=1e-6)
    np.testing.assert_allclose(found.final, calibrate(mean, calibration), atol=1e-6)
    for member, one in zip(found.members, alone, strict=True):
        np.testing.assert_array_equal(member, calibrate(one.final, calibration))


def test_all_are_moved_by_the_prevalence_that_their_mean_shows() -> None:
    visit = make_visit("a", 0)
    plain = Ensemble(tuple(random_cascade(seed) for seed in (0, 10)))
    config = replace(CONFIG, calibration=(0.5, 1.0), prevalence_weight=0.7)
    moved = Ensemble(tuple(replace(one, config=config) for one in plain.members))
    before, found = (segment_by_ensemble(one, visit.channels, visit.brain) for one in (plain, moved))
    offset = 0.7 * prevalence_logit(before.final)
    assert offset
    for was, now in zip((before.final, *before.members), (found.final, *found.members), strict=True):
        np.testing.assert_allclose(now, calibrate(was, (0.5, 1.0), offset), atol=1e-6)


def test_mirrored_it_says_the_same_of_a_scan_and_its_mirror_image() -> None:
    visit, plain = make_visit("a", 0), random_cascade(0)
    cascade = replace(plain, config=replace(CONFIG, mirrored=True))
    found = segment_by_ensemble(Ensemble((cascade,)), visit.channels, visit.brain)
    of_mirror = segment_by_ensemble(Ensemble((cascade,)), visit.channels[:, ::-1].copy(), visit.brain[::-1].copy())
    np.testing.assert_array_equal(of_mirror.final[::-1], found.final)
    both = [
        segment(plain, visit.channels, visit.brain).final,
        segment(plain, visit.channels[:, ::-1].copy(), visit.brain[::-1].copy()).final[::-1],
    ]
    assert not np.array_equal(*both)
    np.testing.assert_allclose(found.final, np.mean(both, axis=0), atol=1e-6)


def test_members_have_one_configuration() -> None:
    with pytest.raises(ValueError, match="at least one cascade, found none"):
        Ensemble(())
    other = replace(CONFIG, candidate_level=1.1)
    with pytest.raises(ValueError, match="must have one configuration"):
        Ensemble((random_cascade(0), random_cascade(1, other)))
