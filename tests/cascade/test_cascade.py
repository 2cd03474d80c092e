from functools import partial

import numpy as np
import pytest
import torch

from bids_cascade.cascade.cascade import Cascade, segment, train_cascade
from bids_cascade.cascade.inference import patchwise_probability
from bids_cascade.cascade.sampling import LabelledVisit, candidates
from bids_cascade.config import CascadeConfig, TrainingConfig

from .conftest import TINY, make_visit
from .test_inference import random_network

CONFIG = CascadeConfig()
TRAINING = TrainingConfig(max_epochs=8, batch_size=32)


@pytest.fixture(scope="module")
def trained():
    visits = [make_visit(name, seed) for seed, name in enumerate("abcd")]
    return train_cascade(visits, CONFIG, TINY, TRAINING)


def test_it_finds_lesions_of_a_subject_it_never_saw_and_stage_two_throws_out_what_is_none(trained) -> None:
    visit = make_visit("new", 99)
    found = segment(trained.cascade, visit.channels, visit.brain)
    first, final = found.first >= 0.5, found.final >= 0.5
    dice = 2 * (final & visit.lesion).sum() / (final.sum() + visit.lesion.sum())
    assert dice > 0.7
    assert (final & ~visit.lesion).sum() <= (first & ~visit.lesion).sum()


def test_hand_over(trained) -> None:
    visit = make_visit("new", 98)
    found = segment(trained.cascade, visit.channels, visit.brain)
    looked_at = candidates(visit.channels, visit.brain, CONFIG)
    assert not found.first[~looked_at].any()
    gate = found.first > CONFIG.gate_probability
    assert not found.final[~gate].any()
    expected = patchwise_probability(trained.cascade.networks[1], visit.channels, gate)
    np.testing.assert_allclose(found.final, expected, atol=1e-5)


def test_both_engines_give_the_same(trained) -> None:
    visit = make_visit("new", 97)
    dense = segment(trained.cascade, visit.channels, visit.brain)
    slow = segment(trained.cascade, visit.channels, visit.brain, engine=partial(patchwise_probability, batch_size=77))
    np.testing.assert_allclose(dense.first, slow.first, atol=1e-5)


def test_training_says_who_was_held_out(trained) -> None:
    assert len(trained.validation_subjects) == 1
    assert sorted(trained.training_subjects + trained.validation_subjects) == list("abcd")
    assert set(trained.history) == {1, 2}
    assert trained.history[2]


def test_equal_seeds_give_equal_cascades(trained) -> None:
    visits = [make_visit(name, seed) for seed, name in enumerate("abcd")]
    again = train_cascade(visits, CONFIG, TINY, TRAINING)
    for one, other in zip(trained.cascade.networks, again.cascade.networks, strict=True):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_interrupted_between_the_stages(trained) -> None:
    visits = [make_visit(name, seed) for seed, name in enumerate("abcd")]
    kept = {}

    def stop_in_stage_two(stage, progress) -> None:
        kept[stage] = progress
        if stage == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_cascade(visits, CONFIG, TINY, TRAINING, on_epoch=stop_in_stage_two)
    resumed = train_cascade(visits, CONFIG, TINY, TRAINING, progress=kept)
    for a, b in zip(
        trained.cascade.networks[1].state_dict().values(),
        resumed.cascade.networks[1].state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b)


def test_one_subject_is_enough() -> None:
    done = train_cascade([make_visit("a", 0)], CONFIG, TINY, TrainingConfig(max_epochs=2, batch_size=32))
    assert done.validation_subjects == ()
    assert len(done.history[1]) == 2


def test_errors(trained) -> None:
    visit = make_visit("a", 0)
    healthy = LabelledVisit("a", visit.channels, visit.brain, np.zeros_like(visit.lesion))
    with pytest.raises(ValueError, match="none of the 1 labelled visits has a lesion voxel"):
        train_cascade([healthy], CONFIG, TINY, TRAINING)
    with pytest.raises(ValueError, match=r"expected 3 channels \(T1w, FLAIR, T2w\)"):
        train_cascade([visit], CascadeConfig(sequences=("T1w", "FLAIR", "T2w")), TINY, TRAINING)
    with pytest.raises(ValueError, match=r"takes 2 channels \(T1w, FLAIR\), found 1"):
        segment(trained.cascade, visit.channels[:1], visit.brain)


def test_a_scan_without_candidates_has_no_lesion() -> None:
    cascade = Cascade(CONFIG, (random_network(TINY), random_network(TINY, 1)))
    found = segment(cascade, np.zeros((2, 8, 8, 8), np.float32), np.ones((8, 8, 8), bool))
    assert not found.first.any()
    assert not found.final.any()
