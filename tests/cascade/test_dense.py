"""Layers at every voxel, beside torch's own and by hand."""

import pytest
import torch

from bids_cascade.cascade.dense import coarse_cells, gather, max_pool

CASES = [(size, dilation) for size in (1, 2, 3) for dilation in (1, 2)]


def distinct(*shape: int) -> torch.Tensor:
    """Return values of which no two are equal, in no order."""
    n = int(torch.tensor(shape).prod())
    return torch.randperm(n, generator=torch.Generator().manual_seed(0)).double().reshape(shape) / n


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("size", "dilation"), CASES)
def test_maxima_and_their_gradients_are_torchs(size: int, dilation: int, layout: torch.memory_format) -> None:
    x = distinct(2, 3, 7, 6, 8).contiguous(memory_format=layout)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    found = max_pool(ours, size, dilation)
    expected = torch.nn.functional.max_pool3d(theirs, size, stride=1, dilation=dilation)
    assert torch.equal(found, expected)
    weight = distinct(*expected.shape)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    with torch.inference_mode():
        assert torch.equal(max_pool(x, size, dilation), expected)


def test_maxima_by_hand() -> None:
    x = torch.tensor([1.0, 5, 2, 4, 3]).reshape(1, 1, 5, 1, 1)
    wide = x.expand(1, 1, 5, 3, 3).contiguous()
    assert max_pool(wide, 2, 1)[0, 0, :, 0, 0].tolist() == [5, 5, 4, 4]
    assert max_pool(wide, 2, 2)[0, 0, :, 0, 0].tolist() == [2, 5, 3]


def test_of_equal_values_the_first_has_the_gradient() -> None:
    x = torch.ones(1, 1, 3, 3, 3, requires_grad=True)
    max_pool(x, 2, 1)[0, 0, 0, 0, 0].backward()
    expected = torch.zeros(3, 3, 3)
    expected[0, 0, 0] = 1
    assert torch.equal(x.grad[0, 0], expected)


def test_numerical_gradient() -> None:
    x = distinct(1, 2, 4, 5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: max_pool(x, 2, 2), (x,), eps=1e-6)


def test_gather_by_hand() -> None:
    # Value = 1000 crop + 100 feature + 10 x + y, of a volume without depth.
    features = (
        1000 * torch.arange(2)[:, None, None, None, None]
        + 100 * torch.arange(2)[None, :, None, None, None]
        + 10 * torch.arange(5)[None, None, :, None, None]
        + torch.arange(4)[None, None, None, :, None]
        + torch.zeros(1, 1, 1, 1, 3)
    )
    cells = torch.tensor([[1, 2, 1, 0], [0, 4, 3, 2]])
    assert gather(features, cells, 1, 7).tolist() == [[1021, 1121], [43, 143]]
    # Two along each axis, two voxels apart: feature by feature, each x before y before z.
    found = gather(features, torch.tensor([[0, 1, 0, 0]]), 2, 2)[0].tolist()
    assert found == [10, 10, 12, 12, 30, 30, 32, 32, 110, 110, 112, 112, 130, 130, 132, 132]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_gather_is_what_a_patch_leaves(layout: torch.memory_format) -> None:
    features = distinct(2, 3, 6, 7, 8).contiguous(memory_format=layout)
    cells = torch.tensor([[0, 0, 0, 0], [1, 1, 2, 3], [0, 1, 2, 3]])
    found = gather(features, cells, 3, 2)
    for row, (crop, x, y, z) in zip(found, cells.tolist(), strict=True):
        patch = features[crop, :, x : x + 5 : 2, y : y + 5 : 2, z : z + 5 : 2]
        assert torch.equal(row, patch.flatten())


def test_coarse_cells_by_hand() -> None:
    voxels = torch.tensor([[0, 0, 1, 2], [0, 1, 0, 3], [1, 0, 1, 2], [0, 5, 1, 2], [0, 0, 0, 2]])
    cells, cell_of = coarse_cells(voxels, 2)
    assert sorted(cells.tolist()) == [[0, 0, 0, 1], [0, 2, 0, 1], [1, 0, 0, 1]]
    assert cells[cell_of].tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 1], [0, 2, 0, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_coarse_cells_hold_each_voxel_once(scale: int) -> None:
    generator = torch.Generator().manual_seed(0)
    voxels = torch.unique(torch.randint(0, 9, (200, 4), generator=generator), dim=0)
    cells, cell_of = coarse_cells(voxels, scale)
    expected = torch.cat([voxels[:, :1], voxels[:, 1:] // scale], 1)
    assert torch.equal(cells[cell_of], expected)
    assert len(cells) == len(torch.unique(expected, dim=0))


def test_no_voxel_lies_in_no_cell() -> None:
    cells, cell_of = coarse_cells(torch.zeros(0, 4, dtype=torch.int64), 4)
    assert cells.shape == (0, 4)
    assert cell_of.shape == (0,)
