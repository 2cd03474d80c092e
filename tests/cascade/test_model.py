import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.model import Model, from_bytes, to_bytes
from bids_cascade.cascade.packing import FORMAT, KEY, pack, unpack, unpack_model
from bids_cascade.cascade.two_stage import Cascade, segment
from bids_cascade.config import CascadeConfig, PaddedNetworkConfig

from .conftest import TINY, make_visit
from .test_inference import random_network
from .test_padded import random_padded_network

PADDED = PaddedNetworkConfig(2, features=(2, 3), dense=(4,))


@pytest.fixture
def model() -> Model:
    cascade = Cascade(
        CascadeConfig(threshold=0.4, candidate_level=1.1), (random_network(TINY), random_network(TINY, 1))
    )
    return Model(Ensemble((cascade,)), "tiny", "CC0-1.0", {"subjects": ["a", "b"], "loss": 0.25})


def test_round_trip(model) -> None:
    back = from_bytes(to_bytes(model))
    assert back.ensemble.config == model.ensemble.config
    assert [network.config for network in back.ensemble.members[0].networks] == [TINY, TINY]
    assert (back.name, back.licence, back.provenance) == ("tiny", "CC0-1.0", {"subjects": ["a", "b"], "loss": 0.25})
    visit = make_visit("a", 0)
    before, after = (segment_by_ensemble(one.ensemble, visit.channels, visit.brain) for one in (model, back))
    np.testing.assert_array_equal(before.first, after.first)
    np.testing.assert_array_equal(before.final, after.final)


def test_several_cascades_keep_their_order_and_their_own_networks(model) -> None:
    other = replace(TINY, features=(4,))
    config = model.ensemble.config
    second = Cascade(config, (random_network(other, 2), random_network(other, 3)))
    both = replace(model, ensemble=Ensemble((*model.ensemble.members, second)))
    back = from_bytes(to_bytes(both)).ensemble
    assert [network.config for one in back.members for network in one.networks] == [TINY, TINY, other, other]
    visit = make_visit("a", 0)
    for before, after in zip(both.ensemble.members, back.members, strict=True):
        one, two = (segment(cascade, visit.channels, visit.brain) for cascade in (before, after))
        np.testing.assert_array_equal(one.first, two.first)
        np.testing.assert_array_equal(one.final, two.final)


def test_padded_networks_are_kept_beside_the_app_s_own(model) -> None:
    networks = random_padded_network(PADDED), random_padded_network(PADDED, 1)
    both = replace(model, ensemble=Ensemble((*model.ensemble.members, Cascade(model.ensemble.config, networks))))
    content = to_bytes(both)
    back = from_bytes(content)
    assert [one.config for one in back.ensemble.members[1].networks] == [PADDED, PADDED]
    assert to_bytes(back) == content
    for before, after in zip(networks, back.ensemble.members[1].networks, strict=True):
        for name, value in before.state_dict().items():
            assert torch.equal(value, after.state_dict()[name])
    assert [unpack_model(one)[1].patch_wise for one in (content, to_bytes(model))] == [True, False]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kind", "other", "kind is unknown to this version"),
        ("features", [10**6], "from 1 to 4096"),
        ("features", [], "expected some"),
        ("patch_size", 4, "patch size"),
        ("patch_size", 3, "too small"),
        ("n_channels", 3, "takes 3 channels of 2"),
        ("scales", [1], "scales is unknown"),
    ],
)
def test_hostile_padded_networks_are_refused(model, field: str, value, message: str) -> None:
    networks = random_padded_network(PADDED), random_padded_network(PADDED, 1)
    padded = replace(model, ensemble=Ensemble((Cascade(model.ensemble.config, networks),)))
    arrays, header = unpack(to_bytes(padded))
    content = pack(arrays, {**header, "networks": [[{**header["networks"][0][0], field: value}] * 2]})
    with pytest.raises(ValueError, match=message):
        unpack_model(content)


def test_files_of_the_format_before_hold_one_cascade(model) -> None:
    arrays, header = unpack(to_bytes(model))
    del header["cascade"]["calibration"]
    before = {**header, "format": "bids_cascade model 2", "networks": header["networks"][0]}
    content = pack({name.removeprefix("cascade1."): array for name, array in arrays.items()}, before)
    assert to_bytes(from_bytes(content)) == to_bytes(model)


def test_equal_models_give_equal_bytes(model) -> None:
    assert to_bytes(model) == to_bytes(from_bytes(to_bytes(model)))


def test_the_header_is_plain_json(model) -> None:
    content = to_bytes(model)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY])
    assert header["cascade"]["sequences"] == ["T1w", "FLAIR"]
    assert header["orientation"] == "RAS"
    assert header["cascade"]["normalisation"] == "white matter 1"


