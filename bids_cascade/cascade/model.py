"""A model as the bytes of one file: weights and header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from bids_cascade.cascade.engine import Network
from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.packing import (
    FORMAT,
    AnyNetworkConfig,
    Arrays,
    describe_network,
    pack,
    prefix_of,
    unpack_model,
)
from bids_cascade.cascade.padded import PaddedNetwork
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import PaddedNetworkConfig


@dataclass(frozen=True)
class Model:
    """Cascades with their name, licence and origin; see :class:`bids_cascade.cascade.packing.ModelHeader`."""

    ensemble: Ensemble
    name: str
    licence: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


def to_bytes(model: Model) -> bytes:
    """Return the model as the bytes of one file; equal models give equal bytes."""
    members = model.ensemble.members
    header = {
        "format": FORMAT,
        "name": model.name,
        "licence": model.licence,
        "orientation": "RAS",
        "cascade": asdict(model.ensemble.config),
        "networks": [[describe_network(network.config) for network in member.networks] for member in members],
        "provenance": dict(model.provenance),
    }
    arrays = {
        f"{prefix_of(number, stage)}{name}": tensor.numpy()
        for number, member in enumerate(members, start=1)
        for stage, network in enumerate(member.networks, start=1)
        for name, tensor in network.state_dict().items()
    }
    return pack(arrays, header)


def from_bytes(content: bytes) -> Model:
    """Read a model back.

    Raises
    ------
    ValueError
        When the bytes are no model, are cut off, or the weights do not fit the networks.
    """
    arrays, header = unpack_model(content)
    try:
        members = tuple(
            Cascade(header.cascade, (_restore(first, arrays, number, 1), _restore(second, arrays, number, 2)))
            for number, (first, second) in enumerate(header.networks, start=1)
        )
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the header and the weights do not make a model: {reason}") from error
    return Model(Ensemble(members), header.name, header.licence, header.provenance)


def _restore(config: AnyNetworkConfig, arrays: Arrays, number: int, stage: int) -> Network:
    network = PaddedNetwork(config) if isinstance(config, PaddedNetworkConfig) else build_network(config, seed=0)
    prefix = prefix_of(number, stage)
    network.load_state_dict(
        {name.removeprefix(prefix): torch.tensor(array) for name, array in arrays.items() if name.startswith(prefix)}
    )
    return network.eval()
