import numpy as np

from bids_cascade.cascade.packing import pack, unpack


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
