from dataclasses import replace
from pathlib import Path

import pytest

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model, to_bytes
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import CascadeConfig, NetworkConfig
from bids_cascade.errors import BadDataError
from bids_cascade.models.join import join_models
from bids_cascade.models.store import load_ensemble, load_model, save_model
from bids_cascade.report.card import model_card

TINY = NetworkConfig(2, patch_size=7, features=(3,), dense=())


def write(folder: Path, name: str, seed: int, *, licence: str = "MIT", **fields) -> Path:
    networks = build_network(TINY, seed), build_network(TINY, seed + 1)
    cascade = Cascade(CascadeConfig(**fields), networks)
    model = Model(Ensemble((cascade,)), name, licence, {"training_subjects": [f"sub{seed}"]})
    return save_model(model, folder / f"{name}.safetensors").path


def test_members_keep_their_weights_and_share_the_configuration(tmp_path: Path) -> None:
    paths = write(tmp_path, "a", 0), write(tmp_path, "b", 10, licence="CC0-1.0", candidate_level=1.125)
    joined = join_models(paths, "both", threshold=0.3, calibration=(0.8, -0.1))
    assert joined.ensemble.config == CascadeConfig(threshold=0.3, calibration=(0.8, -0.1))
    for member, path in zip(joined.ensemble.members, paths, strict=True):
        alone = load_ensemble(path).members[0]
        same = Model(Ensemble((replace(member, config=alone.config),)), "x"), Model(Ensemble((alone,)), "x")
        assert to_bytes(same[0]) == to_bytes(same[1])
    assert (joined.name, joined.licence) == ("both", "MIT; CC0-1.0")
    first, second = joined.provenance["members"]
    assert (first["name"], first["sha256"]) == ("a", load_model(paths[0]).sha256)
    assert first["provenance"] == {"training_subjects": ["sub0"]}
    assert first["changed"] == {"threshold": 0.5, "calibration": (1.0, 0.0)}
    assert second["changed"] == {"threshold": 0.5, "calibration": (1.0, 0.0), "candidate_level": 1.125}


def test_what_was_joined_can_be_joined_again(tmp_path: Path) -> None:
    paths = [write(tmp_path, name, seed, threshold=0.7) for name, seed in (("a", 0), ("b", 10), ("c", 20))]
    both = save_model(join_models(paths[:2], "both", threshold=0.4), tmp_path / "both.safetensors")
    joined = join_models([both.path, paths[2]], "all", threshold=0.3)
    at_once = join_models(paths, "all", threshold=0.3)
    assert to_bytes(joined) == to_bytes(at_once), "each part says what it was alone"


def test_the_card_says_what_each_part_says(tmp_path: Path) -> None:
    paths = write(tmp_path, "a", 0), write(tmp_path, "b", 10, threshold=0.25)
    stored = save_model(join_models(paths, "both", calibration=(0.8, -0.1)), tmp_path / "both.safetensors")
    card = model_card(stored)
    for line in (
        "- 2 cascades, averaged, of two networks each: patch 7³",
        "- Calibration: probability p becomes sigmoid(0.8 logit(p) - 0.1)",
        "### a",
        "### b",
        "- Alone it had: calibration 1, 0, threshold 0.25",
        "- training subjects: sub10",
    ):
        assert line in card
    assert card.count("#### Accuracy") == 2
    assert card.endswith("Not a medical device; for research only.\n")


def test_models_of_other_sequences_or_voxels_are_not_joined(tmp_path: Path) -> None:
    first = write(tmp_path, "a", 0)
    with pytest.raises(BadDataError, match=r"b\.safetensors: its voxel_size_mm is 2\.0; expected 1\.0, as in .*a\.saf"):
        join_models([first, write(tmp_path, "b", 1, voxel_size_mm=2.0)], "both")
    other = write(tmp_path, "c", 2, sequences=("FLAIR", "T1w"))
    with pytest.raises(BadDataError, match=r"c\.safetensors: its sequences is .*; expected \('T1w', 'FLAIR'\)"):
        join_models([first, other], "both")


def test_models_that_normalise_otherwise_are_not_joined(tmp_path: Path) -> None:
    paths = write(tmp_path, "a", 0), write(tmp_path, "b", 10, normalisation="whole-volume z-score")
    with pytest.raises(BadDataError, match="its normalisation is whole-volume z-score; expected white matter 1"):
        join_models(paths, "both")
