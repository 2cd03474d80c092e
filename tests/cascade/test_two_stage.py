from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from bids_cascade.cascade import two_stage as module
from bids_cascade.cascade.gate import open_gate
from bids_cascade.cascade.growth import grow_cascade
from bids_cascade.cascade.inference import patchwise_probability
from bids_cascade.cascade.samples import LabelledVisit, candidates
from bids_cascade.cascade.two_stage import Cascade, interpolate_weights, segment, train_cascade, without_sequences
from bids_cascade.config import CascadeConfig, NetworkConfig, TrainingConfig

from .conftest import SHORT, TINY, make_visit
from .test_inference import random_network

CONFIG = CascadeConfig(gate_probability=0.5)
TRAINING = TrainingConfig(max_epochs=8, crops_per_epoch=60, crop_size=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def trained(visits):
    return train_cascade(visits, CONFIG, (TINY, TINY), TRAINING)


def test_it_finds_lesions_of_a_subject_it_never_saw_and_stage_two_throws_out_what_is_none(trained) -> None:
    visit = make_visit("new", 99)
    found = segment(trained.cascade, visit.channels, visit.brain)
    final = found.final >= 0.5
    dice = 2 * (final & visit.lesion).sum() / (final.sum() + visit.lesion.sum())
    assert dice > 0.7
    let_through = open_gate(found.first, CONFIG.gate) & ~visit.lesion
    assert let_through.any()
    assert (final & ~visit.lesion).sum() < let_through.sum()


def test_hand_over(trained) -> None:
    visit = make_visit("new", 98)
    found = segment(trained.cascade, visit.channels, visit.brain)
    looked_at = candidates(visit.channels, visit.brain, CONFIG)
    assert looked_at.any()
    assert not found.first[~looked_at].any()
    gate = open_gate(found.first, CONFIG.gate)
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


def test_equal_seeds_give_equal_cascades(visits) -> None:
    one, other = (train_cascade(visits, CONFIG, (TINY, TINY), SHORT) for _ in range(2))
    for a, b in zip(one.cascade.networks, other.cascade.networks, strict=True):
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y)


def first_weights(cascade: Cascade) -> list[torch.Tensor]:
    return [network.branches[0][0].convolution.weight for network in cascade.networks]


def test_the_second_stage_begins_with_the_weights_of_the_first(visits) -> None:
    nearly_still = replace(SHORT, max_epochs=1, learning_rate=1e-9)
    first, second = first_weights(train_cascade(visits, CONFIG, (TINY, TINY), nearly_still).cascade)
    assert not torch.equal(first, second)
    assert torch.allclose(first, second, atol=1e-6)


def test_each_stage_begins_with_the_weights_of_a_cascade_to_start_from(visits, trained) -> None:
    nearly_still = replace(SHORT, max_epochs=1, learning_rate=1e-9)
    start = replace(trained.cascade, networks=trained.cascade.networks[::-1])
    done = train_cascade(visits, CONFIG, (TINY, TINY), nearly_still, start=start)
    for one, other in zip(first_weights(done.cascade), first_weights(start), strict=True):
        assert not torch.equal(one, other)
        assert torch.allclose(one, other, atol=1e-6)


def test_weights_between_those_of_two_cascades(trained) -> None:
    start = replace(trained.cascade, networks=(random_network(TINY, 1), random_network(TINY, 2)))
    found = interpolate_weights(start, trained.cascade, 0.25)
    assert found.config == trained.cascade.config
    for before, after, network in zip(start.networks, trained.cascade.networks, found.networks, strict=True):
        for name, value in network.state_dict().items():
            old, new = before.state_dict()[name].double(), after.state_dict()[name].double()
            expected = new if name.endswith("num_batches_tracked") else 0.25 * old + 0.75 * new
            torch.testing.assert_close(value.double(), expected, atol=1e-6, rtol=1e-5)
    unchanged = interpolate_weights(start, trained.cascade, 0.0)
    for one, other in zip(first_weights(unchanged), first_weights(trained.cascade), strict=True):
        assert torch.equal(one, other)


def test_a_cascade_to_start_from_must_fit(visits, trained) -> None:
    flair = replace(trained.cascade, config=replace(CONFIG, sequences=("FLAIR",)))
    with pytest.raises(ValueError, match=r"the model to start from takes FLAIR; expected T1w, FLAIR"):
        train_cascade(visits, CONFIG, (TINY, TINY), SHORT, start=flair)
    with pytest.raises(ValueError, match=r"the model to start from has other networks; expected .*features=\(5,"):
        train_cascade(visits, CONFIG, (TINY, replace(TINY, features=(5, 5))), SHORT, start=trained.cascade)


