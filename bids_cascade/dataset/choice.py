"""Chooses one of several images of a sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bids.layout import BIDSFile

from bids_cascade.errors import BidsCascadeError
from bids_cascade.nifti_file import read_header

WHOLE_HEAD_MM = 120.0
"""An image of this extent along each axis shows a whole brain; a slab does not, however fine its voxels."""
_COVERAGE_STEP_MM = 10.0
_THICKEST_3D_MM = 2.0


@dataclass(frozen=True)
class ImageChoice:
    """The image of one sequence that a visit uses.

    Attributes
    ----------
    path : Path
        The image.
    reason : str
        Why this one, in a few words.
    rejected : tuple of Path
        The other candidates, best first.
    """

    path: Path
    reason: str
    rejected: tuple[Path, ...] = ()


def choose_image(files: Sequence[BIDSFile]) -> ImageChoice:
    """Choose an image of one sequence; headers are read only if there is a choice.

    Preferred are, in this order, an image of the whole head (by the extent of its field of view), a 3D acquisition, the
    finest resolution (smallest voxel volume, then shortest longest edge), the lowest run, and the first name.
    """
    if len(files) == 1:
        return ImageChoice(Path(files[0].path), "the only one")
    candidates = [
        _Candidate(Path(file.path), _extent(Path(file.path)), int(file.entities.get("run", 0))) for file in files
    ]
    candidates.sort(key=lambda candidate: (candidate.rank, candidate.run, candidate.path.name))
    best, *rest = candidates
    return ImageChoice(best.path, _reason(best, rest), tuple(candidate.path for candidate in rest))


def _extent(path: Path) -> _Extent:
    """Return the extent and voxels of an image by its header."""
    try:
        header = read_header(path).header
    except BidsCascadeError:
        return _Extent()
    shape, zooms = header.get_data_shape(), [float(zoom) for zoom in header.get_zooms()[:3]]
    if len(shape) < 3 or any(length > 1 for length in shape[3:]) or not all(0 < zoom < math.inf for zoom in zooms):
        return _Extent()
    shortest_mm = min(length * zoom for length, zoom in zip(shape, zooms, strict=False))
    steps = math.floor(min(shortest_mm, WHOLE_HEAD_MM) / _COVERAGE_STEP_MM)
    longest_mm = round(max(zooms), 3)
    return _Extent(steps * _COVERAGE_STEP_MM, longest_mm <= _THICKEST_3D_MM, round(math.prod(zooms), 3), longest_mm)


def _reason(best: _Candidate, rest: Sequence[_Candidate]) -> str:
    """Return why the best candidate was preferred to the next one."""
    n, first, second = len(rest) + 1, best.extent, rest[0].extent
    if first.coverage_mm != second.coverage_mm:
        return f"covers more of the head than the others of {n}"
    if first.is_3d != second.is_3d:
        return f"a 3D acquisition, preferred to slices, of {n}"
    if best.rank != rest[0].rank:
        return f"finest resolution of {n}: voxels of {first.voxel_mm3:g} mm^3"
    equal = [other for other in rest if other.rank == best.rank]
    if all(other.run > best.run for other in equal):
        return f"lowest run of {len(equal) + 1} with equal resolution"
    return f"first by name of {len(equal) + 1} with equal resolution"


@dataclass(frozen=True)
class _Extent:
    """An image's field of view and voxels, by its header; the defaults are those of an image that is not 3D.

    Attributes
    ----------
    coverage_mm : float
        The shortest edge of the field of view, at most that of a whole head, in coarse steps.
    is_3d : bool
        Whether no edge of a voxel is as long as the slices of a 2D acquisition are thick.
    voxel_mm3, longest_mm : float
        Volume and longest edge of a voxel, rounded.
    """

    coverage_mm: float = 0.0
    is_3d: bool = False
    voxel_mm3: float = math.inf
    longest_mm: float = math.inf


@dataclass(frozen=True)
class _Candidate:
    """An image that could be chosen, with its criteria (see :func:`choose_image`)."""

    path: Path
    extent: _Extent
    run: int

    @property
    def rank(self) -> tuple[float, bool, float, float]:
        """Key that sorts candidates, best first: coverage of the head, 3D before slices, voxel volume, longest edge."""
        return (-self.extent.coverage_mm, not self.extent.is_3d, self.extent.voxel_mm3, self.extent.longest_mm)
