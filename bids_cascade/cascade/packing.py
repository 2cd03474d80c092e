"""Arrays and JSON in one safetensors file, and the content of a model's JSON; without torch. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bids_cascade.cascade.padded_weights import padded_shapes
from bids_cascade.config import CascadeConfig, NetworkConfig, PaddedNetworkConfig

FORMAT = "bids_cascade model 3"
_ONE_CASCADE = "bids_cascade model 2"
"""The previous format, whose files hold one cascade; it can still be read."""

KEY = "bids_cascade"
DIGEST = "content_sha256"
EARLIER_DIGEST = "weights_sha256"
"""In earlier files: of the values of the arrays alone."""

MOST_LAYERS, WIDEST, LARGEST_PATCH = 16, 4096, 99
VOXEL_SIZE_LIMITS_MM = (0.2, 10.0)
"""Beyond these limits, a header describes no model of this kind, but one that would take hours or all memory."""

_PADDED = "padded"
"""The kind of a padded network in a header; the app's own networks have none there."""

Arrays = dict[str, NDArray[Any]]
AnyNetworkConfig = NetworkConfig | PaddedNetworkConfig


@dataclass(frozen=True)
class ModelHeader:
    """The content of a model file beside its weights.

    Attributes
    ----------
    cascade : CascadeConfig
    networks : tuple of pairs of NetworkConfig or PaddedNetworkConfig
        Of the two stages of each cascade.
    name : str
    licence : str
        SPDX identifier or a sentence.
    provenance : mapping
        How it was trained: data, subjects, split, seeds, versions, figures. JSON values only.
    sealed : bool
        Whether the file's digest also covers this header, not the weights alone as in earlier files.
    """

    cascade: CascadeConfig
    networks: tuple[tuple[AnyNetworkConfig, AnyNetworkConfig], ...]
    name: str
    licence: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sealed: bool = True

    @property
    def patch_wise(self) -> bool:
        """Whether a network can only be evaluated one patch after the other."""
        return any(isinstance(network, PaddedNetworkConfig) for both in self.networks for network in both)


