"""Sizes and names of the weights of the padded network, without torch."""

from __future__ import annotations

from itertools import pairwise

from bids_cascade.config import PaddedNetworkConfig

_KERNEL = (3, 3, 3)


def map_sizes(config: PaddedNetworkConfig) -> list[int]:
    """Return the edge of the feature maps of each block, and of those after the last pool.

    Raises
    ------
    ValueError
        When nothing is left.
    """
    sizes = [config.patch_size]
    for _ in config.features:
        sizes.append(sizes[-1] // 2)
    if sizes[-1] < 1:
        raise ValueError(f"a patch of {config.patch_size} voxels is too small for {len(config.features)} blocks")
    return sizes


def padded_shapes(config: PaddedNetworkConfig) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's weights and statistics by their names, without building it.

    Raises
    ------
    ValueError
        When nothing of a patch is left behind the blocks.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    *sizes, remaining = map_sizes(config)
    for block, ((before, after), size) in enumerate(
        zip(pairwise((config.n_channels, *config.features)), sizes, strict=True)
    ):
        for number, n_in in ((2 * block, before), (2 * block + 1, after)):
            prefix = f"convolutions.{number}."
            shapes |= {f"{prefix}convolution.weight": (after, n_in, *_KERNEL), f"{prefix}convolution.bias": (after,)}
            shapes |= {f"{prefix}norm.{name}": (after,) for name in ("weight", "bias", "running_mean", "running_var")}
            shapes |= {f"{prefix}norm.num_batches_tracked": (), f"{prefix}slope": (after, size, size, size)}
    widths = (config.features[-1] * remaining**3, *config.dense)
    for layer, (n_in, n_out) in enumerate(pairwise(widths)):
        prefix = f"dense.{layer}."
        shapes |= {f"{prefix}linear.weight": (n_out, n_in), f"{prefix}linear.bias": (n_out,)}
        shapes[f"{prefix}slope"] = (n_out,)
    return shapes | {"out.weight": (2, widths[-1]), "out.bias": (2,)}
