"""A small head to compare visits of: a ball of white matter in grey matter, with fluid inside and round lesions."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from bids_cascade.change.visit import FinishedVisit

SIZE = 56


def turned(degrees: Sequence[float], shift_mm: Sequence[float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    pose[:3, 3] = shift_mm
    return pose


def make_visit(
    lesions: dict[tuple[float, float, float], float], pose: np.ndarray | None = None, seed: int = 0
) -> FinishedVisit:
    """Return a head with round lesions, radii by centre in mm; `pose` maps the visit's world to the head's."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, 3] = -(SIZE - 1) / 2
    world = np.indices((SIZE,) * 3).reshape(3, -1) + affine[:3, 3:]
    pose = np.eye(4) if pose is None else pose
    x, y, z = (pose[:3, :3] @ world + pose[:3, 3:]).reshape(3, SIZE, SIZE, SIZE)

    def ball(centre: Sequence[float], radius: float, stretch: float = 1.0) -> np.ndarray:
        away = np.sqrt((x - centre[0]) ** 2 + ((y - centre[1]) / stretch) ** 2 + (z - centre[2]) ** 2)
        return np.clip(radius + 0.5 - away, 0, 1)

    brain = ball((0, 0, 0), 20, 1.25)
    white = ball((0, 0, 0), 16, 1.3)
    places = [((4, 8, 5), 5), ((-4, -6, -6), 4), ((-6, 10, -5), 3), ((7, -8, 7), 3)]
    fluid = np.max([ball(centre, radius, 1.4) for centre, radius in places], axis=0)
    texture = np.random.default_rng(99).standard_normal((SIZE,) * 3)
    texture = ndimage.map_coordinates(
        ndimage.gaussian_filter(texture, 2) * 2, [x - affine[0, 3], y - affine[1, 3], z - affine[2, 3]], order=1
    )
    share = np.max([ball(centre, radius) for centre, radius in lesions.items()] or [0 * x], axis=0)
    t1w = brain * (0.7 + 0.3 * white) * (1 - 0.7 * fluid) + 0.12 * texture * brain - 0.2 * share
    flair = brain * (1.0 - 0.2 * white) * (1 - 0.7 * fluid) + 0.03 * texture * brain + 0.5 * share
    inside = brain > 0.5

    def image(values: np.ndarray) -> nib.Nifti1Image:
        return nib.Nifti1Image(values.astype(np.float32), affine)

    scans = {
        name: image((one + sd * rng.standard_normal(one.shape)).clip(1e-3) * inside * 800)
        for name, one, sd in (("T1w", t1w, 0.01), ("FLAIR", flair, 0.03))
    }
    return FinishedVisit(scans, image(inside), image(0.95 * share * inside), image(share >= 0.5))