def test_the_second_stage_alone_is_trained(visits, trained) -> None:
    larger = replace(TINY, features=(7,))
    start = grow_cascade(trained.cascade, (TINY, larger), seed=0)
    done = train_cascade(visits, CONFIG, (TINY, larger), replace(SHORT, max_epochs=2, stages=(2,)), start=start)
    assert {stage: len(epochs) for stage, epochs in done.history.items()} == {2: 2}
    (kept, changed), (first, second) = done.cascade.networks, start.networks
    assert all(torch.equal(one, other) for one, other in zip(kept.parameters(), first.parameters(), strict=True))
    assert not torch.equal(changed.branches[0][0].convolution.weight, second.branches[0][0].convolution.weight)


@pytest.mark.parametrize(
    ("networks", "stages"), [((TINY, TINY), (2,)), ((TINY, replace(TINY, features=(5, 5))), (1, 2))]
)
def test_what_needs_a_cascade_to_start_from(visits, networks, stages) -> None:
    with pytest.raises(ValueError, match="a cascade to start from is needed"):
        train_cascade(visits, CONFIG, networks, replace(SHORT, stages=stages))


def test_the_second_stage_may_have_epochs_of_its_own(visits) -> None:
    trained = train_cascade(visits, CONFIG, (TINY, TINY), replace(SHORT, max_epochs=1, second_stage_epochs=2))
    assert [len(epochs) for epochs in trained.history.values()] == [1, 2]


@pytest.mark.parametrize("stage", [1, 2])
def test_interrupted_in_a_stage(visits, stage: int) -> None:
    kept = {}

    def stop(at, progress) -> None:
        kept[at] = progress
        if at == stage:
            raise KeyboardInterrupt

    whole = train_cascade(visits, CONFIG, (TINY, TINY), SHORT)
    with pytest.raises(KeyboardInterrupt):
        train_cascade(visits, CONFIG, (TINY, TINY), SHORT, on_epoch=stop)
    resumed = train_cascade(visits, CONFIG, (TINY, TINY), SHORT, progress=kept)
    for one, other in zip(whole.cascade.networks, resumed.cascade.networks, strict=True):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_one_subject_is_enough() -> None:
    done = train_cascade([make_visit("a", 0)], CONFIG, (TINY, TINY), SHORT)
    assert done.validation_subjects == ()
    assert len(done.history[1]) == SHORT.max_epochs


class Stages:
    """What each stage would be trained on and validated on, instead of training it."""

    def __init__(self) -> None:
        self.seen, self.configs = [], []

    def __call__(self, network_config, training, validation, config, **_):
        self.configs.append(config)
        self.seen.append(
            [[(one.visit.subject, int(one.negative.sum())) for one in some] for some in (training, validation)]
        )
        return random_network(network_config, len(self.seen)), module.StageProgress()


@pytest.fixture
def stages(monkeypatch) -> Stages:
    recorder = Stages()
    monkeypatch.setattr(module, "train_stage", recorder)
    return recorder


def without_lesions(visit: LabelledVisit) -> LabelledVisit:
    return replace(visit, lesion=np.zeros_like(visit.lesion))


def names(samples) -> list[str]:
    return [name for name, _ in samples]


@pytest.mark.parametrize("seed", range(4))
def test_synthetic_visits_are_never_validated_on_beside_real_ones(visits, stages, seed: int) -> None:
    synthetic = [make_visit(f"head{n}", 10 + n, synthetic=True) for n in range(9)]
    config = replace(SHORT, seed=seed, validation_fraction=0.5)
    done = train_cascade([*synthetic, *visits], CONFIG, (TINY, TINY), config)
    for training, validation in stages.seen:
        assert len(validation) == 2
        assert set(names(validation)) == set(done.validation_subjects) <= set("abcd")
        assert sorted(names(training)) == sorted([*done.training_subjects, *(f"head{n}" for n in range(9))])
    assert set(done.training_subjects) | set(done.validation_subjects) == set("abcd")
    alone = train_cascade(visits, CONFIG, (TINY, TINY), config)
    assert alone.validation_subjects == done.validation_subjects, "synthetic visits change nothing about the split"


def test_all_real_visits_may_be_validated_on_beside_synthetic_ones(visits, stages) -> None:
    synthetic = [make_visit(f"head{n}", 10 + n, synthetic=True) for n in range(2)]
    config = replace(SHORT, validation_fraction=1)
    done = train_cascade([*visits, *synthetic], CONFIG, (TINY, TINY), config)
    assert (done.training_subjects, done.validation_subjects) == ((), ("a", "b", "c", "d"))
    for training, validation in stages.seen:
        assert (names(training), names(validation)) == (["head0", "head1"], list("abcd"))
    for some in (visits, synthetic):
        with pytest.raises(ValueError, match="the validation fraction is 1; expected 0 <= fraction < 1"):
            train_cascade(some, CONFIG, (TINY, TINY), config)


@pytest.mark.parametrize(("largest", "expected"), [(1.0, [1.0, 4.0]), (6.0, [6.0, 6.0])])
def test_the_second_stage_sees_lesions_nearly_as_often_as_they_are(visits, stages, largest, expected) -> None:
    train_cascade(visits, CONFIG, (TINY, TINY), replace(SHORT, seed=7, largest_negative_weight=largest))
    assert [config.largest_negative_weight for config in stages.configs] == expected
    assert [config.seed for config in stages.configs] == [15, 16]


