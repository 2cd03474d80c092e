from typing import Any

import nibabel as nib
import numpy as np

from bids_cascade.imaging.grid import Grid
from bids_cascade.lesions.components import Lesion
from bids_cascade.report.lesion_numbers import lesion_numbers


def on_a_line(labels: list[int], mask: list[int], lesions: Any = (), size_mm: float = 1, shift_mm: float = 0) -> Any:
    """Return the numbers on a row of voxels; the labels' are of 1 mm, and lie `shift_mm` further in the T1w's world."""
    image = nib.Nifti1Image(np.array(labels, np.int32).reshape(-1, 1, 1), np.eye(4))
    own = np.array(mask, bool).reshape(-1, 1, 1)
    affine, to_t1w = np.diag([size_mm, 1, 1, 1]), np.eye(4)
    affine[0, 3], to_t1w[0, 3] = (size_mm - 1) / 2, shift_mm
    return lesion_numbers(image, lesions, own, Grid(own.shape, affine), to_t1w).ravel().tolist()


def lesion(index: int, x_mm: float) -> Lesion:
    return Lesion(index, 1, x_mm, 0, 0, 1)


def test_voxels_have_the_numbers_of_the_lesions_that_lie_there() -> None:
    assert on_a_line([0, 2, 2, 0, 1, 0], [0, 1, 1, 0, 1, 0]) == [0, 2, 2, 0, 1, 0]
    assert on_a_line([0, 2, 2, 0, 1, 0], [0, 0, 0, 0, 0, 0], shift_mm=1) == [2, 2, 0, 1, 0, 0]


def test_a_masks_voxels_beside_a_lesion_belong_to_the_nearest_of_their_component() -> None:
    labels, mask = [0, 2, 0, 0, 0, 1, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 1, 1]
    assert on_a_line(labels, mask) == [2, 2, 2, 0, 1, 1, 0, 0, 0], "the last component has no lesion of the table"
    assert on_a_line([2, 0, 0, 0, 0, 1], [1] * 6) == [2, 2, 2, 1, 1, 1], "two lesions that this mask joins"


def test_a_lesion_between_the_centres_of_thick_slices_is_found_at_its_own() -> None:
    labels = [0, 0, 1, 0, 0, 0, 0, 0, 2, 3]  # of voxels of 5 mm, the centres are at 2 and 7
    assert on_a_line(labels, [0, 0], size_mm=5) == [1, 0]
    assert on_a_line(labels, [0, 0], [lesion(1, 2), lesion(2, 8), lesion(3, 9)], size_mm=5) == [1, 2]
