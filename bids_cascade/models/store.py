"""Reads and writes model files and training checkpoints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from bids_cascade.cascade.model import Model, from_bytes, pack, to_bytes, unpack
from bids_cascade.cascade.training import StageProgress
from bids_cascade.errors import BadDataError, MissingInputError, OutputError, ReadWriteError
from bids_cascade.whole_file import write_whole_file

PACKAGED_MODEL = Path(__file__).parent / "default.safetensors"
"""The model that is used when none is named."""


@dataclass(frozen=True)
class StoredModel:
    """A model and the file it came from, known by the SHA-256 of its content."""

    model: Model
    path: Path
    sha256: str


def load_model(path: Path = PACKAGED_MODEL) -> StoredModel:
    """Read a model file.

    Raises
    ------
    MissingInputError
        When there is no such file.
    ReadWriteError
        When it can't be read.
    BadDataError
        When it is no model, is cut off, or is damaged.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: there is no such model file; name one that `train` has written")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReadWriteError(f"{path}: the model file can't be read: {error.strerror}") from error
    try:
        model = from_bytes(content)
    except ValueError as error:
        raise BadDataError(f"{path}: not a usable model: {error}; train or fetch it again") from error
    return StoredModel(model, path, hashlib.sha256(content).hexdigest())


def save_model(model: Model, path: Path) -> StoredModel:
    """Write a model file, whole or not at all."""
    content = to_bytes(model)
    write_whole_file(content, path)
    return StoredModel(model, path, hashlib.sha256(content).hexdigest())


def save_checkpoint(progress: StageProgress, fingerprint: str, path: Path) -> None:
    """Write a stage's progress, whole or not at all; `fingerprint` says which training it belongs to."""
    write_whole_file(pack(progress.to_tensors(), {"fingerprint": fingerprint, **progress.to_json()}), path)


def load_checkpoint(path: Path, fingerprint: str) -> StageProgress | None:
    """Read a stage's progress back; None when there is none, or it belongs to another training.

    Raises
    ------
    OutputError
        When the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        tensors, header = unpack(path.read_bytes())
        if header.get("fingerprint") != fingerprint:
            return None
        return StageProgress.from_parts(tensors, header)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise OutputError(f"{path}: damaged checkpoint ({error}); delete it to start this stage anew") from error
