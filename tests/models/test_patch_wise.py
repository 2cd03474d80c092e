import logging
from pathlib import Path

import pytest

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.padded import PaddedNetwork
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import CascadeConfig, PaddedNetworkConfig, RunConfig
from bids_cascade.models.patch_wise import warn_of_patches
from bids_cascade.models.store import save_model


@pytest.mark.parametrize(
    ("voxel_size_mm", "n", "threads", "device", "said"),
    [
        (1.0, 1, 1, "cpu", "about 5 min a visit on 1 processor; --half-precision halves it"),
        (1.0, 2, 2, "cpu", "about 5 min a visit on 2 processors; "),
        (2.0, 1, 1, "cpu", "about 1 min a visit"),
        (1.0, 1, 1, "cuda", "less on the GPU"),
    ],
)
def test_how_long_it_will_take_is_said(tmp_path: Path, caplog, voxel_size_mm, n, threads, device, said) -> None:
    network = PaddedNetwork(PaddedNetworkConfig(2, features=(2,), dense=(2,)))
    members = (Cascade(CascadeConfig(voxel_size_mm=voxel_size_mm), (network, network)),) * n
    stored = save_model(Model(Ensemble(members), "theirs"), tmp_path / "theirs.safetensors")
    with caplog.at_level(logging.WARNING):
        warn_of_patches(stored, RunConfig(tmp_path, omp_nthreads=threads, device=device))
    (record,) = caplog.records
    assert "theirs.safetensors was converted from nicMSlesions and runs patch-wise" in record.getMessage()
    assert said in record.getMessage()
