import io

import nibabel as nib
import numpy as np
import pytest
from matplotlib.image import imread

from bids_cascade.report.outlines import PREDICTED_COLOUR, REFERENCE_COLOUR, _choose_slices, draw_outlines

AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


def image(data: np.ndarray, affine: np.ndarray = AFFINE) -> nib.Nifti1Image:
    return nib.Nifti1Image(data, affine)


def box(*edges: slice) -> np.ndarray:
    mask = np.zeros((60, 50, 12), np.uint8)
    mask[edges] = 1
    return mask


def coloured(picture: np.ndarray, colour: str) -> np.ndarray:
    """Return which pixels have a hue near that of a colour."""
    wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return (np.abs(picture[..., :3] - wanted) < 0.25).all(axis=-1)


def test_outlines_lie_where_the_masks_are_and_right_is_left() -> None:
    # RAS: large x is the subject's right side... of the last voxel, so it must appear on the left.
    reference = box(slice(44, 52), slice(10, 20), slice(5, 6))
    predicted = box(slice(6, 14), slice(30, 40), slice(5, 6))
    scan = np.full(reference.shape, 100, np.float32)
    picture = imread(io.BytesIO(draw_outlines(image(reference), image(predicted), image(scan))))
    rows, columns = picture.shape[:2]
    places = {}
    for name, colour in (("reference", REFERENCE_COLOUR), ("predicted", PREDICTED_COLOUR)):
        # The legend in the lower left corner has the colours as well.
        found = np.argwhere(coloured(picture, colour) & (np.arange(rows) < 0.78 * rows)[:, None])
        assert len(found) > 20
        places[name] = found.mean(axis=0) / (rows, columns)
    assert places["reference"][1] < 0.35, "x of 44 to 52 of 60: on the left"
    assert places["predicted"][1] > 0.65
    assert places["reference"][0] > places["predicted"][0], "posterior is below anterior"


def test_flipped_images_give_the_same_picture() -> None:
    reference = box(slice(40, 52), slice(10, 20), slice(5, 7))
    predicted = box(slice(38, 50), slice(12, 22), slice(5, 7))
    scan = np.random.default_rng(0).random(reference.shape).astype(np.float32)
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -1, 59
    plain = draw_outlines(*(image(one) for one in (reference, predicted, scan)))
    assert plain == draw_outlines(*(image(one[::-1], flipped) for one in (reference, predicted, scan)))


def test_slices_that_differ_most_are_chosen() -> None:
    reference, predicted = np.zeros((4, 4, 100), bool), np.zeros((4, 4, 100), bool)
    for index, n in ((10, 1), (11, 3), (50, 4), (70, 2), (90, 2), (95, 1)):
        reference.reshape(16, 100)[:n, index] = True
    assert _choose_slices(reference, predicted) == [11, 50, 70, 90], "10 is too near to 11, 95 comes fifth"
    assert _choose_slices(reference, reference)[0] in (11, 50, 70, 90)
    assert _choose_slices(predicted, predicted) == [50]


@pytest.mark.parametrize(
    ("sizes_mm", "n_slices", "width_mm", "height_mm"),
    [((1, 0.5, 0.9), 1, 60, 25), ((1, 1, 4), 1, 60, 50), ((1, 4, 1), 4, 60, 12), ((4, 1, 1), 4, 50, 12)],
)
def test_slices_lie_in_the_plane_of_acquisition(
    sizes_mm: tuple[float, ...], n_slices: int, width_mm: float, height_mm: float
) -> None:
    affine = np.diag([*sizes_mm, 1])
    mask = box(slice(20, 30), slice(10, 20), slice(5, 6))
    scan = np.full(mask.shape, 100, np.float32)
    drawn = draw_outlines(*(image(one, affine) for one in (mask, np.zeros_like(mask), scan)))
    rows, columns = imread(io.BytesIO(drawn)).shape[:2]
    assert columns / n_slices / rows == pytest.approx(width_mm / height_mm, rel=0.02)


def test_without_a_scan() -> None:
    reference = box(slice(40, 52), slice(10, 20), slice(5, 7))
    assert draw_outlines(image(reference), image(np.zeros_like(reference)), None)[:4] == b"\x89PNG"
    nothing = np.zeros_like(reference)
    assert draw_outlines(image(nothing), image(nothing), None)[:4] == b"\x89PNG"
