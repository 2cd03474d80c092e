"""NIfTI files: the header is checked before voxels are read, and a compressed file is read to its very end."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.filebasedimages import ImageFileError
from nibabel.fileholders import FileHolder
from numpy.typing import NDArray

from bids_cascade.errors import BadDataError, BidsCascadeError, ReadWriteError
from bids_cascade.limits import free_memory_gb
from bids_cascade.regular_file import open_regular

VOXEL_SIZE_LIMITS_MM = (0.1, 20.0)

_MM_PER_UNIT = {1: 1e3, 3: 1e-3}
"""By the lowest three bits of xyzt_units: metre and micrometre; all others are taken as millimetre."""
_LONGEST_HEADER = 540
_DEFLATE_RATIO = 1032
"""Largest compression ratio of a deflated stream."""
_WORKING_BYTES = 8
"""Memory for each voxel, beside the voxel itself: as float32, and a copy while it is checked."""
_USUAL_GB = 1.0
"""A smaller image is read however little memory seems free at the moment."""
_CHUNK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_POINTERS = (b"version https://git-lfs", b"/annex/objects/", b"../.git/annex/", b".git/annex/")


@contextmanager
def open_nifti(path: Path) -> Iterator[tuple[nib.Nifti1Image, BufferedIOBase]]:
    """Open a NIfTI image; every error in reading it, also inside the ``with``, names the file.

    Yields
    ------
    image : nibabel.Nifti1Image
        In mm, whatever unit the file has. Its voxels can be read until the file is closed.
    stream : BufferedIOBase
        For :func:`read_to_end`, after the voxels.

    Raises
    ------
    MissingInputError, ReadWriteError
        See :func:`bids_cascade.regular_file.open_regular`.
    BadDataError
        If it is not a NIfTI image of plain numbers, is damaged, or is shorter than its header says.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(open_regular(path))
            stream: BufferedIOBase = file
            if _is_gzip(path, file):
                stream = stack.enter_context(igzip.open(file, "rb"))
            yield _open_image(path, stream, os.fstat(file.fileno()).st_size, compressed=stream is not file), stream
    except BidsCascadeError:
        raise
    except Exception as error:  # nibabel, zlib and numpy raise various errors, MemoryError and OverflowError included
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise ReadWriteError(f"{path} can't be read: {error.strerror}") from error
        text = str(error) or type(error).__name__
        raise BadDataError(f"{path} is not a readable NIfTI image ({text}); copy or convert it again.") from error


def read_header(path: Path) -> nib.Nifti1Image:
    """Return an image's header, as an image without voxels; errors are those of :func:`open_nifti`."""
    with open_nifti(path) as (image, _):
        return image


def read_to_end(stream: BufferedIOBase) -> None:
    """Read the rest of a stream: gzip compares checksum and length only at its end."""
    while stream.read(_CHUNK_BYTES):
        pass


def stored_voxel_sizes(image: nib.Nifti1Image, stream: BufferedIOBase) -> NDArray[np.float64]:
    """Return the voxel sizes, (3,), as in the file, in mm: nibabel replaces zero and negative ones."""
    stream.seek(0)
    header = type(image.header).from_fileobj(stream, check=False)
    return np.asarray(header["pixdim"][1:4], dtype=np.float64) * _mm_per_unit(header)


def has_orientation(image: nib.Nifti1Image) -> bool:
    """Whether the header says where left and right are: with sform_code and qform_code 0 that is a guess."""
    return bool(image.header["sform_code"] > 0 or image.header["qform_code"] > 0)


def check_memory(path: Path, image: nib.Nifti1Image) -> None:
    """Raise BadDataError if the voxels would not fit into the free memory."""
    needed_gb = math.prod(image.shape) * (image.get_data_dtype().itemsize + _WORKING_BYTES) / 1e9
    free_gb = free_memory_gb()
    if needed_gb > max(free_gb, _USUAL_GB):
        shape = _text(image.shape)
        raise BadDataError(
            f"{path} has {shape} voxels, which take {needed_gb:.3g} GB of memory; there are {free_gb:.2g} GB."
        )


def _is_gzip(path: Path, file: BufferedIOBase) -> bool:
    """Return whether a file is compressed, which its name must agree with; the file is rewound."""
    start = file.read(_LONGEST_HEADER)
    file.seek(0)
    packed, named_so = start.startswith(_GZIP), path.name.endswith(".gz")
    if not start:
        raise BadDataError(f"{path} is empty; copy or convert it again.")
    if start.startswith(_POINTERS):
        raise BadDataError(
            f"{path} is a pointer to content that has not been fetched; run git lfs pull or datalad get."
        )
    if packed and path.name.endswith(".nii"):
        raise BadDataError(f"{path} is compressed (gzip), but its name does not say so; rename it to {path.name}.gz.")
    if not packed and named_so and _kind_of(start):
        raise BadDataError(
            f"{path} is not compressed, but its name says so; rename it to {path.name.removesuffix('.gz')}."
        )
    if not packed and named_so:
        raise ImageFileError("not gzip data")
    return packed


def _kind_of(start: bytes) -> type[nib.Nifti1Image] | None:
    """Return the class of NIfTI images whose header a file starts with."""
    kinds = (nib.Nifti1Image, nib.Nifti2Image)
    return next((kind for kind in kinds if kind.header_class.may_contain_header(start)), None)


def _open_image(path: Path, stream: BufferedIOBase, file_bytes: int, *, compressed: bool) -> nib.Nifti1Image:
    start = stream.read(_LONGEST_HEADER)
    kind = _kind_of(start)
    if start[128:132] == b"DICM":
        raise BadDataError(f"{path} is a DICOM file; convert it with dcm2niix.")
    if kind is None:
        raise ImageFileError("no NIfTI header")
    stream.seek(0)
    header = kind.header_class.from_fileobj(stream, check=False)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iufb":
        raise ImageFileError(f"its voxels are {dtype}, not plain numbers")
    shape = header.get_data_shape()
    needed = int(header["vox_offset"]) + math.prod(shape) * dtype.itemsize
    if needed > file_bytes * (_DEFLATE_RATIO if compressed else 1):
        raise ImageFileError(
            f"its header says {_text(shape)} voxels, {_size(needed)}, which a file of {_size(file_bytes)} can't hold"
        )
    stream.seek(0)
    image = kind.from_file_map({"image": FileHolder(fileobj=stream)}, mmap=False)
    factor = _mm_per_unit(header)
    return image if factor == 1 else _in_mm(image, factor)


def _mm_per_unit(header: nib.Nifti1Header) -> float:
    """Return the length of a header's unit in mm; 1 if the unit is wrong, as the voxels are those of a head in mm."""
    low, high = VOXEL_SIZE_LIMITS_MM
    sizes = header["pixdim"][1:4]
    in_mm = bool(np.all((sizes >= low) & (sizes <= high)))
    return 1 if in_mm else _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1)


def _in_mm(image: nib.Nifti1Image, factor: float) -> nib.Nifti1Image:
    header = image.header.copy()
    header["pixdim"][1:4] *= factor
    for field in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
        header[field] = header[field] * factor
    header.set_xyzt_units("mm")
    return type(image)(image.dataobj, header.get_best_affine(), header)


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _size(n_bytes: int) -> str:
    power, unit = next((pair for pair in ((9, "GB"), (6, "MB")) if n_bytes >= 10 ** pair[0]), (3, "kB"))
    return f"{n_bytes / 10**power:.3g} {unit}"
