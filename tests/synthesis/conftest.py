"""A small invented head as a label map, and two lesion masks."""

from __future__ import annotations

import numpy as np
import pytest

from bids_cascade.synthesis.anatomy import Anatomy, make_anatomy
from bids_cascade.synthesis.lesions import MASK_CENTRES_MM, Patient, make_patient

SHAPE = (110, 130, 116)
UP = np.array([0, 0, 1])
SCALE = 0.6
"""Of the invented head; the masks' space is life-size."""


def ellipsoid(centre, radii):
    grid = np.ogrid[tuple(slice(n) for n in SHAPE)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)) <= 1


def make_labels():
    """Return a head 0.6 times life-size whose structures lie where they do in the masks' space, and its affine."""
    labels = np.zeros(SHAPE, np.int16)
    middle = np.array([55.0, 65.0, 64.0])
    right = np.broadcast_to(np.arange(SHAPE[0])[:, None, None] > middle[0], SHAPE)
    for radii, value in (((50, 60, 56), 511), ((48, 58, 54), 507), ((45, 55, 51), 515), ((42, 52, 48), 24)):
        labels[ellipsoid(middle, radii)] = value
    for radii, left_value, right_value in (((40, 50, 44), 3, 42), ((36, 46, 40), 2, 41)):
        inside = ellipsoid(middle + UP * 2, radii)
        labels[inside & ~right], labels[inside & right] = left_value, right_value
    at = [middle + SCALE * (mm - [0, -16, 15]) for mm in MASK_CENTRES_MM]
    for centre, radii, value in (
        *zip(at[10:12], [(12, 10, 8)] * 2, (8, 47), strict=True),
        *zip(at[10:12], [(8, 6, 5)] * 2, (7, 46), strict=True),
        (at[14], (6, 6, 10), 16),
        *zip(at[:2], [(4, 6, 4)] * 2, (10, 49), strict=True),
        *zip(at[2:4], [(3, 5, 4)] * 2, (11, 50), strict=True),
        *zip(at[4:6], [(3, 7, 4)] * 2, (12, 51), strict=True),
        *zip(at[6:8], [(3, 6, 3)] * 2, (17, 53), strict=True),
        *zip(np.array(at[12:14]) + UP * 5, [(5, 14, 4)] * 2, (4, 43), strict=True),
        (middle - UP * 4, (1, 3, 4), 14),
    ):
        labels[ellipsoid(centre, radii)] = value
    affine = np.eye(4)
    affine[:3, 3] = -middle
    return labels, affine


def make_mask():
    """Return a lesion mask in the masks' space: six boxes and a ball in white matter, and its affine."""
    mask = np.zeros((120, 150, 110), bool)
    affine = np.eye(4)
    affine[:3, 3] = [-60, -90, -40]
    for at in ((-30, -20, 30), (30, -25, 32), (-28, 10, 28), (32, 5, 25), (-25, -45, 20), (27, -48, 22)):
        x, y, z = np.array(at) - affine[:3, 3].astype(int)
        mask[x - 2 : x + 3, y - 3 : y + 4, z - 2 : z + 3] = True
    ball = sum((g - c) ** 2 for g, c in zip(np.ogrid[:120, :150, :110], (80, 75, 80), strict=True)) <= 36
    return mask | ball, affine


@pytest.fixture(scope="session")
def anatomy() -> Anatomy:
    return make_anatomy(*make_labels(), "invented")


@pytest.fixture(scope="session")
def patients() -> list[Patient]:
    mask, affine = make_mask()
    return [make_patient(mask, affine, "first"), make_patient(mask[::-1], affine, "second")]