def pack(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> bytes:
    """Return arrays and a JSON header as the bytes of one safetensors file; equal input gives equal bytes."""
    ordered = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    header = json.loads(json.dumps(header))  # as it will be read: numeric keys become text, and sort as text
    # All under one key, because safetensors writes several in no fixed order.
    return save(ordered, metadata={KEY: json.dumps({**header, DIGEST: _digest(ordered, header)}, sort_keys=True)})


def unpack(content: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and the header that :func:`pack` wrote.

    Raises
    ------
    ValueError
        When the bytes are no safetensors file, are cut off, damaged or edited, or have no header of this app.
    """
    arrays, header, _ = _unpack(content)
    return arrays, header


def _unpack(content: bytes) -> tuple[Arrays, dict[str, Any], bool]:
    """Return arrays, header, and whether the digest covers the header, too."""
    try:
        arrays = load(content)
        size = int.from_bytes(content[:8], "little")
        header = cast(dict[str, Any], json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY]))
        sealed = DIGEST in header
        digest = header.pop(DIGEST if sealed else EARLIER_DIGEST)
    except SafetensorError as error:
        raise ValueError(f"not a complete safetensors file ({error})") from error
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"a safetensors file without the header `{KEY}`, so not made by this app") from error
    if digest != (_digest(arrays, header) if sealed else _digest_of_values(arrays)):
        raise ValueError("header or weights have changed since they were written: the file is damaged or edited")
    return arrays, header, sealed


def _digest(arrays: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all content: the header, and name, type, shape and values of each array."""
    kinds = {name: (arrays[name].dtype.str, arrays[name].shape) for name in sorted(arrays)}
    digest = hashlib.sha256(json.dumps([header, kinds], sort_keys=True).encode())
    digest.update(_digest_of_values(arrays).encode())
    return digest.hexdigest()


def _digest_of_values(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of the values of all arrays in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def prefix_of(number: int, stage: int) -> str:
    """Return how the names of a network's arrays begin in a model file; both count from 1."""
    return f"cascade{number}.stage{stage}."


def unpack_model(content: bytes) -> tuple[Arrays, ModelHeader]:
    """Return a model file's weights, as arrays, and its header.

    Raises
    ------
    ValueError
        When the bytes are no model file, are cut off, damaged or edited; when the header describes no model, or the
        weights are not those of its networks, or not finite.
    """
    arrays, header, sealed = _unpack(content)
    if header.get("format") not in (FORMAT, _ONE_CASCADE):
        raise ValueError(f"expected the format `{FORMAT}`, found `{str(header.get('format'))[:100]}`")
    try:
        of_cascades = header["networks"]
        if header["format"] == _ONE_CASCADE:
            of_cascades = [of_cascades]
            arrays = {f"cascade1.{name}": array for name, array in arrays.items()}
        networks = tuple((_network_of(first), _network_of(second)) for first, second in of_cascades)
        if not networks:
            raise ValueError("it has no cascade")
        cascade = _checked(CascadeConfig, header["cascade"])
        name, licence = (_of_type(str, header[key], key) for key in ("name", "licence"))
        provenance = _of_type(dict, header["provenance"], "provenance")
        _check_sizes(cascade, [network for both in networks for network in both])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the header does not describe a model: {_one_line(error)}") from error
    _check_weights(arrays, networks)
    return arrays, ModelHeader(cascade, networks, name, licence, provenance, sealed)


def describe_network(config: AnyNetworkConfig) -> dict[str, Any]:
    """Return a network as a header describes it."""
    return asdict(config) | ({"kind": _PADDED} if isinstance(config, PaddedNetworkConfig) else {})


def _network_of(described: Mapping[str, Any]) -> AnyNetworkConfig:
    """Return the network that a header describes."""
    if described.get("kind") == _PADDED:
        fields = {name: value for name, value in described.items() if name != "kind"}
        return cast(PaddedNetworkConfig, _checked(PaddedNetworkConfig, fields))
    return cast(NetworkConfig, _checked(NetworkConfig, described))


def _checked(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Return a dataclass of plain values, each of its declared type; missing ones have their defaults."""
    types = get_type_hints(kind)
    unknown = sorted(set(values) - set(types))
    if unknown:
        raise ValueError(f"{unknown[0]} is unknown to this version")
    return kind(**{name: _of_type(types[name], value, name) for name, value in values.items()})


def _of_type(kind: Any, value: Any, name: str) -> Any:
    """Return a JSON value as a field's declared type: text, an object, a bool, a finite number, or a tuple of these."""
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or len(value) > MOST_LAYERS:
            raise ValueError(f"{name} is {_shown(value)}; expected a list of at most {MOST_LAYERS}")
        return tuple(_of_type(get_args(kind)[0], item, name) for item in value)
    fits = isinstance(value, (int, float) if kind is float else kind) and isinstance(value, bool) == (kind is bool)
    if not fits or (kind in (int, float) and not math.isfinite(value)):
        raise ValueError(f"{name} is {_shown(value)}; expected {'a finite number' if kind is float else kind.__name__}")
    return float(value) if kind is float else value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _one_line(error: Exception) -> str:
    reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
    return reason.splitlines()[0] if reason else type(error).__name__


def _check_sizes(cascade: CascadeConfig, networks: Sequence[AnyNetworkConfig]) -> None:
    """Raise ValueError for sizes that no network of this kind has."""
    low, high = VOXEL_SIZE_LIMITS_MM
    if not low <= cascade.voxel_size_mm <= high:
        raise ValueError(f"the voxel size is {cascade.voxel_size_mm:g} mm; expected {low:g} to {high:g} mm")
    for network in networks:
        if network.n_channels != len(cascade.sequences):
            raise ValueError(f"a network takes {network.n_channels} channels of {len(cascade.sequences)} sequences")
        dropout, widths = 0.0, (*network.features, *network.dense)
        if isinstance(network, NetworkConfig):
            numbers = (*network.scales, network.kernel_size, network.pool_size, network.convolutions)
            dropout, widths = network.dropout, (*widths, *numbers)
            if not network.scales or len(set(network.scales)) < len(network.scales):
                raise ValueError(f"the scales are {network.scales}; expected different ones")
        if not network.features or not all(1 <= width <= WIDEST for width in widths):
            raise ValueError(f"a network has the widths {_shown(widths)}; expected some, from 1 to {WIDEST}")
        if not (1 <= network.patch_size <= LARGEST_PATCH and network.patch_size % 2 and 0 <= dropout < 1):
            raise ValueError(
                f"the patch size is {network.patch_size}, the dropout {dropout}; expected an odd size up to "
                f"{LARGEST_PATCH} and 0 <= dropout < 1"
            )


def weight_shapes(network: AnyNetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's weights and statistics by their names, without building it.

    Raises
    ------
    ValueError
        When nothing of a patch is left behind the blocks.
    """
    if isinstance(network, PaddedNetworkConfig):
        return padded_shapes(network)
    shapes: dict[str, tuple[int, ...]] = {}
    widths, size = (network.n_channels, *network.features), network.patch_size
    for block, (before, after) in enumerate(pairwise(widths)):
        size = (size - network.convolutions * (network.kernel_size - 1)) // network.pool_size
        for branch in range(len(network.scales)):
            prefix = f"branches.{branch}.{block}."
            shapes[f"{prefix}convolution.weight"] = (after, before, *(network.kernel_size,) * 3)
            for name in ("convolution.bias", *(f"norm.{n}" for n in ("weight", "bias", "running_mean", "running_var"))):
                shapes[prefix + name] = (after,)
            shapes[f"{prefix}norm.num_batches_tracked"] = ()
            for number in range(network.convolutions - 1):
                shapes[f"{prefix}residuals.{number}.weight"] = (after, after, *(network.kernel_size,) * 3)
                shapes[f"{prefix}residuals.{number}.bias"] = (after,)
    if size < 1:
        raise ValueError(f"a patch of {network.patch_size} voxels is too small for {len(network.features)} blocks")
    dense = (len(network.scales) * widths[-1] * size**3, *network.dense, 2)
    for layer, (before, after) in enumerate(pairwise(dense)):
        shapes |= {f"dense.{layer}.weight": (after, before), f"dense.{layer}.bias": (after,)}
    return shapes


def _check_weights(arrays: Arrays, networks: Sequence[tuple[AnyNetworkConfig, AnyNetworkConfig]]) -> None:
    """Raise ValueError unless the arrays are the networks' weights, all of them finite."""
    expected = {
        f"{prefix_of(number, stage)}{name}": shape
        for number, both in enumerate(networks, start=1)
        for stage, network in enumerate(both, start=1)
        for name, shape in weight_shapes(network).items()
    }
    wrong = sorted(expected.keys() ^ arrays.keys())
    wrong += [name for name, shape in expected.items() if name in arrays and arrays[name].shape != shape]
    if wrong:
        actual = arrays[wrong[0]].shape if wrong[0] in arrays else "none"
        raise ValueError(
            f"the header and the weights do not make a model: {wrong[0][:100]} has the shape {actual}, expected "
            f"{expected.get(wrong[0], 'none')}"
        )
    for name, array in arrays.items():
        kind = np.int64 if name.endswith("num_batches_tracked") else np.float32
        if array.dtype != kind:
            raise ValueError(f"{name} is of the type {array.dtype}; expected {np.dtype(kind)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has weights that are NaN or infinite")
        if name.endswith("running_var") and (array < 0).any():
            raise ValueError(f"{name} has variances below 0")
