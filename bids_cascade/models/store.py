"""Reads and writes model files and training checkpoints; torch is imported only where it is needed."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bids_cascade.cascade.packing import ModelHeader, pack, unpack, unpack_model
from bids_cascade.errors import BadDataError, MissingInputError, ReadWriteError
from bids_cascade.regular_file import open_regular
from bids_cascade.whole_file import write_whole_file

if TYPE_CHECKING:
    from bids_cascade.cascade.ensemble import Ensemble
    from bids_cascade.cascade.model import Model
    from bids_cascade.cascade.training import StageProgress

_LOGGER = logging.getLogger(__name__)

LARGEST_BYTES = 2 << 30
"""A larger file is no model of this app."""

PACKAGED_MODEL = Path(__file__).parent / "default.safetensors"
"""The model that is used when none is named."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class StoredModel:
    """A model file's header, number of weights, and SHA-256, which identifies it."""

    header: ModelHeader
    n_weights: int
    path: Path
    sha256: str


def load_model(path: Path = PACKAGED_MODEL) -> StoredModel:
    """Read a model file's header, and check that the file is complete.

    Raises
    ------
    MissingInputError
        When there is no such file.
    ReadWriteError
        When it can't be read.
    BadDataError
        When it is no model, is cut off, damaged or edited, or has weights that are not finite.
    """
    stored = _read(path, lambda content: _describe(content, path))
    if stored.header.sealed:
        return stored
    if path == PACKAGED_MODEL:
        if stored.sha256 not in path.with_suffix(".md").read_text(encoding="utf-8"):
            raise BadDataError(f"{path}: not the model described by the card beside it; reinstall the app")
    else:
        _LOGGER.warning(
            "%s: a model of an earlier version, whose digest does not cover its header: edits of its thresholds go "
            "unnoticed",
            path,
        )
    return stored


def load_ensemble(path: Path = PACKAGED_MODEL) -> Ensemble:
    """Read the cascades of a model file; errors are those of :func:`load_model`."""
    from bids_cascade.cascade.model import from_bytes

    return _read(path, from_bytes).ensemble


def save_model(model: Model, path: Path) -> StoredModel:
    """Write a model file atomically.

    Raises
    ------
    ValueError
        When its header describes no model; nothing is written.
    OutputError, ReadWriteError
        When it can't be written.
    """
    from bids_cascade.cascade.model import to_bytes

    content = to_bytes(model)
    stored = _describe(content, path)
    write_whole_file(content, path)
    return stored


def _read(path: Path, understand: Callable[[bytes], _Result]) -> _Result:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read() if size <= LARGEST_BYTES else b""
    except MissingInputError as error:
        raise MissingInputError(
            f"{path}: there is no such model file; check the path: expected a file written by `train`"
        ) from error
    except OSError as error:
        raise ReadWriteError(f"{path}: the model file can't be read: {error.strerror}") from error
    try:
        if size > LARGEST_BYTES:
            raise ValueError(f"it has {size / 1e9:.1f} GB")
        return understand(content)
    except ValueError as error:
        raise BadDataError(f"{path}: not a usable model: {error}; train or fetch it again") from error


def _describe(content: bytes, path: Path) -> StoredModel:
    arrays, header = unpack_model(content)
    n_weights = sum(array.size for name, array in arrays.items() if name.endswith(("weight", "bias")))
    return StoredModel(header, n_weights, path, hashlib.sha256(content).hexdigest())


def save_checkpoint(progress: StageProgress, fingerprint: str, path: Path) -> None:
    """Write a stage's checkpoint atomically; `fingerprint` identifies the training it belongs to."""
    arrays = {name: tensor.numpy() for name, tensor in progress.to_tensors().items()}
    write_whole_file(pack(arrays, {"fingerprint": fingerprint, **progress.to_json()}), path)


def load_checkpoint(path: Path, fingerprint: str) -> StageProgress | None:
    """Read a stage's progress back; None when there is none, or it belongs to another training.

    Raises
    ------
    BadDataError
        When the file is damaged.
    """
    import torch

    from bids_cascade.cascade.training import StageProgress

    if not path.is_file():
        return None
    try:
        arrays, header = unpack(path.read_bytes())
        if header.get("fingerprint") != fingerprint:
            return None
        return StageProgress.from_parts({name: torch.tensor(array) for name, array in arrays.items()}, header)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadDataError(f"{path}: damaged checkpoint ({error}); delete it to restart this stage") from error
