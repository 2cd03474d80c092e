"""Make the atlas from label maps: ``python -m bids_cascade.anatomy.build LABEL_MAP [LABEL_MAP ...]``.

Each map gets the intensities of the template's tissues and is registered to the template. Its structures are averaged
with their mirror images, since the template is symmetric.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from bids_cascade.anatomy.registration import Effort, coarse, register_to_template, warp
from bids_cascade.anatomy.structures import FREESURFER_LABELS, Structure
from bids_cascade.anatomy.template import template_image
from bids_cascade.imaging.grid import grid_of
from bids_cascade.imaging.images import data_of, load_labels, save_image

_KINDS = ("t1", "wm")
_LOOKS: tuple[tuple[tuple[int, ...], tuple[float, float]], ...] = (
    ((24, 14, 15, 4, 43, 5, 44, 72, 31, 63, 136, 137, 163, 164), (0.3, 0.0)),
    ((3, 42, 17, 53, 18, 54), (0.66, 0.12)),
    ((2, 41, 25, 57, 77, 78, 79, 251, 252, 253, 254, 255, 30, 62), (0.85, 0.9)),
    ((9, 10, 48, 49), (0.73, 0.22)),
    ((11, 50, 26, 58), (0.71, 0.06)),
    ((12, 51), (0.76, 0.38)),
    ((13, 52), (0.83, 0.75)),
    ((28, 60, 16), (0.75, 0.55)),
    ((8, 47), (0.6, 0.04)),
    ((7, 46), (0.78, 0.73)),
)
"""Medians of the template's T1w and white-matter images in the structures with these labels."""
_HULL_STEP, _HULL_SD = 2, 2.0
_SMOOTHING_MM = 1.2
_ATLAS_MM = 2
_EFFORT = Effort(voxel_mm=4.0, affine_iterations=(100, 50, 0), iterations=(50, 40, 20))


def structures_of(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return ``Structure`` + 1 of each voxel (X, Y, Z) of FreeSurfer labels, 0 elsewhere."""
    table = np.zeros(32768, np.uint8)
    for structure, values in FREESURFER_LABELS.items():
        table[list(values)] = structure + 1
    return np.asarray(table[labels])


def paint_like_template(labels: NDArray[np.integer]) -> list[NDArray[np.float32]]:
    """Return T1w and white-matter images (X, Y, Z) of a label map with the template's intensities, without skull."""
    tables = np.zeros((2, 32768), np.float32)
    for values, look in _LOOKS:
        tables[:, list(values)] = np.array(look)[:, None]
    t1w, white = (table[labels] for table in tables)
    return [np.where(_hull(structures_of(labels)), t1w, 0).astype(np.float32), white]


def _hull(structures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the brain with its ventricles and narrow sulci; the template shows no other fluid around it."""
    solid = (structures > 0) & (structures != Structure.SULCAL_FLUID + 1)
    coarse_solid = solid[::_HULL_STEP, ::_HULL_STEP, ::_HULL_STEP].astype(np.float32)
    inside = ndimage.gaussian_filter(coarse_solid, _HULL_SD) > 0.5
    for axis in range(3):
        inside = inside.repeat(_HULL_STEP, axis)
    return np.asarray(solid | inside[tuple(slice(size) for size in solid.shape)])


def warped_structures(path: Path) -> NDArray[np.uint8]:
    """Return the structures of a label map on the template's grid, ``Structure`` + 1."""
    image = nib.as_closest_canonical(load_labels(path))
    labels = np.asarray(image.dataobj).astype(np.int16)
    head = [nib.Nifti1Image(data, image.affine) for data in paint_like_template(labels)]
    with tempfile.TemporaryDirectory() as folder:
        deformation = register_to_template([template_image(kind) for kind in _KINDS], head, Path(folder), _EFFORT)
        structures = nib.Nifti1Image(structures_of(labels), image.affine)
        moved = warp(structures, grid_of(template_image()), deformation.to_template, nearest=True)
    return np.rint(data_of(moved)).astype(np.uint8)


def average(maps: Sequence[NDArray[np.uint8]], affine: NDArray[np.float64]) -> nib.Nifti1Image:
    """Return the probability of each structure, scaled by 255, as (X, Y, Z, S) uint8 with 2 mm voxels.

    Parameters
    ----------
    maps : sequence of (X, Y, Z) arrays
        ``Structure`` + 1 on the template's grid, whose first axis runs from left to right, symmetric to the midplane.
    affine : (4, 4) array
        From voxels of this grid to RAS+ mm.
    """
    volumes = []
    for structure in Structure:
        mean = np.mean([(labels == structure + 1).astype(np.float32) for labels in maps], axis=0)
        mean = ndimage.gaussian_filter((mean + mean[::-1]) / 2, _SMOOTHING_MM)
        volumes.append(coarse(nib.Nifti1Image(mean.astype(np.float32), affine), _ATLAS_MM))
    data = np.stack([data_of(volume) for volume in volumes], axis=-1)
    return nib.Nifti1Image(np.rint(data.clip(0, 1) * 255).astype(np.uint8), volumes[0].affine)


def main() -> None:
    """Build the atlas; registered maps are reused from the work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("label_maps", nargs="+", type=Path, help="label maps of whole heads, FreeSurfer labels")
    parser.add_argument("--work", type=Path, required=True, help="folder for the registered maps")
    parser.add_argument("--out", type=Path, required=True, help="the atlas, a .nii.gz file")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    affine = template_image().affine
    maps = []
    for path in arguments.label_maps:
        done = arguments.work / f"mni_{path.name}"
        if not done.exists():
            save_image(warped_structures(path), affine, done, np.uint8)
        maps.append(np.asarray(load_labels(done).dataobj).astype(np.uint8))
        print(path.name, flush=True)
    atlas = average(maps, affine)
    save_image(np.asarray(atlas.dataobj), atlas.affine, arguments.out, np.uint8)


if __name__ == "__main__":
    main()
