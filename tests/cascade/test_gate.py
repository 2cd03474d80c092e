import numpy as np
import pytest

from bids_cascade.cascade.gate import open_gate
from bids_cascade.cascade.two_stage import Cascade, segment
from bids_cascade.config import CascadeConfig

from .conftest import TINY
from .test_inference import random_network

GATE = 0.2, 0.6


def test_the_core_of_a_ring_is_looked_at() -> None:
    first = np.zeros((9, 9, 9), np.float32)
    first[1:8, 1:8, 1:8] = 0.9
    first[2:7, 2:7, 2:7] = 0.31
    np.testing.assert_array_equal(open_gate(first, GATE), first > 0)


def test_what_is_nowhere_likely_is_not() -> None:
    first = np.zeros((9, 9, 9), np.float32)
    first[1:4, 1:4, 1:4] = 0.6  # not above
    first[6, 6, 6] = 0.61
    np.testing.assert_array_equal(np.argwhere(open_gate(first, GATE)), [[6, 6, 6]])


def test_corners_connect_and_gaps_do_not() -> None:
    first = np.zeros((9, 4, 4), np.float32)
    first[0, 0, 0] = 0.7
    first[1, 1, 1] = first[2, 2, 2] = 0.3
    first[3, 2, 2] = 0.2  # not above
    first[4, 2, 2] = first[0, 0, 3] = first[0, 3, 0] = 0.5
    np.testing.assert_array_equal(np.argwhere(open_gate(first, GATE)), [[0, 0, 0], [1, 1, 1], [2, 2, 2]])


@pytest.mark.parametrize("gate", [(0.6, 0.6), (0.7, 0.6)])
def test_without_a_lower_level_the_higher_one_alone_counts(gate) -> None:
    first = np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3)
    np.testing.assert_array_equal(open_gate(first, gate), first > 0.6)


def test_nothing_is_opened_by_nothing() -> None:
    for first in (np.zeros((3, 3, 3), np.float32), np.full((3, 3, 3), 0.5, np.float32)):
        assert not open_gate(first, GATE).any()


def test_a_cascade_says_something_of_a_core_that_stage_one_doubts() -> None:
    first = np.zeros((9, 9, 9), np.float32)
    first[2:7, 2:7, 2:7] = 0.9
    first[4, 4, 4] = 0.3
    first[0, 0, 0] = 0.5
    networks = random_network(TINY), random_network(TINY, 1)
    cascade = Cascade(CascadeConfig(hard_negative_probability=0.2, gate_probability=0.6), networks)

    def engine(network, channels, voxels):
        return first if network is networks[0] else voxels.astype(np.float32)

    found = segment(cascade, np.full((2, 9, 9, 9), 2, np.float32), np.ones((9, 9, 9), bool), engine)
    assert found.final[4, 4, 4] == 1
    assert found.final.sum() == 125