def test_what_is_no_model_is_refused(model) -> None:
    whole = to_bytes(model)
    arrays, header = unpack(whole)
    cases = {
        "not a complete safetensors file": [b"", b"hello", whole[:1000], whole[:-1], whole + b"x"],
        "have changed since they were written": [whole[:-1000] + bytes(a ^ 1 for a in whole[-1000:])],
        "not made by this app": [save({"a": np.zeros(1)}), save({"a": np.zeros(1)}, {KEY: "{"})],
        f"expected the format `{FORMAT}`, found `other 9`": [pack(arrays, {**header, "format": "other 9"})],
        "the header does not describe a model": [
            pack(arrays, {"format": FORMAT}),
            pack(arrays, {**header, "cascade": {"nonsense": 1}}),
            pack(arrays, {**header, "cascade": 3}),
            pack(arrays, {**header, "cascade": {**header["cascade"], "threshold": 7}}),
            pack(arrays, {**header, "networks": [header["networks"][0][:1]]}),
            pack(arrays, {**header, "networks": header["networks"][0]}),
            pack(arrays, {**header, "networks": []}),
            pack(arrays, {**header, "cascade": {**header["cascade"], "calibration": [0, 1]}}),
            pack(arrays, {**header, "cascade": {**header["cascade"], "calibration": "12"}}),
        ],
    }
    for message, contents in cases.items():
        for content in contents:
            for read in (unpack_model, from_bytes):
                with pytest.raises(ValueError, match=message):
                    read(content)


def test_weights_that_do_not_fit_are_refused(model) -> None:
    arrays, header = unpack(to_bytes(model))
    short = {name: array for name, array in arrays.items() if "stage2.dense" not in name}
    more = {**arrays, "cascade1.stage3.dense.0.bias": np.zeros(2, np.float32)}
    wide = {**header, "networks": [[{**header["networks"][0][0], "features": [7]}] * 2]}
    two = {**header, "networks": header["networks"] * 2}
    for content in (pack(short, header), pack(more, header), pack(arrays, wide), pack(arrays, two)):
        for read in (unpack_model, from_bytes):
            with pytest.raises(ValueError, match="the header and the weights do not make a model"):
                read(content)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cascade1.stage1.dense.0.weight", lambda a: np.where(a == a.flat[0], np.nan, a), "NaN or infinite"),
        ("cascade1.stage2.dense.0.bias", lambda a: a + np.inf, "NaN or infinite"),
        ("cascade1.stage1.dense.0.weight", lambda a: a.astype(np.float64), "is of the type float64; expected float32"),
        ("cascade1.stage1.branches.0.0.norm.running_var", lambda a: a - 100, "variances below 0"),
    ],
)
def test_weights_that_compute_nothing_are_refused(model, name: str, change, message: str) -> None:
    arrays, header = unpack(to_bytes(model))
    changed = change(arrays[name])
    content = pack(
        {
            **arrays,
            name: changed if changed.dtype == np.float64 and "type" in message else np.asarray(changed, np.float32),
        },
        header,
    )
    for read in (unpack_model, from_bytes):
        with pytest.raises(ValueError, match=message):
            read(content)


HOSTILE = {
    "features": [
        ("ab", "expected a list"),
        ([1] * 10_000, "at most 16"),
        ([3.5], "expected int"),
        ([], "expected some"),
    ],
    "dense": [([10**9], "from 1 to 4096"), ([True], "expected int")],
    "scales": [([1, 1], "expected different ones"), ([0], "from 1 to 4096")],
    "n_channels": [(3, "takes 3 channels of 2"), ("2", "expected int")],
    "patch_size": [(10**6 + 1, "patch size"), (8, "patch size"), (None, "expected int")],
    "kernel_size": [(99, "too small"), (-3, "from 1 to 4096")],
    "dropout": [(float("nan"), "finite"), (1.0, "dropout")],
}


@pytest.mark.parametrize(
    ("field", "value", "message"), [(field, *case) for field, cases in HOSTILE.items() for case in cases]
)
def test_hostile_networks_are_refused_at_once(model, field: str, value, message: str) -> None:
    arrays, header = unpack(to_bytes(model))
    content = pack(arrays, {**header, "networks": [[{**header["networks"][0][0], field: value}] * 2]})
    began = time.process_time()
    with pytest.raises(ValueError, match=message) as refused:
        unpack_model(content)
    assert time.process_time() - began < 1
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("voxel_size_mm", 1e-6, "the voxel size is 1e-06 mm"),
        ("voxel_size_mm", float("inf"), "finite"),
        ("candidate_level", float("nan"), "finite"),
        ("threshold", "0.5", "expected a finite number"),
        ("sequences", "T1w", "expected a list"),
        ("sequences", ["T1w", ["FLAIR"]], "expected str"),
        ("peak_probability", 2, "expected 0 to 1"),
    ],
)
def test_hostile_cascades_are_refused(model, field: str, value, message: str) -> None:
    arrays, header = unpack(to_bytes(model))
    with pytest.raises(ValueError, match=f"does not describe a model: .*{message}"):
        unpack_model(pack(arrays, {**header, "cascade": {**header["cascade"], field: value}}))


def test_deep_nesting_is_one_line_too(model) -> None:
    arrays, _ = unpack(to_bytes(model))
    for depth in (2_000, 100_000):
        with pytest.raises(ValueError, match="not made by this app"):
            unpack_model(save(arrays, {KEY: "[" * depth + "]" * depth}))
