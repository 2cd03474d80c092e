import json

import numpy as np
import pytest
from safetensors.numpy import save

from bids_cascade.cascade.cascade import Cascade, segment
from bids_cascade.cascade.model import Model, from_bytes, to_bytes
from bids_cascade.cascade.packing import FORMAT, KEY, pack, unpack, unpack_model
from bids_cascade.config import CascadeConfig

from .conftest import TINY, make_visit
from .test_inference import random_network


@pytest.fixture
def model() -> Model:
    cascade = Cascade(
        CascadeConfig(threshold=0.4, candidate_level=1.1), (random_network(TINY), random_network(TINY, 1))
    )
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


def test_the_header_is_plain_json(model) -> None:
    content = to_bytes(model)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"][KEY])
    assert header["cascade"]["sequences"] == ["T1w", "FLAIR"]
    assert header["orientation"] == "RAS"
    assert header["normalisation"] == "white matter 1"


def test_what_is_no_model_is_refused(model) -> None:
    whole = to_bytes(model)
    arrays, header = unpack(whole)
    cases = {
        "not a whole safetensors file": [b"", b"hello", whole[:1000], whole[:-1], whole + b"x"],
        "not those that were written": [whole[:-1000] + bytes(a ^ 1 for a in whole[-1000:])],
        "not made by this app": [save({"a": np.zeros(1)}), save({"a": np.zeros(1)}, {KEY: "{"})],
        f"expected the format `{FORMAT}`, found `other 9`": [pack(arrays, {**header, "format": "other 9"})],
        "the header does not describe a model": [
            pack(arrays, {"format": FORMAT}),
            pack(arrays, {**header, "cascade": {"nonsense": 1}}),
            pack(arrays, {**header, "cascade": 3}),
            pack(arrays, {**header, "cascade": {**header["cascade"], "threshold": 7}}),
            pack(arrays, {**header, "networks": header["networks"][:1]}),
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
    wide = {**header, "networks": [{**header["networks"][0], "features": [7]}] * 2}
    for content in (pack(short, header), pack(arrays, wide)):
        with pytest.raises(ValueError, match="the header and the weights do not make a model"):
            from_bytes(content)
