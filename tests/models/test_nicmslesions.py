from pathlib import Path

import numpy as np
import pytest
import torch

from bids_cascade.cascade.ensemble import segment_by_ensemble
from bids_cascade.cascade.padded import padded_probability
from bids_cascade.errors import BadDataError, UsageError
from bids_cascade.models.nicmslesions import convert_nicmslesions
from bids_cascade.models.store import load_ensemble, load_model, save_model

from .keras_files import keras_probability, random_layers, write_keras_file


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Return the two files of a training; the groups of the second are called as Keras calls those."""
    return [
        write_keras_file(random_layers(0), tmp_path / "model_1.hdf5"),
        write_keras_file(random_layers(1), tmp_path / "model_2.hdf5", inner="_1"),
    ]


def noise(n_channels: int = 2, size: int = 13, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n_channels, size, size, size)).astype(np.float32)


def patches_at(channels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    padded = np.pad(channels, [(0, 0), *[(5, 5)] * 3], mode="edge")
    return np.stack([padded[:, x : x + 11, y : y + 11, z : z + 11] for x, y, z in centres])


def test_both_networks_say_what_keras_says(pair, tmp_path) -> None:
    """From the files to the engine, through a model file, against the layers written out in numpy."""
    stored = save_model(convert_nicmslesions(pair, "theirs"), tmp_path / "theirs.safetensors")
    channels, voxels = noise(), np.zeros((13, 13, 13), bool)
    centres = np.array([[0, 0, 0], [5, 4, 6], [6, 6, 6], [12, 6, 12]])
    voxels[tuple(centres.T)] = True
    for seed, network in enumerate(load_ensemble(stored.path).members[0].networks):
        expected = keras_probability(random_layers(seed), patches_at(channels, centres))
        assert expected.std() > 0.05, "a constant map would prove nothing"
        found = padded_probability(network, channels, voxels)
        np.testing.assert_allclose(found[tuple(centres.T)], expected, atol=1e-5)
        assert np.count_nonzero(found) == len(centres)
        logits = network(torch.from_numpy(patches_at(channels, centres)))
        np.testing.assert_allclose(logits.softmax(1)[:, 1].detach(), expected, atol=1e-5)


def test_the_cascade_is_theirs(pair) -> None:
    model = convert_nicmslesions(pair, "theirs")
    config, channels, brain = model.ensemble.config, noise(seed=6), np.zeros((13, 13, 13), bool)
    brain[4:8, 4:8, 4:8] = True
    found = segment_by_ensemble(model.ensemble, channels, brain)
    candidates = (channels[1] > 0.5) & brain
    assert (config.sequences, config.threshold, config.min_lesion_volume_mm3) == (("T1w", "FLAIR"), 0.5, 10)
    first = keras_probability(random_layers(0), patches_at(channels, np.argwhere(candidates)))
    np.testing.assert_allclose(found.first[candidates], first, atol=1e-5)
    assert not found.first[~candidates].any()
    passed = np.zeros_like(brain)
    passed[candidates] = first > 0.8
    assert 0 < passed.sum() < candidates.sum()
    second = keras_probability(random_layers(1), patches_at(channels, np.argwhere(passed)))
    np.testing.assert_allclose(found.final[passed], second, atol=1e-5)
    assert not found.final[~passed].any()


def test_the_file_says_that_it_runs_patch_wise_and_how_it_normalises(pair, tmp_path) -> None:
    header = save_model(convert_nicmslesions(pair, "theirs", voxel_size_mm=1.5), tmp_path / "a.safetensors").header
    assert header.patch_wise
    assert not load_model().header.patch_wise
    assert header.cascade.normalisation == "whole-volume z-score"
    assert header.cascade.min_lesion_volume_mm3 == pytest.approx(10 * 1.5**3)
    assert [one["file"] for one in header.provenance["converted_from_nicmslesions"]] == ["model_1.hdf5", "model_2.hdf5"]


def test_kernels_of_theano_are_turned_as_keras_turns_them(tmp_path) -> None:
    layers = random_layers(0)
    turned = {
        layer: {
            name: array[::-1, ::-1, ::-1] if layer.startswith("conv") and name == "kernel" else array
            for name, array in arrays.items()
        }
        for layer, arrays in layers.items()
    }
    plain = write_keras_file(layers, tmp_path / "a.hdf5")
    theano = write_keras_file(turned, tmp_path / "b.hdf5", backend="theano")
    networks = convert_nicmslesions([plain, theano], "x").ensemble.members[0].networks
    for name, value in networks[0].state_dict().items():
        torch.testing.assert_close(networks[1].state_dict()[name], value, rtol=0, atol=0)


def test_later_versions_of_keras_flatten_maps_with_the_channels_last(tmp_path) -> None:
    layers = random_layers(0)
    kernel = layers["d1"]["kernel"].reshape(64, 8, 256).swapaxes(0, 1).reshape(512, 256)
    early = write_keras_file(layers, tmp_path / "a.hdf5", version="2.1.6")
    late = write_keras_file({**layers, "d1": {**layers["d1"], "kernel": kernel}}, tmp_path / "b.hdf5", version="2.2.4")
    networks = convert_nicmslesions([early, late], "x").ensemble.members[0].networks
    for name, value in networks[0].state_dict().items():
        torch.testing.assert_close(networks[1].state_dict()[name], value, rtol=0, atol=0)


def test_three_sequences_must_be_named(tmp_path) -> None:
    path = write_keras_file(random_layers(0, n_channels=3), tmp_path / "a.hdf5")
    with pytest.raises(UsageError, match=r"take 3 sequences, found 0; .* the order T1w, its third sequence, FLAIR"):
        convert_nicmslesions([path, path], "x")
    with pytest.raises(UsageError, match="take 3 sequences, found 2"):
        convert_nicmslesions([path, path], "x", sequences=["T1w", "FLAIR"])
    model = convert_nicmslesions([path, path], "x", sequences=["T1w", "T2w", "FLAIR"])
    assert model.ensemble.config.sequences == ("T1w", "T2w", "FLAIR")
    with pytest.raises(ValueError, match="the sequences are"):
        convert_nicmslesions([path, path], "x", sequences=["T1w", "DWI", "FLAIR"])


def test_networks_of_other_sequences_are_no_pair(pair, tmp_path) -> None:
    other = write_keras_file(random_layers(0, n_channels=3), tmp_path / "three.hdf5")
    with pytest.raises(BadDataError, match=r"three\.hdf5: its network takes 3 sequences, that of .*model_1\.hdf5 2"):
        convert_nicmslesions([pair[0], other], "x")


def without(layers, layer):
    return {name: arrays for name, arrays in layers.items() if name != layer}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: without(layers, "bn_2_1"), "there is no layer bn_2_1"),
        (lambda layers: {**layers, "d3": {"kernel": layers["d3"]["kernel"]}}, "d3 has no bias but kernel, as"),
        (
            lambda layers: {**layers, "conv1_1": {"conv1_1_W": np.ones((32, 2, 3, 3, 3)), "conv1_1_b": np.ones(32)}},
            "conv1_1 has no kernel but conv1_1_W, conv1_1_b, as other versions may",
        ),
        (lambda layers: {**layers, "prelu_d2": {"alpha": np.ones((64, 1))}}, "the shape"),
        (lambda layers: {**layers, "out": {**layers["out"], "kernel": np.ones((3, 64, 2))}}, "shape"),
        (lambda layers: {**layers, "bn_1_2": {**layers["bn_1_2"], "gamma": np.float32(1)}}, "shape"),
        (lambda layers: {**layers, "conv1_1": {**layers["conv1_1"], "kernel": np.ones((3, 3))}}, "the shape"),
        (lambda layers: {**layers, "prelu_d1": {"alpha": np.ones(7)}}, r"has the shape \(7,\); expected \(256,\)"),
        (lambda layers: {**layers, "prelu_conv1_1": {"alpha": np.ones((32, 1, 1, 1))}}, "expected"),
        (
            lambda layers: {**layers, "bn_1_1": {**layers["bn_1_1"], "moving_variance": -np.ones(32)}},
            "variances below 0",
        ),
    ],
)
def test_other_networks_are_refused_in_a_line(tmp_path, change, message: str) -> None:
    path = write_keras_file(change(random_layers(0)), tmp_path / "other.hdf5")
    with pytest.raises(BadDataError, match=rf"other\.hdf5: not a network of nicMSlesions: .*{message}") as refused:
        convert_nicmslesions([path, path], "x")
    assert "\n" not in str(refused.value)
