"""A visit scanned again: moved, as noisy as it should be, and segmented."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.change.matching import robust_sd
from bids_cascade.change.noise import PairNoise, smooth_slightly
from bids_cascade.change.rescan import Residue, draw_motion, scan_again, seen_sd, segment_again
from bids_cascade.imaging.grid import Grid, grid_of, resample
from bids_cascade.imaging.images import data_of, mask_of
from bids_cascade.lesions.rule import lesion_mask
from bids_cascade.models.store import load_ensemble


@pytest.mark.parametrize("sizes_mm", [(1.0, 1.0, 1.0), (0.8, 0.8, 4.0)])
def test_what_is_seen_of_noise_is_what_a_whole_volume_of_it_shows(sizes_mm):
    rng = np.random.default_rng(0)
    shape = tuple(int(90 / size) for size in sizes_mm)
    noise = nib.Nifti1Image(rng.standard_normal(shape, dtype=np.float32), np.diag([*sizes_mm, 1]))
    grid = Grid((80, 80, 80), np.array([[1, 0, 0, 4.4], [0, 1, 0, 4.3], [0, 0, 1, 4.2], [0, 0, 0, 1]]))
    expected = smooth_slightly(data_of(resample(noise, grid, 1)), 1.0).std()
    # Where voxels fall between others is drawn, and decides by how much they are averaged.
    seen = np.mean([seen_sd(grid_of(noise), rng, 1.0) for _ in range(20)])
    assert seen == pytest.approx(expected, rel=0.3)
    assert seen < 0.6


def test_motions_are_rigid_and_small():
    motion = draw_motion(np.random.default_rng(1))
    np.testing.assert_allclose(motion[:3, :3] @ motion[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.abs(motion[:3, 3]).max() <= 3
    assert not np.allclose(motion, np.eye(4), atol=0.01)


def test_a_copy_is_moved_noisy_and_segmented(small_head):
    visit = small_head.make_visit({(-10.0, 0.0, 6.0): 4})
    seen = []

    def segment(scans, brain):
        seen.append((scans, brain))
        return scans["FLAIR"], brain

    noise = PairNoise(0.05, 0.0, ((1, 1.0), (125, 0.0)))
    residue = Residue(noise, {"T1w": 0.02, "FLAIR": 0.05}, {"T1w": 0.0, "FLAIR": 0.0}, {"T1w": 800.0, "FLAIR": 800.0})
    copy = scan_again(visit, residue, segment, np.random.default_rng(3), 1.0)
    assert copy.scans is seen[0][0]
    assert copy.mask is seen[0][1]
    assert mask_of(copy.brain).sum() == pytest.approx(mask_of(visit.brain).sum(), rel=0.02)
    assert (mask_of(copy.brain) != mask_of(visit.brain)).mean() > 0.02
    # The same motion, drawn first, undone: what is left is noise of the wanted strength in white matter.
    motion = draw_motion(np.random.default_rng(3))
    moved = resample(visit.scans["FLAIR"], grid_of(visit.brain), 1, motion)
    deep = mask_of(resample(visit.brain, grid_of(visit.brain), 0, motion))
    left = smooth_slightly((data_of(copy.scans["FLAIR"]) - data_of(moved)) / 800, 1.0)[deep]
    assert 0.05 * 0.7 < robust_sd(left) < 0.05 * 2


def test_equal_seeds_give_equal_copies(small_head):
    visit = small_head.make_visit({(-10.0, 0.0, 6.0): 4})
    noise = PairNoise(0.05, 0.0, ((1, 1.0), (125, 0.5)))
    residue = Residue(noise, {"T1w": 0.02, "FLAIR": 0.05}, {"T1w": 0.1, "FLAIR": 0.1}, {"T1w": 800.0, "FLAIR": 800.0})

    def segment(scans, brain):
        return scans["FLAIR"], brain

    first, second = (scan_again(visit, residue, segment, np.random.default_rng(3), 1.0) for _ in range(2))
    np.testing.assert_array_equal(data_of(first.scans["FLAIR"]), data_of(second.scans["FLAIR"]))


def test_finished_scans_are_segmented_on_the_grid_of_the_first(small_head):
    visit = small_head.make_visit({(-10.0, 0.0, 6.0): 4, (11.0, -2.0, -4.0): 3})
    ensemble = load_ensemble()
    probability, mask = segment_again(ensemble, ensemble.config.rule, visit.scans, visit.brain)
    assert probability.shape == mask.shape == visit.scans["T1w"].shape
    np.testing.assert_array_equal(probability.affine, visit.scans["T1w"].affine)
    np.testing.assert_array_equal(mask_of(mask), lesion_mask(data_of(probability), ensemble.config.rule, 1.0))
    truth, found = mask_of(visit.mask), mask_of(mask)
    assert 2 * (truth & found).sum() > 0.6 * (truth.sum() + found.sum())
