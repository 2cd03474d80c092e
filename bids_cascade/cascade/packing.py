"""Arrays and JSON in one safetensors file, and what a model's JSON says; without torch. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bids_cascade.config import CascadeConfig, NetworkConfig

FORMAT = "bids_cascade model 2"
KEY = "bids_cascade"
DIGEST = "weights_sha256"

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class ModelHeader:
    """What a model file says beside its weights.

    Attributes
    ----------
    cascade : CascadeConfig
    networks : pair of NetworkConfig
        Of the two stages.
    name : str
    licence : str
        SPDX identifier or a sentence.
    provenance : mapping
        How it was trained: data, subjects, split, seeds, versions, figures. JSON values only.
    """

    cascade: CascadeConfig
    networks: tuple[NetworkConfig, NetworkConfig]
    name: str
    licence: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


def pack(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> bytes:
    """Return arrays and a JSON header as the bytes of one safetensors file; equal input gives equal bytes."""
    ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    # All under one key, because safetensors writes several in no fixed order.
    return save(ordered, metadata={KEY: json.dumps({**header, DIGEST: _digest(ordered)}, sort_keys=True)})


def unpack(content: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Take apart what :func:`pack` made.

    Raises
    ------
    ValueError
        When the bytes are no safetensors file, are cut off or damaged, or have no header of this app.
    """
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        header = cast(dict[str, Any], json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY]))
        digest = header.pop(DIGEST)
    except SafetensorError as error:
        raise ValueError(f"not a whole safetensors file ({error})") from error
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"a safetensors file without the header `{KEY}`, so not made by this app") from error
    if digest != _digest(arrays):
        raise ValueError("the weights are not those that were written: the file is damaged")
    return arrays, header


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of the values of all arrays in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def unpack_model(content: bytes) -> tuple[Arrays, ModelHeader]:
    """Take a model file apart into the arrays of its weights and what it says.

    Raises
    ------
    ValueError
        When the bytes are no model file, are cut off or damaged.
    """
    arrays, header = unpack(content)
    if header.get("format") != FORMAT:
        raise ValueError(f"expected the format `{FORMAT}`, found `{header.get('format')}`")
    try:
        first, second = (NetworkConfig(**_tuples(network)) for network in header["networks"])
        cascade = CascadeConfig(**_tuples(header["cascade"]))
        return arrays, ModelHeader(cascade, (first, second), header["name"], header["licence"], header["provenance"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the header does not describe a model: {str(error).splitlines()[0]}") from error


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
