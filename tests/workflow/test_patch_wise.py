"""A model converted from nicMSlesions, by the step that runs any model."""

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import WHOLE_VOLUME, CascadeConfig, PaddedNetworkConfig
from bids_cascade.models.store import save_model
from bids_cascade.workflow.interfaces import Segment
from tests.cascade.test_padded import random_padded_network

SMALL = PaddedNetworkConfig(2, features=(3, 4), dense=(5,))


def test_the_step_runs_it(tmp_path: Path, monkeypatch) -> None:
    config = CascadeConfig(candidate_level=0.5, hard_negative_probability=0.5, gate_probability=0.5)
    networks = random_padded_network(SMALL), random_padded_network(SMALL, 1)
    ensemble = Ensemble((Cascade(CascadeConfig(**{**vars(config), "normalisation": WHOLE_VOLUME}), networks),))
    stored = save_model(Model(ensemble, "theirs"), tmp_path / "theirs.safetensors")
    channels = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)
    np.save(tmp_path / "channels.npy", channels)
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4)), tmp_path / "brain.nii")
    monkeypatch.chdir(tmp_path)
    step = Segment(
        channels=str(tmp_path / "channels.npy"),
        brain=str(tmp_path / "brain.nii"),
        model=str(stored.path),
        model_sha256=stored.sha256,
    )
    outputs = step.run().outputs
    expected = segment_by_ensemble(ensemble, channels, np.ones((8, 8, 8), bool))
    assert 0 < np.count_nonzero(expected.final) < np.count_nonzero(expected.first) < 8**3
    np.testing.assert_allclose(nib.load(outputs.first_probability).get_fdata(), expected.first, atol=1e-6)
    np.testing.assert_allclose(nib.load(outputs.probability).get_fdata(), expected.final, atol=1e-6)
