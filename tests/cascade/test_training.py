import copy

import numpy as np
import pytest
import torch

from bids_cascade.cascade.sampling import SamplePool, Samples, first_stage_samples
from bids_cascade.cascade.training import StageProgress, evaluate_samples, train_stage
from bids_cascade.config import CascadeConfig, TrainingConfig

from .conftest import TINY

SHORT = TrainingConfig(max_epochs=4, batch_size=32)


@pytest.fixture
def pools(visits):
    rng = np.random.default_rng(0)
    samples = [first_stage_samples(visit, CascadeConfig(), rng) for visit in visits]
    return SamplePool(samples[:3]), SamplePool(samples[3:])


def weights(network):
    return torch.cat([tensor.flatten().double() for tensor in network.state_dict().values()])


def test_it_learns_and_reports(pools) -> None:
    seen = []
    network, progress = train_stage(
        TINY, *pools, TrainingConfig(max_epochs=12, batch_size=32), on_epoch=lambda p: seen.append(len(p.history))
    )
    first, last = progress.history[0], progress.history[-1]
    assert last.loss < 0.6 * first.loss
    assert progress.history[progress.best_epoch - 1].validation_dice > 0.85
    assert seen == list(range(1, len(progress.history) + 1))
    assert first.n_samples == len(pools[0])
    loss, dice = evaluate_samples(network, pools[1], SHORT)
    assert loss == pytest.approx(progress.history[progress.best_epoch - 1].validation_loss)
    assert dice == pytest.approx(progress.history[progress.best_epoch - 1].validation_dice)


def test_equal_seeds_give_equal_bits_and_others_do_not(pools) -> None:
    first, again = (train_stage(TINY, *pools, SHORT)[0] for _ in range(2))
    other, _ = train_stage(TINY, *pools, TrainingConfig(max_epochs=4, batch_size=32, seed=1))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_global_random_state_is_left_alone(pools) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    train_stage(TINY, *pools, SHORT)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_interrupted_training_ends_as_if_it_had_not_been(pools) -> None:
    whole, _ = train_stage(TINY, *pools, SHORT)
    kept = []

    def stop_after_two(progress: StageProgress) -> None:
        copied = copy.deepcopy(progress)
        kept.append(StageProgress.from_parts(copied.to_tensors(), copied.to_json()))
        if len(kept) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stage(TINY, *pools, SHORT, on_epoch=stop_after_two)
    resumed, progress = train_stage(TINY, *pools, SHORT, progress=kept[-1])
    assert [one.epoch for one in progress.history] == [1, 2, 3, 4]
    assert torch.equal(weights(resumed), weights(whole))


def test_it_stops_early_and_keeps_the_best(pools) -> None:
    noise = SamplePool([Samples(pools[1].visits[0], pools[1].centres[:40], pools[1].centres[:40])])
    network, progress = train_stage(TINY, pools[0], noise, TrainingConfig(max_epochs=50, patience=3, batch_size=32))
    losses = [one.validation_loss for one in progress.history]
    assert len(losses) == progress.best_epoch + 3
    assert min(losses) == losses[progress.best_epoch - 1]
    loss, _ = evaluate_samples(network, noise, SHORT)
    assert loss == pytest.approx(min(losses))
    assert progress.finished


def test_a_finished_stage_is_not_trained_further(pools) -> None:
    network, progress = train_stage(TINY, *pools, SHORT)
    again, same = train_stage(TINY, *pools, TrainingConfig(max_epochs=9, batch_size=32), progress=progress)
    assert len(same.history) == 4
    assert torch.equal(weights(network), weights(again))


def test_without_validation_the_last_epoch_is_kept(pools) -> None:
    _, progress = train_stage(TINY, pools[0], None, SHORT)
    assert len(progress.history) == 4
    assert progress.history[-1].validation_loss is None
    assert all(torch.equal(progress.best[name], progress.latest[name]) for name in progress.latest)


def test_fewer_samples_an_epoch(pools) -> None:
    config = TrainingConfig(max_epochs=2, max_samples_per_epoch=64, batch_size=32)
    _, progress = train_stage(TINY, *pools, config)
    assert [one.n_samples for one in progress.history] == [64, 64]


def test_one_kind_of_sample_is_refused(pools) -> None:
    empty = np.empty((0, 3), np.int32)
    only_lesion = SamplePool([Samples(pools[0].visits[0], pools[0].centres[:5], empty)])
    with pytest.raises(ValueError, match="samples to train on need lesion voxels and others, found 5"):
        train_stage(TINY, only_lesion, None, SHORT)
    with pytest.raises(ValueError, match="samples to validate on"):
        train_stage(TINY, pools[0], only_lesion, SHORT)
