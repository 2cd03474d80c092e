"""Point spread, slices, bias, ghosts, noise."""

import numpy as np
import pytest

from bids_cascade.synthesis.config import AcquisitionConfig
from bids_cascade.synthesis.scanner import Protocol, Scanner, draw_protocols

CLEAN = Protocol((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def clean(voxel_mm, extent_mm=None, **more):
    return Protocol(voxel_mm, extent_mm or voxel_mm, (0.0, 0.0, 0.0), **more)


def test_one_to_one() -> None:
    rng = np.random.default_rng(0)
    head = rng.random((8, 9, 10)).astype(np.float32)
    scanner = Scanner(CLEAN, head.shape)
    assert scanner.shape == head.shape
    assert np.allclose(scanner.acquire(head, rng), head, atol=1e-5)
    assert np.array_equal(scanner.affine(np.eye(4)), np.eye(4))
    assert np.allclose(scanner.back(head), head)


def test_slices_average_and_lie_in_the_middle() -> None:
    head = np.zeros((4, 4, 12), np.float32)
    head[:] = np.arange(12)
    scanner = Scanner(clean((1.0, 1.0, 3.0)), head.shape)
    assert scanner.shape == (4, 4, 4)
    assert np.allclose(scanner.blur(head)[0, 0], [1, 4, 7, 10], atol=1e-4)
    assert scanner.affine(np.eye(4))[2].tolist() == [0, 0, 3, 1]
    # Back between the slices' centres, linear in between and held beyond.
    assert np.allclose(scanner.back(scanner.blur(head))[0, 0], [1, 1, *range(2, 10), 10, 10], atol=1e-4)


def test_gaps_are_not_seen() -> None:
    head = np.zeros((4, 4, 12), np.float32)
    head[..., [0, 2, 3, 5, 6, 8, 9, 11]] = 1
    scan = Scanner(clean((1.0, 1.0, 3.0), (1.0, 1.0, 1.0)), head.shape).blur(head)
    assert np.allclose(scan, 0, atol=1e-6)


def test_even_signal_stays_even_and_edges_overshoot() -> None:
    protocol = Protocol((1.2, 0.9, 4.0), (1.2, 0.9, 3.0), (0.6, 0.6, 0.4), sharpening=0.3)
    scanner = Scanner(protocol, (20, 20, 20))
    rng = np.random.default_rng(0)
    assert np.allclose(scanner.acquire(np.ones((20, 20, 20), np.float32), rng), 1, atol=1e-5)
    edge = np.ones((20, 20, 20), np.float32)
    edge[10:] = 2
    assert scanner.acquire(edge, rng).max() > 2.02


def test_bias_is_as_smooth_within_slices_as_across() -> None:
    """Over 10 mm it changes as much along every axis, whatever the voxels."""
    protocol = clean((0.5, 0.5, 5.0), bias_sd=0.2, bias_spacing_mm=30.0)
    scanner = Scanner(protocol, (120, 120, 120))
    steps = []
    for seed in range(20):
        field = np.log(scanner.acquire(np.ones((120, 120, 120), np.float32), np.random.default_rng(seed)))
        steps.append([np.std(field[20:] - field[:-20]), np.std(field[:, :, 2:] - field[:, :, :-2])])
    within, across = np.mean(steps, axis=0)
    assert within == pytest.approx(across, rel=0.15)


def test_noise_is_rician_of_the_spread_asked_for() -> None:
    protocol = Protocol((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), noise_sd=0.05)
    head = np.zeros((40, 40, 40), np.float32)
    head[:20] = 1
    scan = Scanner(protocol, head.shape).acquire(head, np.random.default_rng(0))
    assert np.isclose(scan[:20].std(), 0.05, rtol=0.03)
    assert np.isclose(scan[20:].mean(), 0.05 * np.sqrt(np.pi / 2), rtol=0.03)


def test_ghost_is_a_shifted_copy() -> None:
    head = np.zeros((20, 10, 10), np.float32)
    head[2:4] = 1
    protocol = clean((1.0, 1.0, 1.0), ghosts=((0, 0.25, 0.1),))
    scan = Scanner(protocol, head.shape).acquire(head, np.random.default_rng(0))
    assert np.allclose(scan[7:9], 0.1, atol=1e-5)
    assert np.allclose(scan[2:4], 1, atol=1e-5)


def test_bias_has_the_spread_asked_for() -> None:
    protocol = clean((1.0, 1.0, 1.0), bias_sd=0.2, bias_spacing_mm=20.0)
    scan = Scanner(protocol, (40, 40, 40)).acquire(np.ones((40, 40, 40), np.float32), np.random.default_rng(0))
    assert np.isclose(np.log(scan).std(), 0.2, rtol=0.01)


@pytest.mark.parametrize(
    ("kind", "sliced"), [(0, (False, False)), (1, (False, True)), (2, (True, True)), (3, (True, False))]
)
def test_protocols_are_within_their_ranges(kind, sliced) -> None:
    config = AcquisitionConfig(protocol_fractions=tuple(float(kind == i) for i in range(4)))
    for seed in range(20):
        drawn = draw_protocols(config, seed % 2 == 0, np.random.default_rng(seed))
        noise = (config.t1w_noise_sd, config.flair_noise_sd)
        for protocol, thick, (low, high) in zip(drawn, sliced, noise, strict=True):
            assert (protocol.voxel_mm[2] >= config.slice_mm[0]) == thick
            assert low <= protocol.noise_sd <= high
            low, high = config.residual_bias_sd if seed % 2 == 0 else config.bias_sd
            assert low <= protocol.bias_sd <= high
