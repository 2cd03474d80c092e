import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from bids_cascade.errors import BadDataError, MissingInputError, UsageError
from bids_cascade.models.keras_file import read_keras_weights

from .keras_files import random_layers, write_keras_file


def test_weights_are_read_by_layer_and_name(tmp_path: Path) -> None:
    layers = random_layers(3)
    read = read_keras_weights(write_keras_file(layers, tmp_path / "a.hdf5", inner="_1"))
    assert read.layers.keys() == layers.keys()
    assert not read.is_theano
    for layer, arrays in layers.items():
        assert read.layers[layer].keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(read.layers[layer][name], array)


def test_a_file_of_a_whole_model_has_them_one_folder_deeper(tmp_path: Path) -> None:
    path = tmp_path / "whole.hdf5"
    with h5py.File(path, "w") as file:
        file["model_weights/d1/d1/kernel:0"] = np.ones((2, 3))
        file["model_weights"].attrs["backend"] = "theano"
        file["optimizer_weights/Adadelta/variable:0"] = np.ones(3)
    read = read_keras_weights(path)
    assert read.is_theano
    assert {layer: list(arrays) for layer, arrays in read.layers.items()} == {"d1": ["kernel"]}


def external_link(file: h5py.File, folder: Path) -> None:
    write_keras_file(random_layers(0), folder / "elsewhere.hdf5")
    file["d1"] = h5py.ExternalLink(str(folder / "elsewhere.hdf5"), "/d1")


def soft_link(file: h5py.File, folder: Path) -> None:
    file["d1/kernel:0"] = np.ones(3)
    file["d2"] = h5py.SoftLink("/d1")


def kept_elsewhere(file: h5py.File, folder: Path) -> None:
    (folder / "secret").write_bytes(bytes(400))
    file.create_group("d1").create_dataset("kernel:0", (100,), "f4", external=[(str(folder / "secret"), 0, 400)])


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout((32,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "elsewhere.hdf5"), "x", (32,))
    file.create_group("d1").create_virtual_dataset("kernel:0", layout)


def huge(file: h5py.File, folder: Path) -> None:
    file.create_group("d1").create_dataset("kernel:0", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))


def circular(file: h5py.File, folder: Path) -> None:
    group = file.create_group("d1")
    group["again"] = group


HOSTILE = {
    "is a link": (external_link, soft_link),
    "kept in another file": (kept_elsewhere, virtual),
    "not an array of at most": (
        huge,
        lambda file, _: file.create_dataset("d1/kernel:0", data="text"),
        lambda file, _: file.create_dataset("d1/kernel:0", data=np.ones(3, int)),
        lambda file, _: file.create_dataset("d1/kernel:0", data=np.ones(0)),
        lambda file, _: file.create_dataset("d1/kernel:0", data=h5py.Empty("f4")),
    ),
    "NaN or infinite": (
        lambda file, _: file.create_dataset("d1/kernel:0", data=np.array([1, np.nan])),
        lambda file, _: file.create_dataset("d1/kernel:0", data=np.array([1e300])),
    ),
    "nested too deeply": (circular, lambda file, _: file.create_dataset("d1/a/b/c/d/e:0", data=np.ones(3))),
    "is not a group": (lambda file, _: file.create_dataset("d1", data=np.ones(3)),),
    "has kernel twice": (lambda file, _: [file.create_dataset(f"d1/{a}/kernel:0", data=np.ones(3)) for a in "ab"],),
    "it has no weights": (lambda file, _: None, lambda file, _: file.create_group("d1")),
}


@pytest.mark.parametrize("make", [(text, make) for text, some in HOSTILE.items() for make in some])
@pytest.mark.filterwarnings("error")
def test_hostile_files_are_refused_in_a_line(tmp_path: Path, make) -> None:
    message, write = make
    path = tmp_path / "hostile.hdf5"
    with h5py.File(path, "w") as file:
        write(file, tmp_path)
    with pytest.raises(BadDataError, match=rf"hostile\.hdf5: no usable Keras weights: .*{message}") as refused:
        read_keras_weights(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600


def test_what_is_no_hdf5_file_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    whole = write_keras_file(random_layers(0), tmp_path / "whole.hdf5").read_bytes()
    rng = np.random.default_rng(0)
    flipped = bytearray(whole)
    for place in rng.integers(0, 4000, 200):
        flipped[place] ^= 255
    for content in (b"", b"hello", b"\x80\x04pickle", whole[:100], whole[: len(whole) // 2], bytes(flipped)):
        path = tmp_path / "broken.hdf5"
        path.write_bytes(content)
        with pytest.raises(BadDataError, match=r"broken\.hdf5: no usable Keras weights"):
            read_keras_weights(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="does not exist"):
        read_keras_weights(tmp_path / "none.hdf5")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadDataError, match="is a named pipe"):
        read_keras_weights(tmp_path / "pipe")


def test_without_h5py_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UsageError, match=r"needs h5py.*pip install h5py"):
        read_keras_weights(tmp_path / "a.hdf5")
