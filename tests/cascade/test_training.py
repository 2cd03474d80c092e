import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bids_cascade.cascade.crops import CropPool
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.samples import LabelledVisit, Samples, first_stage_samples
from bids_cascade.cascade.training import (
    StageProgress,
    crop_geometry,
    evaluate_samples,
    learning_rate,
    place,
    train_stage,
)
from bids_cascade.config import CascadeConfig, TrainingConfig

from .conftest import SHORT, TINY


@pytest.fixture(scope="module")
def samples(visits) -> tuple[list[Samples], list[Samples]]:
    """Return what to train on and what to validate on."""
    every = [first_stage_samples(visit, CascadeConfig()) for visit in visits]
    return every[:3], every[3:]


@pytest.fixture(scope="module")
def trained(samples):
    return train_stage(TINY, *samples, SHORT)


def weights(network):
    return torch.cat([tensor.flatten().double() for tensor in network.state_dict().values()])


def evaluate(network, samples, config=SHORT) -> tuple[float, float]:
    return evaluate_samples(network, CropPool(samples, crop_geometry(network, config), config), config)


def test_it_learns_and_reports(samples) -> None:
    seen = []
    config = TrainingConfig(
        max_epochs=8, crops_per_epoch=60, batch_size=6, crop_size=8, learning_rate=1e-2, component_power=0
    )
    network, progress = train_stage(TINY, *samples, config, on_epoch=lambda p: seen.append(len(p.history)))
    first, last = progress.history[0], progress.history[-1]
    assert last.loss < 0.5 * first.loss
    assert last.validation_dice > 0.85
    assert seen == list(range(1, 9))
    assert not network.training
    assert evaluate(network, samples[1], config) == pytest.approx((last.validation_loss, last.validation_dice))


def test_equal_seeds_give_equal_bits_and_others_do_not(samples, trained) -> None:
    again, progress = train_stage(TINY, *samples, SHORT)
    other, _ = train_stage(TINY, *samples, replace(SHORT, seed=1))
    assert torch.equal(weights(trained[0]), weights(again))
    assert progress.history == trained[1].history
    assert not torch.equal(weights(again), weights(other))
    assert len({one.n_samples for one in progress.history}) == 3, "each epoch draws crops of its own"


def test_global_random_state_is_left_alone(samples) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    train_stage(TINY, *samples, replace(SHORT, max_epochs=1))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interrupted_training_ends_as_if_it_had_not_been(samples, trained, stop_after: int) -> None:
    kept = []

    def stop(progress: StageProgress) -> None:
        copied = copy.deepcopy(progress)
        kept.append(StageProgress.from_parts(copied.to_tensors(), copied.to_json()))
        if len(kept) == stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(TINY, *samples, SHORT, on_epoch=stop)
    resumed, progress = train_stage(TINY, *samples, SHORT, progress=kept[-1])
    assert progress.history == trained[1].history
    assert torch.equal(weights(resumed), weights(trained[0]))
    for name, tensor in trained[1].to_tensors().items():
        assert torch.equal(progress.to_tensors()[name], tensor), name


def test_the_last_epoch_is_kept_even_where_an_earlier_one_was_better(samples) -> None:
    # Labels of noise: the more is learnt, the worse they are met.
    visit = samples[1][0].visit
    rng = np.random.default_rng(0)
    noise = Samples.of(replace(visit, lesion=rng.random(visit.brain.shape) > 0.7), visit.brain)
    config = TrainingConfig(max_epochs=6, crops_per_epoch=24, batch_size=6, crop_size=8, learning_rate=1e-2)
    network, progress = train_stage(TINY, samples[0], [noise], config)
    losses = [one.validation_loss for one in progress.history]
    assert np.argmin(losses) + 1 < 6
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, progress.weights[name])
    assert evaluate(network, [noise], config)[0] == pytest.approx(losses[-1])
    assert progress.finished


def test_a_finished_stage_is_not_trained_further(samples, trained) -> None:
    network, progress = trained
    again, same = train_stage(TINY, [], [], replace(SHORT, max_epochs=9), progress=copy.deepcopy(progress))
    assert len(same.history) == SHORT.max_epochs
    assert torch.equal(weights(network), weights(again))


def test_nothing_need_be_held_out(samples) -> None:
    _, progress = train_stage(TINY, samples[0], [], SHORT)
    assert len(progress.history) == SHORT.max_epochs
    assert progress.history[-1].validation_loss is None


