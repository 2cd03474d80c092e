"""Who is trained on, and who held out."""

import numpy as np
import pytest

from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.cascade.splits import split_folds, split_subjects


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
