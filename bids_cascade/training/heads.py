"""Synthetic heads to train on, and helpers of all levels that make heads."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from bids_cascade.cascade.normalisation import normalise
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.children import map_in_processes
from bids_cascade.config import HeadsConfig
from bids_cascade.errors import BadDataError, MissingInputError
from bids_cascade.imaging.anatomies import load_anatomy, load_patient
from bids_cascade.imaging.images import warn_of_guess
from bids_cascade.outcomes import count
from bids_cascade.progress_bar import progress_bar
from bids_cascade.sources import hash_sources
from bids_cascade.synthesis.anatomy import Anatomy
from bids_cascade.synthesis.head import SEQUENCES, make_training_head
from bids_cascade.synthesis.lesions import Patient
from bids_cascade.whole_file import write_whole_file

_LOGGER = logging.getLogger(__name__)

_PARTS = ("channels", "brain", "lesion")
_MARGIN = 2
"""Voxels around the brain, as preprocessing leaves them."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Head:
    """A head to make, with all that its process needs."""

    label_map: Path
    lesion_masks: tuple[Path, ...]
    seed: tuple[int, int]
    sequences: tuple[str, ...]
    stem: Path


def make_heads(
    config: HeadsConfig, sequences: Sequence[str], folder: Path, n_procs: int
) -> tuple[list[LabelledVisit], str]:
    """Make the heads that are not in the folder yet; return all heads, and :func:`heads_fingerprint`.

    Parameters
    ----------
    config : HeadsConfig
    sequences : sequence of str
        Of the channels, in their order.
    folder : Path
        Where heads are kept and read from; created if needed.
    n_procs : int
        Processes; the heads do not depend on it.

    Raises
    ------
    MissingInputError, BadDataError
        When there is no label map or no mask, or one can't be used.
    """
    maps, masks = find_images(config.label_maps), find_images(config.lesion_masks)
    fingerprint = heads_fingerprint(config, sequences)
    folder = folder / fingerprint[:12]
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [
        _Head(maps[number % len(maps)], masks, (config.seed, number), tuple(sequences), folder / f"head{number:05d}")
        for number in range(config.n_heads)
    ]
    _LOGGER.info(
        "%s of %s and %s",
        *(count(len(tasks), "synthetic head"), count(len(maps), "label map"), count(len(masks), "lesion mask")),
    )
    # Label map by label map, since preparing one takes as long as making a head.
    missing = sorted((task for task in tasks if not _is_made(task)), key=lambda task: task.label_map)
    with progress_bar(len(missing), "heads") as bar:
        for number, _ in enumerate(map_heads(_make, missing, n_procs), start=1):
            bar.update()
            if number % 20 == 0:
                _LOGGER.info("%d of %d heads made", number, len(missing))
    return [_read(task) for task in tasks], fingerprint


def heads_fingerprint(config: HeadsConfig, sequences: Sequence[str]) -> str:
    """Return a hash of what heads are made from, and of the code that makes them, but not of their number.

    Parameters and errors are those of :func:`make_heads`.
    """
    code = hash_sources("synthesis", "cascade/normalisation.py", "imaging/anatomies.py")
    digest = hashlib.sha256(json.dumps([code, config.seed, *sequences]).encode())
    for path in (*find_images(config.label_maps), *find_images(config.lesion_masks)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def find_images(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the NIfTI files among files and folders, sorted by name within a folder.

    Raises
    ------
    MissingInputError
        One of them doesn't exist, or is a folder without NIfTI files.
    """
    images: list[Path] = []
    for path in paths:
        own = _list_images(path) if path.is_dir() else [path] if path.is_file() else []
        if not own:
            fault = "holds no .nii or .nii.gz file" if path.is_dir() else "does not exist"
            raise MissingInputError(f"{path} {fault}; expected images, or a folder of them")
        images += own
    return tuple(images)


def _list_images(folder: Path) -> list[Path]:
    """Return the NIfTI files of a folder by name; hidden ones, which macOS leaves behind, are ignored."""
    return sorted(path for path in folder.glob("*.nii*") if path.is_file() and not path.name.startswith("."))


def map_heads(make: Callable[[_Task], _Result], tasks: Sequence[_Task], n_procs: int) -> Iterator[_Result]:
    """Make heads in several processes, see :func:`bids_cascade.children.map_in_processes`."""
    return map_in_processes(make, tasks, n_procs, "made heads", 1)


@lru_cache(maxsize=1)
def anatomy_of(path: Path) -> Anatomy:
    """Return a label map's anatomy; the latest one is cached."""
    warn_of_guess(path)
    return load_anatomy(path)


@lru_cache(maxsize=1)
def patients_of(paths: tuple[Path, ...]) -> tuple[Patient, ...]:
    """Return the lesions of masks; the latest ones are cached."""
    for path in paths:
        if path.suffix != ".npz":
            warn_of_guess(path)
    return tuple(load_patient(path) for path in paths)


def _make(task: _Head) -> None:
    # One thread of matrix products, so that sums come in one order on every machine.
    with threadpool_limits(limits=1, user_api="blas"):
        try:
            head = make_training_head(anatomy_of(task.label_map), patients_of(task.lesion_masks), task.seed)
        except ValueError as error:
            raise BadDataError(f"{task.label_map}: {error}") from error
        channels = normalise(head.channels, head.brain, SEQUENCES)[[SEQUENCES.index(name) for name in task.sequences]]
    inside = np.argwhere(head.brain)
    low, high = np.maximum(inside.min(axis=0) - _MARGIN, 0), inside.max(axis=0) + 1 + _MARGIN
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    arrays = (channels[(slice(None), *box)].astype(np.float16), head.brain[box], (head.lesion & head.brain)[box])
    for part, array in zip(_PARTS, arrays, strict=True):
        content = io.BytesIO()
        np.save(content, array)
        write_whole_file(content.getvalue(), _path(task, part))


def _is_made(task: _Head) -> bool:
    return all(_path(task, part).is_file() for part in _PARTS)


def _read(task: _Head) -> LabelledVisit:
    channels, brain, lesion = (np.load(_path(task, part), mmap_mode="r") for part in _PARTS)
    # A name that no participant can have, whose labels are alphanumeric.
    return LabelledVisit(f"synthetic-{task.stem.name}", channels, brain, lesion, synthetic=True)


def _path(task: _Head, part: str) -> Path:
    return task.stem.with_name(f"{task.stem.name}_{part}.npy")
