from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.anatomy.histograms import structure_likelihoods
from bids_cascade.anatomy.structures import Structure

WHITE, CORTEX, VENTRICLE, SULCI = (
    Structure.WHITE_MATTER,
    Structure.CORTEX,
    Structure.LATERAL_VENTRICLES,
    Structure.SULCAL_FLUID,
)


def sharp(structure: np.ndarray, sure: float) -> np.ndarray:
    """Return priors (S, N) that are right with this probability, and else say nothing."""
    priors = np.full((len(Structure), structure.size), (1 - sure) / (len(Structure) - 1), np.float32)
    priors[structure, np.arange(structure.size)] = sure
    return priors


def test_each_structure_is_known_by_what_it_looks_like() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([WHITE, CORTEX, VENTRICLE], 4000)
    levels = {WHITE: (1.0, 1.0), CORTEX: (0.7, 1.25), VENTRICLE: (0.1, 0.0)}
    channels = np.array([levels[one] for one in truth]).T + rng.normal(0, 0.06, (2, truth.size))
    # The atlas is off for a third of the voxels of each.
    told = truth.copy()
    told[::3] = np.roll(truth, 4000)[::3]
    found = structure_likelihoods(channels, sharp(told, 0.5), np.ones(truth.size, bool)).argmax(axis=0)
    same = (found == truth) | ((truth == VENTRICLE) & (found <= SULCI))
    assert same.mean() > 0.98


def test_no_contrast_of_grey_and_white_is_described_as_such() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat([WHITE, CORTEX], 4000)
    channels = rng.normal(1, 0.05, (1, truth.size))
    white, cortex = structure_likelihoods(channels, sharp(truth, 0.9), np.ones(truth.size, bool))[[WHITE, CORTEX]]
    usual = np.abs(channels[0] - 1) < 0.05
    np.testing.assert_allclose(white[usual], cortex[usual], rtol=0.5)


def test_all_fluid_looks_the_same() -> None:
    truth = np.repeat([VENTRICLE, SULCI, WHITE], 100)
    channels = np.repeat([0.1, 0.1, 1.0], 100)[None]
    found = structure_likelihoods(channels, sharp(truth, 0.9), np.ones(truth.size, bool))
    assert (found[VENTRICLE] == found[SULCI]).all()
    assert (found[VENTRICLE, :200] > 100 * found[WHITE, :200]).all()


def test_fluid_that_the_atlas_takes_for_tissue_is_fluid() -> None:
    # As around a third ventricle wider than the atlas's: most of what the atlas expects to be deep grey is fluid, and
    # most fluid is of another intensity.
    rng = np.random.default_rng(0)
    n = {"sulci": 20_000, "third": 2_000, "grey": 1_000}
    levels = np.repeat([[0.3, 0.3], [0.1, 0.0], [0.8, 1.1]], list(n.values()), axis=0).T
    told = np.repeat([SULCI, Structure.DEEP_GREY, Structure.DEEP_GREY], list(n.values()))
    channels = levels + rng.normal(0, 0.02, levels.shape)
    found = structure_likelihoods(channels, sharp(told, 0.9), np.ones(told.size, bool))
    third = slice(n["sulci"], n["sulci"] + n["third"])
    assert (found[SULCI, third] > found[Structure.DEEP_GREY, third]).all()


def test_there_must_be_normal_tissue() -> None:
    with pytest.raises(ValueError, match="no voxel of normal tissue"):
        structure_likelihoods(np.ones((1, 5)), np.ones((9, 5)), np.zeros(5, bool))