def test_a_checkpoint_needs_its_parts() -> None:
    with pytest.raises(ValueError, match="a checkpoint needs a list `history` and a boolean `finished`"):
        StageProgress.from_parts({}, {"history": [], "finished": 1})


def test_the_learning_rate_by_hand() -> None:
    config = TrainingConfig(learning_rate=1.0)
    rates = [learning_rate(step, 20, config) for step in range(20)]
    assert rates[:3] == pytest.approx([0.5, 1, 1])
    assert rates[11] == pytest.approx(0.5)  # nine of the eighteen steps that fall
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.01
    assert learning_rate(0, 1, config) == 1


@pytest.mark.parametrize(("crops", "batch_size", "n_steps"), [(300, 6, 50), (301, 6, 51), (5, 6, 1)])
def test_steps_of_an_epoch(crops: int, batch_size: int, n_steps: int) -> None:
    assert TrainingConfig(crops_per_epoch=crops, batch_size=batch_size).n_steps == n_steps


def test_the_loss_and_dice_by_hand(visits) -> None:
    """A network that says lesion with probability 0.8 wherever: losses -ln .8 and -ln .2, each kind's mean weighs 1."""
    network = build_network(TINY, 0)
    for parameter in network.parameters():
        parameter.data.zero_()
    network.dense[-1].bias.data = torch.tensor([0.0, np.log(4)], dtype=torch.float32)
    # One crop holds the whole visit, so that nothing is left to chance.
    config = TrainingConfig(crop_size=24, crops_per_epoch=4, batch_size=1)
    visit = visits[0]
    lesion = np.zeros_like(visit.lesion)
    lesion[8:11, 8, 8] = True
    other = np.zeros_like(lesion)
    other[8:15, 9, 9] = True
    samples = Samples.of(replace(visit, lesion=lesion), other)
    pool = CropPool([samples], crop_geometry(network, config), config)
    (vc,) = pool.visits
    vc.chances = np.where(np.indices(vc.chances.shape).sum(axis=0) == 6, 1.0, 0.0)  # the crop that starts at voxel 0
    vc._cumulative = vc.chances.cumsum()
    vc.block_chances[:] = 1
    loss, dice = evaluate_samples(network, pool, config)
    assert loss == pytest.approx(-np.log(0.8) - np.log(0.2), rel=1e-5)
    assert dice == pytest.approx(2 * 1 / (1 + 1 + 1), rel=1e-5)


def test_half_precision_is_near(samples, trained) -> None:
    half, _ = train_stage(TINY, *samples, replace(SHORT, half_precision=True))
    difference = (weights(half) - weights(trained[0])).abs().max().item()
    assert 0 < difference < 0.1
    assert all(tensor.dtype != torch.bfloat16 for tensor in half.state_dict().values())


def test_on_a_cpu_channels_lie_side_by_side_and_the_result_does_not() -> None:
    network = place(build_network(TINY, 0), "cpu")
    weight = network.branches[0][0].convolution.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_network_comes_back_in_the_usual_order(trained) -> None:
    assert all(parameter.is_contiguous() for parameter in trained[0].parameters())


def test_one_kind_of_sample_is_refused(samples, visits) -> None:
    visit = visits[0]
    only_lesion = [Samples.of(visit, np.zeros_like(visit.brain))]
    healthy = LabelledVisit("h", visit.channels, visit.brain, np.zeros_like(visit.lesion))
    n = int(visit.lesion.sum())
    with pytest.raises(ValueError, match=f"samples to train on need lesion voxels and negatives, found {n} and 0"):
        train_stage(TINY, only_lesion, [], SHORT)
    with pytest.raises(ValueError, match="samples to validate on need lesion voxels and negatives, found 0 and"):
        train_stage(TINY, samples[0], [first_stage_samples(healthy, CascadeConfig())], SHORT)
    with pytest.raises(ValueError, match="samples to train on need lesion voxels and negatives, found 0 and 0"):
        train_stage(TINY, [], [], SHORT)


def test_a_crop_size_that_does_not_fit_is_refused(samples) -> None:
    with pytest.raises(ValueError, match="the crop size is 7; expected a multiple of 2"):
        train_stage(TINY, *samples, replace(SHORT, crop_size=7))
