"""How much each voxel of a mask weighs."""

import numpy as np
import pytest

from bids_cascade.cascade.weights import WeightedVoxels, component_weights


def test_component_weights_by_hand() -> None:
    mask = np.zeros((7, 3, 3), bool)
    mask[:4, 0, 0] = True
    mask[6, 2, 2] = True
    # Four voxels of 4^-0.5 = 1/2 and one of 1, divided by their mean, 3/5.
    assert component_weights(mask, 0.5) == pytest.approx([5 / 6] * 4 + [5 / 3])
    assert component_weights(mask, 1.0) == pytest.approx([5 / 8] * 4 + [5 / 2])
    assert component_weights(mask, 0.0).tolist() == [1.0] * 5
    assert component_weights(mask & False, 0.5).shape == (0,)


def test_weighted_voxels_crop_is_a_part_of_their_volume() -> None:
    mask = np.random.default_rng(0).random((9, 8, 7)) < 0.1
    weighted = WeightedVoxels.of(mask, 0.5)
    box = np.s_[2:6, 1:5, 3:7]
    assert (weighted.crop(mask[box], (2, 1, 3)) == weighted.volume()[box]).all()
