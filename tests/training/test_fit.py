"""Training as a whole: what it begins with."""

import logging
from pathlib import Path

import pytest

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.padded import PaddedNetwork
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import (
    CascadeConfig,
    HeadsConfig,
    NetworkConfig,
    PaddedNetworkConfig,
    TrainConfig,
    TrainingConfig,
)
from bids_cascade.errors import BadDataError, MissingInputError
from bids_cascade.models.store import save_model
from bids_cascade.training.fit import _start_and_networks, check_start
from bids_cascade.training.provenance import _start_origin

SMALL = NetworkConfig(2, features=(3, 4), dense=(5,))
TINY = NetworkConfig(2, patch_size=7, features=(3,), dense=())


def test_a_converted_model_can_not_be_trained_further(tmp_path: Path) -> None:
    network = PaddedNetwork(PaddedNetworkConfig(2, features=(2,), dense=(2,)))
    model = Model(Ensemble((Cascade(CascadeConfig(), (network, network)),)), "theirs")
    path = save_model(model, tmp_path / "theirs.safetensors").path
    with pytest.raises(BadDataError, match=r"theirs\.safetensors: a model converted from nicMSlesions.* not trained"):
        check_start(TrainConfig("manual", start_from=path))


@pytest.mark.parametrize("missing", ["label_maps", "lesion_masks"])
def test_mistyped_sources_of_heads_are_refused_before_visits_are_preprocessed(tmp_path: Path, missing: str) -> None:
    (tmp_path / "map.nii.gz").touch()
    paths = {name: (tmp_path / "map.nii.gz",) for name in ("label_maps", "lesion_masks")}
    check_start(TrainConfig("manual", heads=HeadsConfig(**paths)))
    paths[missing] = (tmp_path / "nowhere",)
    with pytest.raises(MissingInputError, match="nowhere does not exist; expected images"):
        check_start(TrainConfig("manual", heads=HeadsConfig(**paths)))


@pytest.mark.parametrize("n", [1, 2])
def test_of_several_cascades_training_says_that_it_begins_with_the_first(tmp_path: Path, caplog, n: int) -> None:
    members = tuple(Cascade(CascadeConfig(), (build_network(TINY, i), build_network(TINY, 9))) for i in range(n))
    path = save_model(Model(Ensemble(members), "start"), tmp_path / "start.safetensors").path
    config = TrainConfig("manual", start_from=path)
    with caplog.at_level(logging.WARNING):
        check_start(config)
    assert caplog.messages == [f"{path}: training begins with the first of its 2 cascades"][: n - 1]
    assert _start_origin(config)["start"].get("cascade") == (None, "the first of 2")[n - 1]


@pytest.mark.parametrize("optional", [(), ("T1w",)])
def test_training_says_if_the_new_model_will_need_what_the_old_one_can_lack(tmp_path: Path, caplog, optional) -> None:
    cascade = Cascade(CascadeConfig(optional_sequences=("T1w",)), (build_network(TINY, 0), build_network(TINY, 1)))
    path = save_model(Model(Ensemble((cascade,)), "start"), tmp_path / "start.safetensors").path
    with caplog.at_level(logging.WARNING):
        check_start(TrainConfig("manual", CascadeConfig(optional_sequences=optional), start_from=path))
    assert [message.partition(";")[0] for message in caplog.messages] == (
        [] if optional else [f"{path} works on scans without T1w"]
    )


def test_training_goes_on_with_the_networks_of_the_model_to_start_from_or_larger_ones(tmp_path: Path) -> None:
    cascade = Cascade(CascadeConfig(), (build_network(SMALL, 0), build_network(SMALL, 1)))
    path = save_model(Model(Ensemble((cascade,)), "start"), tmp_path / "start.safetensors").path
    begun, networks = _start_and_networks(TrainConfig("manual", start_from=path))
    assert begun is not None
    assert [(network.features, network.dense) for network in networks] == [((3, 4), (5,))] * 2
    larger = {"features": (4, 6), "dense": (7, 6), "convolutions": 2}
    begun, networks = _start_and_networks(TrainConfig("manual", start_from=path, **larger))
    assert begun is not None
    assert [grown.config for grown in begun.networks] == list(networks)
    assert [(network.features, network.dense) for network in networks] == [((4, 6), (7, 6))] * 2
    assert [(network.convolutions, network.patch_size) for network in networks] == [(2, 17)] * 2
    begun, networks = _start_and_networks(TrainConfig("manual", dense=(9,)))
    assert begun is None
    assert [(network.convolutions, network.patch_size) for network in networks] == [(1, 11)] * 2
    assert [(network.features, network.dense) for network in networks] == [((32, 64), (9,))] * 2
    with pytest.raises(
        BadDataError, match=r"start\.safetensors: .*can't be grown.*--features, --dense and --convolutions"
    ):
        _start_and_networks(TrainConfig("manual", start_from=path, features=(2, 4)))


def test_stage_2_alone_is_grown_if_it_is_trained_alone_and_each_goes_on_as_it_is(tmp_path: Path) -> None:
    cascade = Cascade(CascadeConfig(), (build_network(SMALL, 0), build_network(SMALL, 1)))
    path = save_model(Model(Ensemble((cascade,)), "start"), tmp_path / "start.safetensors").path
    only = TrainingConfig(stages=(2,))
    begun, networks = _start_and_networks(TrainConfig("manual", training=only, start_from=path, features=(4, 6)))
    assert [network.features for network in networks] == [(3, 4), (4, 6)]
    assert [grown.config.features for grown in begun.networks] == [(3, 4), (4, 6)]
    unequal = save_model(Model(Ensemble((begun,)), "unequal"), tmp_path / "unequal.safetensors").path
    _, networks = _start_and_networks(TrainConfig("manual", start_from=unequal))
    assert [network.features for network in networks] == [(3, 4), (4, 6)]
