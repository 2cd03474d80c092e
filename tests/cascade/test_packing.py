import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.packing import DIGEST, EARLIER_DIGEST, KEY, pack, unpack, weight_shapes
from bids_cascade.config import NetworkConfig

from .conftest import TINY


def test_round_trip() -> None:
    arrays = {"b": np.arange(6.0, dtype=np.float32).reshape(2, 3).T, "a": np.array(3)}
    back, header = unpack(pack(arrays, {"n": 1}))
    assert header == {"n": 1}
    assert back.keys() == {"a", "b"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)


def test_arrays_that_share_memory_are_packed_too() -> None:
    shared = np.arange(3.0)
    back, _ = unpack(pack({"a": shared, "b": shared[::-1]}, {}))
    np.testing.assert_array_equal(back["a"], back["b"][::-1])


def test_the_order_of_names_does_not_matter() -> None:
    one, two = np.zeros(1), np.ones(2)
    assert pack({"a": one, "b": two}, {"x": 1, "y": 2}) == pack({"b": two, "a": one}, {"y": 2, "x": 1})


def edited(content: bytes, old: bytes, new: bytes) -> bytes:
    """Return a file in whose header something else stands, as an editor leaves it."""
    assert len(old) == len(new)
    assert content.count(old) == 1
    return content.replace(old, new)


def test_the_digest_covers_the_header_and_what_arrays_are_called() -> None:
    content = pack({"a": np.arange(4, dtype=np.float32), "b": np.ones(4, np.float32)}, {"peak_probability": 0.8})
    assert unpack(content)[1] == {"peak_probability": 0.8}
    for old, new in (
        (b'peak_probability\\": 0.8', b'peak_probability\\": 0.1'),
        (b'"a":{"dtype":"F32"', b'"c":{"dtype":"F32"'),
        (b'"a":{"dtype":"F32"', b'"a":{"dtype":"I32"'),
    ):
        with pytest.raises(ValueError, match="damaged or edited"):
            unpack(edited(content, old, new))


def test_numbers_as_keys_do_not_upset_the_digest() -> None:
    header = {"history": {number: 0.5 for number in range(1, 13)}}
    assert unpack(pack({"a": np.zeros(1)}, header))[1] == {"history": {str(n): 0.5 for n in range(1, 13)}}


def test_files_of_before_are_read_by_the_digest_of_their_values() -> None:
    array = np.arange(3.0)
    header = {"n": 1, EARLIER_DIGEST: hashlib.sha256(array.tobytes()).hexdigest()}
    back, said = unpack(save({"a": array}, {KEY: json.dumps(header)}))
    np.testing.assert_array_equal(back["a"], array)
    assert said == {"n": 1}
    with pytest.raises(ValueError, match="damaged or edited"):
        unpack(save({"a": array + 1}, {KEY: json.dumps(header)}))
    assert DIGEST != EARLIER_DIGEST


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        NetworkConfig(2),
        NetworkConfig(2, 17, convolutions=3, scales=(1,), pool_size=1),
        NetworkConfig(3, 9, (4, 5), 3, 1, (1, 3), (6, 7)),
        NetworkConfig(1, 7, (2,), dense=()),
    ],
    ids=["tiny", "default", "residual convolutions", "unpooled", "without hidden layers"],
)
def test_shapes_are_those_of_the_network(config: NetworkConfig) -> None:
    built = {name: tuple(tensor.shape) for name, tensor in build_network(config, 0).state_dict().items()}
    assert weight_shapes(config) == built
