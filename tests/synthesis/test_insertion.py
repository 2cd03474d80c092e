"""Lesions put into real scans."""

from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.synthesis.insertion import InsertionConfig, insert_lesions, single_lesions
from bids_cascade.synthesis.lesions import make_single_lesions


@pytest.fixture(scope="module")
def pool():
    cubes = [np.argwhere(np.ones((edge, edge, edge))) for edge in (2, 3, 5, 7)]
    return make_single_lesions(cubes, np.eye(4), "cubes")


@pytest.fixture
def scan():
    """Return a brain of white matter with a grey half and one lesion: channels, brain, lesion."""
    brain = sum((axis - 30) ** 2 for axis in np.ogrid[:60, :60, :60]) < 27**2
    channels = np.ones((2, 60, 60, 60), np.float32) * brain
    channels[:, :30] *= np.array([0.6, 1.5])[:, None, None, None]
    lesion = np.zeros(brain.shape, bool)
    lesion[40:44, 30:34, 30:34] = True
    channels[1][lesion] = 1.8
    return channels, brain, lesion


def test_new_lesions_are_bright_and_labelled_and_old_ones_stay(scan, pool) -> None:
    channels, brain, lesion = scan
    given = channels.copy(), lesion.copy()
    config = InsertionConfig(n=(40, 40))
    found, labels = insert_lesions(channels, brain, lesion, pool, 1.0, np.random.default_rng(0), config)
    assert np.array_equal(channels, given[0])
    assert np.array_equal(lesion, given[1])
    new = labels & ~lesion
    assert new.sum() > 50
    assert (labels & lesion).sum() == lesion.sum()
    assert not (labels & ~brain).any()
    gain, drop = found[1] - channels[1], channels[0] - found[0]
    assert np.median(gain[new]) > 0.2
    assert gain[new].min() > 0.08
    bright = (gain > 0.35) & brain
    assert (bright & labels).sum() > 0.9 * bright.sum()  # nothing is bright and unlabelled
    assert drop[new].min() >= 0
    assert not gain[lesion].any()
    assert not found[:, ~brain].any()
    # Their centres lie in white matter: none is deep in the grey half.
    assert not new[:24].any()


def test_equal_generators_give_equal_scans(scan, pool) -> None:
    first, again, other = (insert_lesions(*scan, pool, 1.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_thick_slices_blur_lesions_across_them(scan, pool) -> None:
    channels, brain, _ = scan
    channels[1, 40:44, 30:34, 30:34] = 1
    nothing, steps = np.zeros(brain.shape, bool), []
    config = InsertionConfig(volume_mm3=(200, 300), scale=(1.0, 1.0), flair_gain_sd=0, from_edge_mm=18)
    for slice_mm in (1.0, 7.0):
        rng = np.random.default_rng(3)
        flair = insert_lesions(channels, brain, nothing, pool, slice_mm, rng, config)[0][1] - channels[1]
        steps.append(np.abs(np.diff(flair, axis=2)).max())
    assert steps[1] < 0.6 * steps[0]


def test_where_there_is_no_white_matter_nothing_is_put(scan, pool) -> None:
    channels, brain, lesion = scan
    found, labels = insert_lesions(channels * 0.5, brain, lesion, pool, 1.0, np.random.default_rng(0))
    assert np.array_equal(found, channels * 0.5)
    assert np.array_equal(labels, lesion)
    none_fits = InsertionConfig(volume_mm3=(1e5, 1e6))
    _, labels = insert_lesions(channels, brain, lesion, pool, 1.0, np.random.default_rng(0), none_fits)
    assert np.array_equal(labels, lesion)


def test_collections_are_told_from_masks(pool) -> None:
    assert single_lesions([replace(pool, single=False), pool]) is pool
    assert single_lesions([replace(pool, single=False)]) is None
