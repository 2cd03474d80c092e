from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.training import Epoch, StageProgress
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import CascadeConfig, NetworkConfig
from bids_cascade.errors import BadDataError, MissingInputError
from bids_cascade.models.store import (
    PACKAGED_MODEL,
    load_checkpoint,
    load_ensemble,
    load_model,
    save_checkpoint,
    save_model,
)

TINY = NetworkConfig(2, patch_size=7, features=(3,), dense=())


@pytest.fixture
def model() -> Model:
    return Model(Ensemble((Cascade(CascadeConfig(), (build_network(TINY, 0), build_network(TINY, 1))),)), "tiny")


def test_round_trip(model: Model, tmp_path: Path) -> None:
    saved = save_model(model, tmp_path / "models" / "tiny.safetensors")
    loaded = load_model(saved.path)
    assert loaded.sha256 == saved.sha256
    assert len(loaded.sha256) == 64
    assert loaded.header.name == "tiny"
    assert loaded.n_weights == sum(p.numel() for net in model.ensemble.members[0].networks for p in net.parameters())
    assert load_ensemble(saved.path).config == model.ensemble.config


def test_what_is_no_model_is_not_written(model: Model, tmp_path: Path) -> None:
    (member,) = model.ensemble.members
    broken = Ensemble((replace(member, config=CascadeConfig(candidate_level=float("inf"))),))
    with pytest.raises(ValueError, match="candidate_level is inf"):
        save_model(replace(model, ensemble=broken), tmp_path / "tiny.safetensors")
    assert not (tmp_path / "tiny.safetensors").exists()


def test_the_packaged_model_is_whole_and_small() -> None:
    packaged = load_model()
    config = packaged.header.cascade
    assert config.sequences == ("T1w", "FLAIR")
    assert 0 < config.threshold < 1
    members = packaged.header.provenance.get("members", [{"provenance": packaged.header.provenance}])
    for provenance in (member["provenance"] for member in members):
        assert provenance["training_subjects"] or provenance["synthetic_heads"]["n"] > 0
    assert PACKAGED_MODEL.stat().st_size < 20e6
    assert packaged.sha256 in PACKAGED_MODEL.with_suffix(".md").read_text()


def test_bad_model_files(model: Model, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"none\.safetensors: there is no such model file"):
        load_model(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(save_model(model, tmp_path / "whole.safetensors").path.read_bytes()[:-1])
    foreign = tmp_path / "scan.nii.gz"
    foreign.write_bytes(b"\x1f\x8b" + bytes(100))
    for path in (cut, foreign):
        with pytest.raises(BadDataError, match=f"{path.name}: not a usable model: not a complete safetensors file"):
            load_model(path)


def test_an_edited_header_is_noticed_and_one_of_before_is_warned_of(model: Model, tmp_path: Path, caplog) -> None:
    saved = save_model(model, tmp_path / "tiny.safetensors")
    content = saved.path.read_bytes()
    saved.path.write_bytes(content.replace(b'peak_probability\\": 0.8', b'peak_probability\\": 0.1'))
    with pytest.raises(BadDataError, match=r"tiny\.safetensors: not a usable model: .* damaged or edited"):
        load_model(saved.path)
    assert not caplog.records
    earlier = tmp_path / "earlier.safetensors"
    earlier.write_bytes(PACKAGED_MODEL.read_bytes())
    if not load_model(earlier).header.sealed:
        assert "does not cover its header" in caplog.text


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large.safetensors"
    with large.open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(BadDataError, match=r"large\.safetensors: not a usable model: it has 3\.2 GB"):
        load_model(large)


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "stage1.safetensors"
    weights = {"a": torch.arange(3.0)}
    progress = StageProgress([Epoch(1, 10, 0.5, 0.4, 0.3)], weights, {"0.step": torch.tensor(2.0)}, True)
    assert load_checkpoint(path, "mine") is None
    save_checkpoint(progress, "mine", path)
    back = load_checkpoint(path, "mine")
    assert back is not None
    assert back.history == progress.history
    assert back.finished
    assert torch.equal(back.weights["a"], weights["a"])
    assert back.optimiser == {"0.step": torch.tensor(2.0)}
    assert load_checkpoint(path, "another training") is None


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "stage1.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(BadDataError, match=r"stage1\.safetensors: damaged checkpoint .* delete it"):
        load_checkpoint(path, "mine")
