"""Reads the weights in a Keras HDF5 file, and nothing else: no configuration, no link, no other file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bids_cascade.errors import BadDataError, UsageError
from bids_cascade.regular_file import open_regular

LARGEST_BYTES = 1 << 30
_LARGEST_WEIGHT = 1 << 24
"""Values of one array: nicMSlesions' largest has 131,072."""

_FLATTENS_LAST = (2, 2)
_WHOLE_MODEL = "model_weights"
"""Group of the weights in a file of a whole model."""


@dataclass(frozen=True, eq=False)
class KerasWeights:
    """The arrays of a file by layer and name, such as ``weights["conv1_1"]["kernel"]``.

    Attributes
    ----------
    layers : dict of dict of float32 array
    is_theano : bool
        Whether it was written by Keras on Theano, whose convolutions flip their kernels.
    flattens_last : bool
        Whether its version of Keras, 2.2 or later, flattens channels-first maps with the channels last; earlier
        versions keep them first (Keras' pull request 9696, issue 10449).
    """

    layers: dict[str, dict[str, NDArray[np.float32]]]
    is_theano: bool = False
    flattens_last: bool = False


def read_keras_weights(path: Path) -> KerasWeights:
    """Read all layers that have weights.

    Raises
    ------
    UsageError
        h5py is not installed.
    MissingInputError, ReadWriteError
        The file is missing, or can't be read.
    BadDataError
        It is no HDF5 file, is damaged, or holds links, external arrays, or arrays that are not numeric.
    """
    try:
        import h5py
    except ImportError as error:
        raise UsageError("reading Keras files needs h5py, which is not installed; run `pip install h5py`") from error
    with open_regular(path) as file:
        size = file.seek(0, 2)
        try:
            if size > LARGEST_BYTES:
                raise ValueError(f"it has {size / 1e9:.1f} GB")
            with h5py.File(file, "r") as content:
                return _read(content)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise BadDataError(
                f"{path}: no usable Keras weights: {reason}; expected a file saved by nicMSlesions, such as "
                "nets/NAME/nets/model_1.hdf5"
            ) from error


def _read(content: Any) -> KerasWeights:
    root = _child(content, _WHOLE_MODEL) if _WHOLE_MODEL in content else content
    version = re.match(r"(\d+)\.(\d+)", _text_of(root, "keras_version"))
    flattens_last = version is not None and tuple(map(int, version.groups())) >= _FLATTENS_LAST
    layers = {}
    for layer in root:
        arrays = _arrays_below(_child(root, layer), depth=3)
        if arrays:
            layers[layer] = arrays
    if not layers:
        raise ValueError("it has no weights")
    return KerasWeights(layers, _text_of(root, "backend") == "theano", flattens_last)


def _text_of(group: Any, attribute: str) -> str:
    value = group.attrs.get(attribute, "")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _arrays_below(group: Any, depth: int) -> dict[str, NDArray[np.float32]]:
    """Return the arrays of a layer by the last part of their names; the names of the groups between vary."""
    import h5py

    arrays: dict[str, NDArray[np.float32]] = {}
    if not isinstance(group, h5py.Group):
        raise ValueError(f"{group.name[:100]} is not a group of arrays")
    for name in group:
        child = _child(group, name)
        if isinstance(child, h5py.Dataset):
            new = {name.partition(":")[0]: _array_of(child)}
        elif depth:
            new = _arrays_below(child, depth - 1)
        else:
            raise ValueError(f"{child.name[:100]} is nested too deeply")
        if arrays.keys() & new.keys():
            raise ValueError(f"{group.name[:100]} has {min(new)} twice")
        arrays |= new
    return arrays


def _child(group: Any, name: str) -> Any:
    """Return a member of a group that lies in this file; links to elsewhere are not followed."""
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name[:100]} is a link")
    return group[name]


def _array_of(dataset: Any) -> NDArray[np.float32]:
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name[:100]} is kept in another file")
    if dataset.dtype.kind != "f" or not 0 < (dataset.size or 0) <= _LARGEST_WEIGHT:
        raise ValueError(f"{dataset.name[:100]} is not an array of at most {_LARGEST_WEIGHT:,} real numbers")
    with np.errstate(over="ignore"):
        array = np.asarray(dataset[()], np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f"{dataset.name[:100]} has weights that are NaN or infinite")
    return array
