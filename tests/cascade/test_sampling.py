import numpy as np
import pytest

from bids_cascade.cascade.patches import gather_patches
from bids_cascade.cascade.sampling import (
    LabelledVisit,
    SamplePool,
    Samples,
    candidates,
    first_stage_samples,
    second_stage_samples,
    split_folds,
    split_subjects,
)
from bids_cascade.config import CascadeConfig

CONFIG = CascadeConfig()


def small_visit() -> LabelledVisit:
    channels = np.zeros((2, 4, 4, 4), np.float32)
    channels[1, :2] = 1
    brain = np.ones((4, 4, 4), bool)
    brain[:, :, 3] = False
    lesion = np.zeros((4, 4, 4), bool)
    lesion[0, 0, :3] = True
    return LabelledVisit("a", channels, brain, lesion)


def test_candidates_are_bright_brain() -> None:
    visit = small_visit()
    found = candidates(visit.channels, visit.brain, CONFIG)
    assert found.sum() == 2 * 4 * 3
    edge = visit.channels.copy()
    edge[1, 0, 0, 0] = CONFIG.candidate_z
    assert not candidates(edge, visit.brain, CONFIG)[0, 0, 0]


def test_first_stage_takes_all_lesion_voxels_and_as_many_other_candidates() -> None:
    visit = small_visit()
    samples = first_stage_samples(visit, CONFIG, np.random.default_rng(0))
    assert samples.lesion.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]
    assert len(samples.other) == 3
    allowed = candidates(visit.channels, visit.brain, CONFIG) & ~visit.lesion
    assert allowed[tuple(samples.other.T)].all()
    again = first_stage_samples(visit, CONFIG, np.random.default_rng(0))
    assert samples.other.tolist() == again.other.tolist()


def test_second_stage_takes_the_first_ones_false_positives() -> None:
    visit, probability = small_visit(), np.zeros((4, 4, 4), np.float32)
    hard = [(1, 1, 0), (1, 1, 1), (1, 1, 2), (1, 2, 0), (0, 3, 1)]
    for voxel in hard:
        probability[voxel] = 0.9
    samples = second_stage_samples(visit, probability, CONFIG, np.random.default_rng(0))
    assert len(samples.other) == 3
    assert {tuple(row) for row in samples.other.tolist()} <= set(hard)


def test_second_stage_fills_up_with_the_next_hardest() -> None:
    visit, probability = small_visit(), np.zeros((4, 4, 4), np.float32)
    probability[1, 1, 0], probability[1, 2, 0], probability[0, 3, 1], probability[1, 3, 1] = 0.9, 0.4, 0.3, 0.2
    samples = second_stage_samples(visit, probability, CONFIG, np.random.default_rng(0))
    assert {tuple(row) for row in samples.other.tolist()} == {(1, 1, 0), (1, 2, 0), (0, 3, 1)}


def test_pool_reads_what_gather_gives_in_the_order_asked_for(visits) -> None:
    rng = np.random.default_rng(0)
    pool = SamplePool([first_stage_samples(visit, CONFIG, rng) for visit in visits])
    indices = rng.permutation(len(pool))[:50]
    patches, labels = pool.read(indices, 7)
    for index, patch, label in zip(indices, patches, labels, strict=True):
        visit, centre = pool.visits[pool.visit_of[index]], pool.centres[index]
        np.testing.assert_array_equal(patch, gather_patches(visit.channels, centre[None], 7)[0])
        assert label == visit.lesion[tuple(centre)]
    sizes = [len(labels) for _, labels in pool.batches(indices, 7, 16)]
    assert sizes == [16, 16, 16, 2]


def test_draw_passes_over_all_or_over_a_balanced_part() -> None:
    visit = small_visit()
    pool = SamplePool([Samples(visit, np.zeros((30, 3), np.int32), np.zeros((10, 3), np.int32))])
    rng = np.random.default_rng(0)
    assert sorted(pool.draw(None, rng)) == list(range(40))
    assert pool.is_lesion[pool.draw(12, rng)].sum() == 6
    few_others = pool.draw(30, rng)
    assert pool.is_lesion[few_others].sum() == 20
    assert len(set(few_others)) == 30


def test_visits_of_a_subject_stay_together() -> None:
    names = ["a", "a", "b", "c", "c", "d"]
    for seed in range(20):
        training, validation = split_subjects(names, 0.25, np.random.default_rng(seed))
        assert len(validation) == 1
        assert sorted(training + validation) == ["a", "b", "c", "d"]
    chosen = {split_subjects(names, 0.25, np.random.default_rng(seed))[1] for seed in range(20)}
    assert len(chosen) > 1


@pytest.mark.parametrize(("n", "fraction", "expected"), [(1, 0.25, 0), (2, 0.25, 1), (10, 0.25, 2), (4, 0.0, 0)])
def test_how_many_are_held_out(n: int, fraction: float, expected: int) -> None:
    _, validation = split_subjects([str(i) for i in range(n)], fraction, np.random.default_rng(0))
    assert len(validation) == expected


def test_errors() -> None:
    with pytest.raises(ValueError, match="no subject"):
        split_subjects([], 0.25, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"fraction is 1"):
        split_subjects(["a"], 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"a: expected channels"):
        LabelledVisit("a", np.zeros((2, 4, 4, 4), np.float32), np.ones((4, 4, 4), bool), np.ones((4, 4, 5), bool))


def test_folds_leave_each_subject_out_once() -> None:
    names = ["a", "b", "b", "c", "d", "e", "a"]
    folds = split_folds(names, 3, np.random.default_rng(0))
    assert sorted(name for fold in folds for name in fold) == list("abcde")
    assert sorted(map(len, folds)) == [1, 2, 2]
    assert all(list(fold) == sorted(fold) for fold in folds)
    assert folds == split_folds(names, 3, np.random.default_rng(0))
    assert len({tuple(split_folds(names, 3, np.random.default_rng(seed))) for seed in range(20)}) > 10
    assert {len(fold) for fold in split_folds(names, 5, np.random.default_rng(0))} == {1}


@pytest.mark.parametrize("n_folds", [1, 4])
def test_impossible_folds(n_folds: int) -> None:
    with pytest.raises(ValueError, match=f"{n_folds} folds of 3 subjects"):
        split_folds(["a", "b", "c"], n_folds, np.random.default_rng(0))
