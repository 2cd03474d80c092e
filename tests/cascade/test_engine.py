"""The number of threads that torch uses."""

import pytest
import torch

from bids_cascade.cascade.engine import torch_threads


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="no"), torch_threads(before + 1):
        raise ValueError("no")
    assert torch.get_num_threads() == before