def test_synthetic_visits_alone_are_split(stages) -> None:
    done = train_cascade([make_visit(f"head{n}", n, synthetic=True) for n in range(4)], CONFIG, (TINY, TINY), SHORT)
    assert (len(done.training_subjects), len(done.validation_subjects)) == (3, 1)
    assert [len(some) for some in stages.seen[0]] == [3, 1]


def test_visits_without_lesions_are_learnt_from_only_if_synthetic(visits, stages) -> None:
    healthy = [without_lesions(make_visit("real", 20)), without_lesions(make_visit("head", 21, synthetic=True))]
    train_cascade([*visits, *healthy], CONFIG, (TINY, TINY), SHORT)
    assert len(stages.seen) == 2
    for training, validation in stages.seen:
        assert "real" not in names([*training, *validation])
        assert "head" in names(training)


def test_the_second_stage_learns_from_what_the_first_takes_for_lesion(visits, stages) -> None:
    train_cascade(visits, CONFIG, (TINY, TINY), replace(SHORT, validation_fraction=0))
    first = random_network(TINY, 1)
    for visit, (name, n_negative) in zip(visits, stages.seen[1][0], strict=True):
        looked_at = candidates(visit.channels, visit.brain, CONFIG) & ~visit.lesion
        probability = patchwise_probability(first, visit.channels, looked_at)
        hard = int((probability > CONFIG.hard_negative_probability).sum())
        fewest = min(int(visit.lesion.sum()), int(looked_at.sum()))
        assert (name, n_negative) == (visit.subject, max(hard, fewest))
    assert [n for _, n in stages.seen[0][0]] == [
        int((candidates(visit.channels, visit.brain, CONFIG) & ~visit.lesion).sum()) for visit in visits
    ]


def test_a_visit_without_a_sequence_is_looked_at_once_and_one_with_it_both_ways(visits, stages, monkeypatch) -> None:
    looks = []
    monkeypatch.setattr(
        module, "dense_probability", lambda network, channels, *_, **__: looks.append(channels) or channels[1] * 0
    )
    lone = replace(visits[0], channels=without_sequences(visits[0].channels, ("T1w",), CONFIG), absent=(0,))
    config = CascadeConfig(optional_sequences=("T1w",))
    train_cascade([lone, visits[1]], config, (TINY, TINY), replace(SHORT, validation_fraction=0))
    assert [bool(channels[0].any()) for channels in looks] == [False, True, False]


def test_channels_of_half_precision_on_disk(visits, tmp_path) -> None:
    for visit in visits[:2]:
        np.save(tmp_path / f"{visit.subject}.npy", visit.channels.astype(np.float16))
    mapped = [
        replace(visit, channels=np.load(tmp_path / f"{visit.subject}.npy", mmap_mode="r"), synthetic=True)
        for visit in visits[:2]
    ]
    done = train_cascade(mapped, CONFIG, (TINY, TINY), replace(SHORT, max_epochs=1))
    assert len(done.history[2]) == 1


def test_errors(trained, visits) -> None:
    visit = visits[0]
    with pytest.raises(ValueError, match="none of the 1 labelled visits has a lesion voxel"):
        train_cascade([without_lesions(visit)], CONFIG, (TINY, TINY), SHORT)
    with pytest.raises(ValueError, match="none of the 0 labelled visits has a lesion voxel"):
        train_cascade([], CONFIG, (TINY, TINY), SHORT)
    with pytest.raises(ValueError, match=r"expected 3 channels \(T1w, FLAIR, T2w\) in every visit"):
        train_cascade([visit], CascadeConfig(sequences=("T1w", "FLAIR", "T2w")), (TINY, TINY), SHORT)
    with pytest.raises(ValueError, match=r"expected 2 channels \(T1w, FLAIR\) in every visit"):
        train_cascade([visit], CONFIG, (NetworkConfig(3), NetworkConfig(3)), SHORT)
    with pytest.raises(ValueError, match=r"takes 2 channels \(T1w, FLAIR\), found 1"):
        segment(trained.cascade, visit.channels[:1], visit.brain)


def test_a_scan_without_candidates_has_no_lesion() -> None:
    cascade = Cascade(CONFIG, (random_network(TINY), random_network(TINY, 1)))
    found = segment(cascade, np.zeros((2, 8, 8, 8), np.float32), np.ones((8, 8, 8), bool))
    assert not found.first.any()
    assert not found.final.any()


def test_without_sequences_their_channels_are_empty() -> None:
    config = CascadeConfig(optional_sequences=("T1w",))
    channels = np.ones((2, 3, 3, 3), np.float16)
    without = without_sequences(channels, ("T1w",), config)
    assert not without[0].any()
    assert (without[1] == 1).all()
    assert (channels == 1).all()
    assert without_sequences(channels, (), config) is channels
