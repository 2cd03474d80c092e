"""A model as bytes: weights in safetensors, everything else as JSON in the same file. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from bids_cascade.cascade.cascade import Cascade
from bids_cascade.cascade.network import PatchNetwork, build_network
from bids_cascade.config import CascadeConfig, NetworkConfig

FORMAT = "bids_cascade model 1"
KEY = "bids_cascade"
DIGEST = "weights_sha256"


@dataclass(frozen=True)
class Model:
    """A cascade with its name, licence and origin.

    Attributes
    ----------
    cascade : Cascade
    name : str
    licence : str
        SPDX identifier or a sentence.
    provenance : mapping
        How it was trained: data, subjects, split, seeds, versions, figures. JSON values only.
    """

    cascade: Cascade
    name: str
    licence: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


def pack(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]) -> bytes:
    """Return tensors and a JSON header as the bytes of one safetensors file; equal input gives equal bytes."""
    # Copies, because safetensors refuses tensors that share memory, as the best and the latest weights may.
    copies = {name: tensors[name].contiguous().clone() for name in sorted(tensors)}
    # All under one key, because safetensors writes several in no fixed order.
    return save(copies, metadata={KEY: json.dumps({**header, DIGEST: _digest(copies)}, sort_keys=True)})


def unpack(content: bytes) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Take apart what :func:`pack` made.

    Raises
    ------
    ValueError
        When the bytes are no safetensors file, are cut off or damaged, or have no header of this app.
    """
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        header = cast(dict[str, Any], json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY]))
        digest = header.pop(DIGEST)
    except SafetensorError as error:
        raise ValueError(f"not a whole safetensors file ({error})") from error
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"a safetensors file without the header `{KEY}`, so not made by this app") from error
    if digest != _digest(tensors):
        raise ValueError("the weights are not those that were written: the file is damaged")
    return tensors, header


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 of the values of all tensors in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def to_bytes(model: Model) -> bytes:
    """Return the model as the bytes of one file; equal models give equal bytes."""
    cascade = model.cascade
    header = {
        "format": FORMAT,
        "name": model.name,
        "licence": model.licence,
        "orientation": "RAS",
        "normalisation": "brain z-score",
        "cascade": asdict(cascade.config),
        "networks": [asdict(network.config) for network in cascade.networks],
        "provenance": dict(model.provenance),
    }
    tensors = {
        f"stage{stage}.{name}": tensor
        for stage, network in enumerate(cascade.networks, start=1)
        for name, tensor in network.state_dict().items()
    }
    return pack(tensors, header)


def from_bytes(content: bytes) -> Model:
    """Read a model back.

    Raises
    ------
    ValueError
        When the bytes are no model, are cut off, or the weights do not fit the networks that they name.
    """
    tensors, header = unpack(content)
    if header.get("format") != FORMAT:
        raise ValueError(f"expected the format `{FORMAT}`, found `{header.get('format')}`")
    try:
        config = CascadeConfig(**_tuples(header["cascade"]))
        first, second = (NetworkConfig(**_tuples(one)) for one in header["networks"])
        networks = (_restore(first, tensors, 1), _restore(second, tensors, 2))
        return Model(Cascade(config, networks), header["name"], header["licence"], header["provenance"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the header and the weights do not make a model: {reason}") from error


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _restore(config: NetworkConfig, tensors: Mapping[str, torch.Tensor], stage: int) -> PatchNetwork:
    network = build_network(config, seed=0)
    prefix = f"stage{stage}."
    network.load_state_dict(
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    )
    return network.eval()
