"""Chooses the engine for a network: dense if possible, otherwise one patch after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from bids_cascade.cascade.inference import dense_probability
from bids_cascade.cascade.network import PatchNetwork
from bids_cascade.cascade.padded import PaddedNetwork, padded_probability

Network = PatchNetwork | PaddedNetwork
Engine = Callable[[Network, NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]


def lesion_probability(
    network: Network,
    channels: NDArray[np.float32],
    voxels: NDArray[np.bool_],
    *,
    device: str = "cpu",
    half: bool = False,
) -> NDArray[np.float32]:
    """Return the lesion probability of the given voxels, by the fastest engine for this kind of network.

    Parameters and errors are those of :func:`bids_cascade.cascade.inference.dense_probability` and
    :func:`bids_cascade.cascade.padded.padded_probability`.
    """
    if isinstance(network, PaddedNetwork):
        return padded_probability(network, channels, voxels, device=device, half=half)
    return dense_probability(network, channels, voxels, device=device, half=half)


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch use this number of threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
