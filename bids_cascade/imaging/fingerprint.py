"""Hashes that identify scans, whatever the names of their files."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.imaging.images import load_image


@cache
def hash_voxels(path: Path) -> str:
    """Return the SHA-256 of an image's shape and values, as float32 in RAS order; errors are those of load_image.

    A copy has the same hash under any name, compression or order of axes; a processed image has another.
    """
    voxels = np.asarray(nib.as_closest_canonical(load_image(path)).dataobj, "<f4")
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(np.ascontiguousarray(voxels).data)
    return digest.hexdigest()
