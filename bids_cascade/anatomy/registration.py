"""Deformable registration of a head to a template, and the use of its transforms."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.spatial.transform import Rotation

from bids_cascade.anatomy.transform_file import without_times
from bids_cascade.errors import BadDataError, ReadWriteError
from bids_cascade.folders import is_full
from bids_cascade.imaging.grid import Grid
from bids_cascade.imaging.images import data_of, from_ants, load_ants, to_ants
from bids_cascade.imaging.registration import write_itk_transform

_ROUGH_MM = 10.0
_PITCHES_DEGREES = (-40, -20, 0, 20, 40)
_BEST_STARTS = 2
_POWELL = {"maxiter": 3, "xtol": 1e-3, "ftol": 1e-4}
_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Deformation:
    """A registration on disk: two ITK composite transforms, each an affine transform and a displacement field.

    Attributes
    ----------
    to_template : Path
        Maps images of the head to the template, and therefore points of the template's world to the head's.
    from_template : Path
        Its inverse.
    """

    to_template: Path
    from_template: Path


@dataclass(frozen=True)
class Effort:
    """Precision of a registration: voxel size of its grid, and iterations at multiples of this size.

    Attributes
    ----------
    voxel_mm : float
    affine_iterations : tuple of int
        At 4, 2 and 1 times the voxel size.
    iterations : tuple of int
        The same for the deformation by squared differences, which finds large ones.
    refinement : tuple of int
        Iterations at 2 and 1 times the voxel size by correlation within two voxels. It sees thin structures as well as
        large ones, but an iteration takes five times as long.
    """

    voxel_mm: float = 3.0
    affine_iterations: tuple[int, int, int] = (100, 50, 10)
    iterations: tuple[int, int, int] = (40, 30, 15)
    refinement: tuple[int, int] = (0, 0)


def register_to_template(
    template: Sequence[nib.Nifti1Image],
    head: Sequence[nib.Nifti1Image],
    folder: Path,
    effort: Effort,
    seed: int = 0,
) -> Deformation:
    """Compute the affine transform, then the symmetric diffeomorphism [1]_, between a head and a template.

    One thread, regular sampling and a fixed seed make it reproducible: equal images give equal files.

    Parameters
    ----------
    template, head : sequence of nibabel.Nifti1Image
        Pairs of images with similar contrast; 0 outside the brain. The first pair gives the affine transform. A head's
        images share a grid.
    folder : Path
        Existing; the transforms go there.
    effort : Effort
    seed : int

    Raises
    ------
    BadDataError
        When ANTs fails.
    ReadWriteError
        When the disk is full.

    References
    ----------
    .. [1] Avants B. B. et al., Symmetric diffeomorphic image registration with cross-correlation, Medical Image
       Analysis 12 (2008) 26-41.
    """
    ants = load_ants()
    pointer = ants.internal.get_pointer_string
    fixed = [to_ants(coarse(image, effort.voxel_mm)) for image in template]
    moving = [to_ants(coarse(image, effort.voxel_mm)) for image in head]
    pairs = [f"{pointer(a)},{pointer(b)}" for a, b in zip(fixed, moving, strict=True)]
    with tempfile.TemporaryDirectory() as work:
        # These are arguments of antsRegistration: given images, ants.registration would also warp both of them.
        arguments = ["--dimensionality", "3", "--float", "1", "--collapse-output-transforms", "1"]
        # ANTs treats a seed of 0 as no seed.
        arguments += ["--random-seed", str(seed + 1), "--write-composite-transform", "1"]
        write_itk_transform(rough_affine(template[0], head[0]), Path(work) / "start.txt")
        arguments += ["--initial-moving-transform", f"{work}/start.txt"]
        arguments += _stages(pairs, effort)
        arguments += ["--output", f"{work}/"]
        try:
            ants.registration(arguments, None)
            return Deformation(
                _take_transform(Path(work, "Composite.h5"), folder / "to_template.h5"),
                _take_transform(Path(work, "InverseComposite.h5"), folder / "from_template.h5"),
            )
        except (RuntimeError, ValueError, OSError) as error:
            for place in (Path(work).parent, folder):
                if is_full(place):
                    raise ReadWriteError(f"{os.strerror(errno.ENOSPC)} for transforms in {place}; make room") from error
            raise BadDataError(f"the head could not be registered to the template ({error})") from error


def _stages(pairs: Sequence[str], effort: Effort) -> list[str]:
    """Return antsRegistration's arguments for the affine transform, the deformation, and its refinement."""
    levels = ["--shrink-factors", "4x2x1", "--smoothing-sigmas", "2x1x0"]
    affine, deformable, fine = (
        "x".join(map(str, steps)) for steps in (effort.affine_iterations, effort.iterations, effort.refinement)
    )
    stages = ["--metric", f"GC[{pairs[0]},1,1,Regular,0.5]", "--transform", "Affine[0.1]"]
    stages += ["--convergence", f"[{affine},1e-6,10]", *levels]
    for pair in pairs:
        stages += ["--metric", f"MeanSquares[{pair},1,0]"]
    stages += ["--transform", "SyN[0.2,3,0]", "--convergence", f"[{deformable},1e-7,8]", *levels]
    if any(effort.refinement):
        for pair in pairs:
            stages += ["--metric", f"CC[{pair},1,2]"]
        stages += ["--transform", "SyN[0.4,3,0]", "--convergence", f"[{fine},1e-7,8]"]
        stages += ["--shrink-factors", "2x1", "--smoothing-sigmas", "1x0"]
    return stages


