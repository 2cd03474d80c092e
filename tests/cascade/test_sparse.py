"""Layers where they are needed, beside the same layers everywhere and by hand."""

import pytest
import torch

from bids_cascade.cascade.dense import DenseFeatures, max_pool
from bids_cascade.cascade.network import add_residual
from bids_cascade.cascade.sparse import SparseFeatures, SparseMap, reached

from .test_dense import distinct

GRID = (18, 19, 20)


def some_of(shape: tuple[int, ...], n: int = 40) -> torch.Tensor:
    """Return a mask with some true voxels, the first and the last among them."""
    mask = torch.zeros(shape, dtype=torch.bool)
    mask.flatten()[torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(1))[:n]] = True
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    return mask


def values_at(x: torch.Tensor, needed: torch.Tensor) -> torch.Tensor:
    """Return the features (M, F) of a whole map (1, F, X, Y, Z) at the true voxels."""
    return x[0].permute(1, 2, 3, 0)[needed]


def a_map(n_features: int, *, known_in_part: bool) -> tuple[torch.Tensor, SparseMap]:
    """Return a map of the grid with negative and positive values, and the same as rows, perhaps in another order."""
    x = (distinct(1, n_features, *GRID) - 0.5).contiguous(memory_format=torch.channels_last_3d)
    whole = SparseMap.of(x)
    if not known_in_part:
        return x, whole
    order = torch.randperm(len(whole.rows), generator=torch.Generator().manual_seed(2))
    row_of = torch.empty_like(order, dtype=torch.int32)
    row_of[order] = torch.arange(len(order), dtype=torch.int32)
    return x, SparseMap(whole.rows[order], GRID, row_of)


def test_reached_by_hand() -> None:
    needed = torch.zeros(3, 2, 2, dtype=torch.bool)
    needed[1, 0, 0] = needed[0, 1, 1] = True
    found = reached(needed, range(2))
    cube = [[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    expected = {(x + 1, y, z) for x, y, z in cube} | {(x, y + 1, z + 1) for x, y, z in cube}
    assert found.shape == (4, 3, 3)
    assert {tuple(place) for place in found.nonzero().tolist()} == expected
    line = reached(torch.ones(1, 1, 1, dtype=torch.bool), range(0, 6, 2))[:, 0, 0]
    assert line.tolist() == [True, False, True, False, True]
    assert torch.equal(reached(needed, range(1)), needed)


@pytest.mark.parametrize("known_in_part", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("n_rows", [1, 5, 10**6])
def test_a_convolution_where_needed_is_the_one_everywhere(dilation: int, n_rows: int, known_in_part: bool) -> None:
    x, known = a_map(3, known_in_part=known_in_part)
    weight, bias = distinct(4, 3, 3, 3, 3) - 0.5, distinct(4) - 0.5
    everywhere = torch.nn.functional.conv3d(x, weight, bias, dilation=dilation)
    needed = some_of(everywhere.shape[2:])
    found = known.convolved(needed, weight, bias, dilation, n_rows)
    assert len(found.rows) == needed.count_nonzero()
    torch.testing.assert_close(found.rows, values_at(everywhere, needed), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("known_in_part", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_residual_convolution_where_needed_is_the_one_everywhere(dilation: int, known_in_part: bool) -> None:
    x, known = a_map(3, known_in_part=known_in_part)
    weight, bias = distinct(3, 3, 3, 3, 3) - 0.5, distinct(3) - 0.5
    everywhere = add_residual(x, torch.nn.functional.conv3d(x.relu(), weight, bias, dilation=dilation))
    needed = some_of(everywhere.shape[2:])
    found = known.with_residual(needed, weight, bias, dilation, 7)
    torch.testing.assert_close(found.rows, values_at(everywhere, needed), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("known_in_part", [False, True])
@pytest.mark.parametrize(("size", "dilation"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_a_pool_where_needed_is_the_one_everywhere(size: int, dilation: int, known_in_part: bool) -> None:
    x, known = a_map(3, known_in_part=known_in_part)
    everywhere = max_pool(x, size, dilation).relu()
    needed = some_of(everywhere.shape[2:])
    assert torch.equal(known.pooled(needed, size, dilation).rows, values_at(everywhere, needed))


@pytest.mark.parametrize("known_in_part", [False, True])
@pytest.mark.parametrize(("pool_size", "size", "dilation"), [(2, 1, 2), (2, 2, 1), (3, 2, 2), (1, 1, 1)])
def test_features_of_patches_are_those_that_are_computed_everywhere(
    pool_size: int, size: int, dilation: int, known_in_part: bool
) -> None:
    x, known = a_map(4, known_in_part=known_in_part)
    stride = pool_size * dilation
    everywhere = DenseFeatures(max_pool(x, pool_size, dilation).relu(), size, stride)
    found = SparseFeatures(known, pool_size=pool_size, dilation=dilation, size=size, stride=stride)
    cells = torch.tensor([[0, 0, 0, 0], [0, 1, 2, 0], [0, 2, 1, 3], [0, 1, 2, 1]])
    for some in (cells, cells[2:]):
        assert torch.equal(found.at(some), everywhere.at(some))


def test_layer_after_layer_needs_only_what_it_reaches() -> None:
    """What is known nowhere else is not asked for: rows that stand for it are never read."""
    x, whole = a_map(3, known_in_part=False)
    weight, bias = distinct(4, 3, 3, 3, 3) - 0.5, distinct(4) - 0.5
    everywhere = max_pool(torch.nn.functional.conv3d(x, weight, bias), 2, 1).relu()
    wanted = some_of(everywhere.shape[2:], n=3)
    convolved = whole.convolved(reached(wanted, range(2)), weight, bias, 1, 512)
    assert len(convolved.rows) < everywhere[0, 0].numel() / 10
    torch.testing.assert_close(convolved.pooled(wanted, 2, 1).rows, values_at(everywhere, wanted), rtol=0, atol=1e-12)
