"""Layers computed only at the voxels at which a result needs them, as products of two matrices.

Gathering a voxel's neighbours costs a quarter of such a product, so this is faster than a convolution of a whole crop
if few of its voxels are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch


def reached(needed: torch.Tensor, steps: Sequence[int]) -> torch.Tensor:
    """Return which voxels of a layer's input its result depends on, (X, Y, Z) bool.

    Parameters
    ----------
    needed : (X', Y', Z') bool tensor
        Where the result is needed.
    steps : sequence of int
        How far they lie from a voxel of the result along each axis; rising, from 0.
    """
    for axis in range(3):
        shape = list(needed.shape)
        shape[axis] += steps[-1]
        wider = torch.zeros(shape, dtype=torch.bool, device=needed.device)
        for step in steps:
            wider.narrow(axis, step, needed.shape[axis]).logical_or_(needed)
        needed = wider
    return needed


class SparseMap:
    """A feature map that is known at some voxels of its grid.

    Parameters
    ----------
    rows : (M, F) tensor
        Features of the voxels that are known, in the grid's order.
    shape : sequence of int
        Of the grid.
    row_of : (X * Y * Z,) int32 tensor, optional
        Row of each voxel of the grid that is known; without it, all are.
    """

    def __init__(self, rows: torch.Tensor, shape: Sequence[int], row_of: torch.Tensor | None = None) -> None:
        self.rows, self.shape, self.row_of = rows, tuple(shape), row_of

    @classmethod
    def of(cls, x: torch.Tensor) -> SparseMap:
        """Return the map of a whole crop, (1, F, X, Y, Z); a voxel's features should be contiguous."""
        return cls(x.permute(0, 2, 3, 4, 1).reshape(-1, x.shape[1]), x.shape[2:])

    def at(self, places: torch.Tensor) -> torch.Tensor:
        """Return the features (K, F) at indices (K,) of the flattened grid."""
        return self.rows.index_select(0, places if self.row_of is None else self.row_of.index_select(0, places))

    def convolved(
        self, needed: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dilation: int, n_rows: int
    ) -> SparseMap:
        """Return an unpadded convolution.

        Parameters
        ----------
        needed : (X', Y', Z') bool tensor
            Where it is needed.
        weight : (G, F, k, k, k) tensor
        bias : (G,) tensor
        dilation : int
        n_rows : int
            Voxels to convolve at once, so that they stay in the cache.
        """
        first = self._places(needed)
        neighbours = _offsets(range(0, weight.shape[2] * dilation, dilation), self.shape, self.rows.device)
        matrix = weight.permute(2, 3, 4, 1, 0).reshape(-1, len(bias))
        rows = bias.new_empty(len(first), len(bias))
        for start in range(0, len(first), n_rows):
            places = first[start : start + n_rows, None] + neighbours
            patches = self.at(places.flatten()).view(len(places), -1)
            torch.addmm(bias, patches, matrix, out=rows[start : start + n_rows])
        return self._known_at(needed, rows)

    def with_residual(
        self, needed: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dilation: int, n_rows: int
    ) -> SparseMap:
        """Return the map plus a convolution of its positive part; parameters are those of :meth:`convolved`."""
        positive = SparseMap(self.rows.relu(), self.shape, self.row_of)
        result = positive.convolved(needed, weight, bias, dilation, n_rows)
        centre = _offsets([weight.shape[2] // 2 * dilation], self.shape, self.rows.device)
        result.rows += self.at(self._places(needed) + centre)
        return result

    def pooled(self, needed: torch.Tensor, size: int, dilation: int) -> SparseMap:
        """Return the largest positive values, or 0, of windows of `size`^3 voxels that lie `dilation` apart."""
        return self._known_at(needed, self.largest(self._places(needed), size, dilation))

    def largest(self, first: torch.Tensor, size: int, dilation: int) -> torch.Tensor:
        """Return the same, (K, F), of windows that begin at indices (K,) of the flattened grid."""
        largest = self.rows.new_zeros(len(first), self.rows.shape[1])  # and so the ReLU is done as well
        for step in _offsets(range(0, size * dilation, dilation), self.shape, self.rows.device):
            torch.maximum(largest, self.at(first + step), out=largest)
        return largest

    def _places(self, needed: torch.Tensor) -> torch.Tensor:
        """Return where windows of this grid begin, given the voxels of the grid of a layer's result."""
        return _flat(needed.nonzero().int(), self.shape)

    def _known_at(self, needed: torch.Tensor, rows: torch.Tensor) -> SparseMap:
        row_of = torch.empty(needed.numel(), dtype=torch.int32, device=rows.device)
        row_of[needed.flatten()] = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
        return SparseMap(rows, needed.shape, row_of)


class SparseFeatures:
    """The features of patches after the last block, whose pool is computed where it is asked for.

    Parameters
    ----------
    x : SparseMap
        Of the last block before its pool.
    pool_size, dilation : int
        Of the pool.
    size, stride : int
        How many features along each axis are left of a patch, and how far apart they lie.
    """

    def __init__(self, x: SparseMap, *, pool_size: int, dilation: int, size: int, stride: int) -> None:
        self.x, self.pool_size, self.dilation = x, pool_size, dilation
        self.left = _offsets(range(0, size * stride, stride), x.shape, x.rows.device)

    def at(self, cells: torch.Tensor) -> torch.Tensor:
        """Return the features (K, F * size^3) of the patches around cells (K, 4), whose voxels are known."""
        first = _flat(cells[:, 1:].int(), self.x.shape)
        features = [self.x.largest(first + left, self.pool_size, self.dilation) for left in self.left]
        return features[0] if len(features) == 1 else torch.stack(features, 2).flatten(1)


def _flat(places: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Return the indices (K,) of places (K, 3) in a flattened grid."""
    return (places[:, 0] * shape[1] + places[:, 1]) * shape[2] + places[:, 2]


def _offsets(steps: Sequence[int], shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return the offsets in a flattened grid of voxels that are some steps away along each axis."""
    return _flat(torch.tensor(list(product(steps, repeat=3)), dtype=torch.int32, device=device), shape)