def _take_transform(written: Path, target: Path) -> Path:
    """Copy a transform to its place if it is complete: ANTs reports no error when it could not write all of it."""
    load_ants().read_transform(str(written))
    target.write_bytes(without_times(written.read_bytes()))
    return target


def rough_affine(template: nib.Nifti1Image, head: nib.Nifti1Image) -> NDArray[np.float64]:
    """Return a rough affine transform, (4, 4), from points of the template's world to the head's, RAS+ mm.

    ANTs converges from rotations of less than some 15 degrees, but a chin may be raised further. At 10 mm, the
    correlation of both images is maximised over rotation, translation and one scale, from several starting angles.
    """
    fixed, moving = (coarse(image, _ROUGH_MM) for image in (template, head))
    voxels = np.indices(fixed.shape).reshape(3, -1)
    points = apply_affine(fixed.affine, voxels.T)
    target, values, to_voxel = data_of(fixed).ravel(), data_of(moving), np.linalg.inv(moving.affine)
    centres = [apply_affine(image.affine, ndimage.center_of_mass(data_of(image))) for image in (fixed, moving)]

    def misfit(parameters: NDArray[np.float64]) -> float:
        placed = apply_affine(to_voxel @ _similarity(parameters, *centres), points).T
        sampled = ndimage.map_coordinates(values, placed, order=1)
        return 1.0 - float(np.corrcoef(target, sampled)[0, 1]) if sampled.std() > 0 else 2.0

    starts = [np.array([np.radians(pitch), *np.zeros(6)]) for pitch in _PITCHES_DEGREES]
    best = sorted(starts, key=misfit)[:_BEST_STARTS]
    fits = [optimize.minimize(misfit, start, method="Powell", options=_POWELL) for start in best]
    return _similarity(min(fits, key=lambda fit: float(fit.fun)).x, *centres)


def _similarity(
    parameters: NDArray[np.float64], centre: NDArray[np.float64], head_centre: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the matrix (4, 4) of a rotation vector in radians, a translation in cm, and the logarithm of a scale."""
    turn = Rotation.from_rotvec(parameters[:3]).as_matrix() * np.exp(parameters[6])
    return np.asarray(from_matvec(turn, head_centre + 10 * parameters[3:6] - turn @ centre), np.float64)


def warp(image: nib.Nifti1Image, grid: Grid, transform: Path, *, nearest: bool = False) -> nib.Nifti1Image:
    """Resample an image onto a grid through an ITK transform; 0 outside the image."""
    ants = load_ants()
    target = to_ants(nib.Nifti1Image(np.zeros(grid.shape, np.uint8), grid.affine))
    kind = "nearestNeighbor" if nearest else "linear"
    return from_ants(ants.apply_transforms(target, to_ants(image), [str(transform)], interpolator=kind))


def move_points(points_mm: NDArray[np.float64], transform: Path) -> NDArray[np.float64]:
    """Map points (N, 3), RAS+ mm, by an ITK transform, which maps points in the direction opposite to images."""
    moved = load_ants().read_transform(str(transform))
    moved_points = [moved.apply_to_point(point) for point in (points_mm * _LPS).tolist()]
    return np.asarray(np.array(moved_points, np.float64).reshape(-1, 3) * _LPS)


def coarse(image: nib.Nifti1Image, voxel_mm: float) -> nib.Nifti1Image:
    """Downsample an image to voxels of about this size, along its own axes, after smoothing."""
    sizes = voxel_sizes(image.affine)
    factors = np.maximum(voxel_mm / sizes, 1.0)
    # Averaging over n voxels is like smoothing by a Gaussian of sqrt(n^2 - 1) / sqrt(12) voxels.
    smooth = ndimage.gaussian_filter(data_of(image), np.sqrt(factors**2 - 1) / np.sqrt(12))
    shape = np.maximum(np.ceil(np.array(image.shape) / factors).astype(int), 1)
    data = ndimage.affine_transform(
        smooth, np.diag(factors), (factors - 1) / 2, tuple(shape.tolist()), order=1, mode="nearest"
    )
    affine = image.affine @ np.diag([*factors, 1.0])
    affine[:3, 3] = image.affine[:3, 3] + image.affine[:3, :3] @ ((factors - 1) / 2)
    return nib.Nifti1Image(data.astype(np.float32), affine)
