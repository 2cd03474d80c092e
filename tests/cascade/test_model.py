import json

import numpy as np
import pytest
import torch
from safetensors.torch import save

from bids_cascade.cascade.cascade import Cascade, segment
from bids_cascade.cascade.model import FORMAT, KEY, Model, from_bytes, pack, to_bytes, unpack
from bids_cascade.config import CascadeConfig

from .conftest import TINY, make_visit
from .test_inference import random_network


@pytest.fixture
def model() -> Model:
    cascade = Cascade(CascadeConfig(threshold=0.4, candidate_z=0.1), (random_network(TINY), random_network(TINY, 1)))
    return Model(cascade, "tiny", "CC0-1.0", {"subjects": ["a", "b"], "loss": 0.25})


def test_round_trip(model) -> None:
    back = from_bytes(to_bytes(model))
    assert back.cascade.config == model.cascade.config
    assert [network.config for network in back.cascade.networks] == [TINY, TINY]
    assert (back.name, back.licence, back.provenance) == ("tiny", "CC0-1.0", {"subjects": ["a", "b"], "loss": 0.25})
    visit = make_visit("a", 0)
    before, after = (segment(one.cascade, visit.channels, visit.brain) for one in (model, back))
    np.testing.assert_array_equal(before.first, after.first)
    np.testing.assert_array_equal(before.final, after.final)


def test_equal_models_give_equal_bytes(model) -> None:
    assert to_bytes(model) == to_bytes(from_bytes(to_bytes(model)))


def test_tensors_that_share_memory_are_packed_too() -> None:
    shared = torch.arange(3.0)
    tensors, header = unpack(pack({"a": shared, "b": shared}, {"n": 1}))
    assert torch.equal(tensors["a"], tensors["b"])
    assert header == {"n": 1}


def test_the_header_is_plain_json(model) -> None:
    content = to_bytes(model)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY])
    assert header["cascade"]["sequences"] == ["T1w", "FLAIR"]
    assert header["orientation"] == "RAS"
    assert header["normalisation"] == "brain z-score"


def test_what_is_no_model_is_refused(model) -> None:
    whole = to_bytes(model)
    tensors, header = unpack(whole)
    short = {name: tensor for name, tensor in tensors.items() if "stage2.dense" not in name}
    wide = {**header, "networks": [{**header["networks"][0], "features": [7]}] * 2}
    cases = {
        "not a whole safetensors file": [b"", b"hello", whole[:1000], whole[:-1], whole + b"x"],
        "not those that were written": [whole[:-1000] + bytes(a ^ 1 for a in whole[-1000:])],
        "not made by this app": [save({"a": torch.zeros(1)}), save({"a": torch.zeros(1)}, {KEY: "{"})],
        f"expected the format `{FORMAT}`, found `other 9`": [pack(tensors, {**header, "format": "other 9"})],
        "do not make a model": [
            pack(short, header),
            pack(tensors, wide),
            pack(tensors, {"format": FORMAT}),
            pack(tensors, {**header, "cascade": {"nonsense": 1}}),
            pack(tensors, {**header, "cascade": 3}),
            pack(tensors, {**header, "cascade": {**header["cascade"], "threshold": 7}}),
            pack(tensors, {**header, "networks": header["networks"][:1]}),
        ],
    }
    for message, contents in cases.items():
        for content in contents:
            with pytest.raises(ValueError, match=message):
                from_bytes(content)
