"""Converts the two Keras files of a nicMSlesions model (Valverde et al. 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.packing import WIDEST
from bids_cascade.cascade.padded import PaddedNetwork
from bids_cascade.cascade.padded_weights import padded_shapes
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import WHOLE_VOLUME, CascadeConfig, PaddedNetworkConfig
from bids_cascade.errors import BadDataError, UsageError
from bids_cascade.models.keras_file import KerasWeights, read_keras_weights

CHANNEL_ORDERS = {1: ("FLAIR",), 2: ("T1w", "FLAIR")}
"""By number of channels. nicMSlesions orders them as Python 2 orders the keys of a dictionary: T1, MOD3, FLAIR, or T1,
MOD4, MOD3, FLAIR; its files do not name the third and fourth sequences."""

_MORE_CHANNELS = {3: "T1w, its third sequence, FLAIR", 4: "T1w, its fourth sequence, its third, FLAIR"}

_CANDIDATE_LEVEL = 0.5
_GATE = 0.8
_THRESHOLD = 0.5
_SMALLEST_VOXELS = 10
"""Defaults of nicMSlesions: ``libs/CNN/base.py`` and ``config/default.cfg`` of its repository."""

_CONVOLUTIONS = tuple((f"conv{a}_{b}", f"bn_{a}_{b}", f"prelu_conv{a}_{b}") for a, b in product((1, 2), (1, 2)))
_DENSE = tuple((f"d{number}", f"prelu_d{number}") for number in (1, 2, 3))

Arrays = dict[str, NDArray[np.float32]]


def convert_nicmslesions(
    paths: Sequence[Path], name: str, *, sequences: Sequence[str] | None = None, voxel_size_mm: float = 1.0
) -> Model:
    """Return the cascade of two networks trained by nicMSlesions.

    Parameters
    ----------
    paths : pair of Path
        ``model_1.hdf5`` and ``model_2.hdf5``.
    name : str
        Of the new model.
    sequences : sequence of str, optional
        BIDS suffixes in channel order; by default FLAIR, or T1w and FLAIR.
    voxel_size_mm : float
        Of the scans that it was trained on, isotropic.

    Raises
    ------
    UsageError
        h5py is not installed; the sequences are missing, or their number is not that of the networks' channels.
    MissingInputError, ReadWriteError
        When a file is not there, or can't be read.
    BadDataError
        When a file holds no such network, or the two take different sequences.
    ValueError
        When a sequence is unknown, or the voxel size out of range.
    """
    networks = [_network_of(path) for path in paths]
    first, second = networks
    n_channels = first.config.n_channels
    if second.config.n_channels != n_channels:
        raise BadDataError(
            f"{paths[1]}: its network takes {second.config.n_channels} sequences, that of {paths[0]} {n_channels}; "
            "provide the two files of the same training"
        )
    config = CascadeConfig(
        sequences=_sequences_of(n_channels, sequences),
        candidate_level=_CANDIDATE_LEVEL,
        hard_negative_probability=_GATE,
        gate_probability=_GATE,
        threshold=_THRESHOLD,
        peak_probability=0.0,
        min_lesion_volume_mm3=_SMALLEST_VOXELS * voxel_size_mm**3,
        voxel_size_mm=voxel_size_mm,
        normalisation=WHOLE_VOLUME,
    )
    files = [{"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in paths]
    return Model(Ensemble((Cascade(config, (first, second)),)), name, "", {"converted_from_nicmslesions": files})


def _sequences_of(n_channels: int, sequences: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(sequences) if sequences else CHANNEL_ORDERS.get(n_channels, ())
    if len(chosen) != n_channels:
        order = _MORE_CHANNELS.get(n_channels, ", ".join(CHANNEL_ORDERS.get(n_channels, ()))) or "channel order"
        raise UsageError(
            f"the networks take {n_channels} sequences, found {len(chosen)}; name them with --sequences in the order "
            f"{order}"
        )
    return chosen


def _network_of(path: Path) -> PaddedNetwork:
    """Return the network in a file."""
    weights = read_keras_weights(path)
    try:
        arrays, config = _translate(weights)
        expected = padded_shapes(config)
        wrong = [name for name, shape in expected.items() if name in arrays and arrays[name].shape != shape]
        if wrong:
            raise ValueError(f"{wrong[0]} has the shape {arrays[wrong[0]].shape}; expected {expected[wrong[0]]}")
        if any((array < 0).any() for name, array in arrays.items() if name.endswith("running_var")):
            raise ValueError("a batch norm has variances below 0")
    except (ValueError, IndexError) as error:
        raise BadDataError(
            f"{path}: not a network of nicMSlesions: {error}; expected the layers conv1_1 to conv2_2, each with bn_ "
            "and prelu_conv, d1 to d3 with prelu_d, and out"
        ) from error
    network = PaddedNetwork(config)
    state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    state |= {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(state)
    return network.eval()


def _channels_first(weight: NDArray[np.float32], n_channels: int) -> NDArray[np.float32]:
    """Return the weights (F, C * N) of flattened maps with their channels first, given those with the channels last."""
    return weight.reshape(len(weight), -1, n_channels).swapaxes(1, 2).reshape(weight.shape)


def _take(layers: Mapping[str, Mapping[str, NDArray[np.float32]]], layer: str, name: str) -> NDArray[np.float32]:
    """Return an array of a layer."""
    if layer not in layers:
        raise ValueError(f"there is no layer {layer}")
    if name not in layers[layer]:
        raise ValueError(f"{layer} has no {name} but {', '.join(sorted(layers[layer]))[:80]}, as other versions may")
    return layers[layer][name]


def _translate(weights: KerasWeights) -> tuple[Arrays, PaddedNetworkConfig]:
    """Return Keras' arrays by this app's names and order of axes, and the network they belong to."""
    take, arrays = partial(_take, weights.layers), Arrays()
    for number, (convolution, norm, slope) in enumerate(_CONVOLUTIONS):
        kernel = take(convolution, "kernel")
        if kernel.ndim != 5:
            raise ValueError(f"the kernel of {convolution} has the shape {kernel.shape}; expected (3, 3, 3, in, out)")
        if weights.is_theano:
            kernel = kernel[::-1, ::-1, ::-1]
        prefix = f"convolutions.{number}."
        arrays[f"{prefix}convolution.weight"] = kernel.transpose(4, 3, 0, 1, 2)
        arrays[f"{prefix}convolution.bias"] = take(convolution, "bias")
        for ours, theirs in zip(
            ("weight", "bias", "running_mean", "running_var"),
            ("gamma", "beta", "moving_mean", "moving_variance"),
            strict=True,
        ):
            arrays[f"{prefix}norm.{ours}"] = take(norm, theirs)
        arrays[f"{prefix}slope"] = take(slope, "alpha")
    for number, (dense, slope) in enumerate(_DENSE):
        prefix = f"dense.{number}."
        arrays[f"{prefix}linear.weight"] = take(dense, "kernel").T
        arrays[f"{prefix}linear.bias"] = take(dense, "bias")
        arrays[f"{prefix}slope"] = take(slope, "alpha")
    if weights.flattens_last:
        n_maps = len(take(_CONVOLUTIONS[-1][0], "bias"))
        arrays["dense.0.linear.weight"] = _channels_first(arrays["dense.0.linear.weight"], n_maps)
    arrays["out.weight"], arrays["out.bias"] = take("out", "kernel").T, take("out", "bias")
    config = PaddedNetworkConfig(
        n_channels=arrays["convolutions.0.convolution.weight"].shape[1],
        patch_size=arrays["convolutions.0.slope"].shape[-1],
        features=tuple(len(arrays[f"convolutions.{number}.convolution.bias"]) for number in (0, 2)),
        dense=tuple(len(arrays[f"dense.{number}.linear.bias"]) for number in range(len(_DENSE))),
    )
    if max(config.n_channels, *config.features, *config.dense) > WIDEST or config.patch_size % 2 == 0:
        raise ValueError(f"its sizes are not those of such a network: {config}")
    return arrays, config
