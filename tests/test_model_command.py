import shutil
from pathlib import Path

import numpy as np
import pytest

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import WHOLE_VOLUME, CascadeConfig, NetworkConfig
from bids_cascade.errors import BadDataError, MissingInputError, OutputError, UsageError
from bids_cascade.model_command import main
from bids_cascade.models.store import load_model, save_model
from bids_cascade.training.calibrate import labelled_visits
from tests.levels.conftest import write_tiny_dataset
from tests.models.keras_files import random_layers, write_keras_file

TINY = NetworkConfig(2, patch_size=7, features=(3,), dense=())


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    paths = []
    for name, level in (("a", 1.25), ("b", 1.125)):
        networks = build_network(TINY, 0), build_network(TINY, 1)
        model = Model(Ensemble((Cascade(CascadeConfig(candidate_level=level), networks),)), name)
        paths.append(str(save_model(model, tmp_path / f"{name}.safetensors").path))
    return paths


def test_join(models, tmp_path, capsys) -> None:
    out = tmp_path / "new" / "both.safetensors"
    chosen = ["--threshold", ".4", "--peak", ".6", "--min-volume", "3", "--calibration", ".9", "-0.2"]
    assert main(["join", *models, "--name", "both", *chosen, "--out", str(out)]) == 0
    header = load_model(out).header
    config = header.cascade
    assert (header.name, len(header.networks)) == ("both", 2)
    assert (config.threshold, config.peak_probability, config.min_lesion_volume_mm3) == (0.4, 0.6, 3)
    assert config.calibration == (0.9, -0.2)
    assert config.candidate_level == 1.25
    assert "candidate_level of b: was 1.125, is now 1.25" in capsys.readouterr().out
    assert out.with_suffix(".md").read_text().startswith("# Model card: both\n")


def test_show_prints_the_card_of_any_model(models, capsys) -> None:
    assert main(["show", models[1]]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# Model card: b\n")
    assert "FLAIR above 1.125" in said
    for arguments in (["show"], ["show", "default"]):
        assert main(arguments) == 0
        assert f"# Model card: {load_model().header.name}\n" in capsys.readouterr().out
    assert main(["show", "none.safetensors"]) == MissingInputError.exit_code
    assert "there is no such model file" in capsys.readouterr().err


def test_convert(tmp_path, capsys) -> None:
    first = str(write_keras_file(random_layers(0), tmp_path / "model_1.hdf5"))
    second = str(write_keras_file(random_layers(1), tmp_path / "model_2.hdf5", inner="_1"))
    out = tmp_path / "new" / "theirs.safetensors"
    assert main(["convert", first, second, "--name", "theirs", "--out", str(out)]) == 0
    assert "It runs patch-wise" in capsys.readouterr().out
    header = load_model(out).header
    assert (header.name, header.patch_wise, header.cascade.sequences) == ("theirs", True, ("T1w", "FLAIR"))
    assert "zero-padded convolutions (nicMSlesions): runs patch-wise only" in out.with_suffix(".md").read_text()
    (tmp_path / "cut.hdf5").write_bytes(Path(first).read_bytes()[:1000])
    for arguments, error, message in (
        ([first, second, "--out", out], OutputError, "the file exists already"),
        ([first, tmp_path / "cut.hdf5"], BadDataError, "cut.hdf5: no usable Keras weights"),
        ([first, tmp_path / "none.hdf5"], MissingInputError, "none.hdf5 does not exist"),
        ([first, second, "--sequences", "T1w"], UsageError, "take 2 sequences, found 1; name them with --sequences"),
        ([first, second, "--sequences", "T1w", "DWI"], UsageError, "expected some of"),
        ([first, second, "--voxel-size", "0"], UsageError, "expected a number above 0, found `0`"),
        ([first], UsageError, "the following arguments are required: FILE2"),
    ):
        assert main(["convert", "--out", str(tmp_path / "x.safetensors"), *map(str, arguments)]) == error.exit_code
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert not (tmp_path / "x.safetensors").exists()


def test_participants_of_two_datasets_may_have_one_label(tmp_path) -> None:
    """What is prepared of the one is kept apart from that of the other, each normalised as the model wants it."""
    whole, work, datasets = write_tiny_dataset(tmp_path / "whole"), tmp_path / "work", []
    for source in ("02", "03"):
        datasets.append(tmp_path / f"dataset{source}")
        for part in ("", "derivatives/manual"):
            target = datasets[-1] / part / "sub-02" / "anat"
            target.mkdir(parents=True)
            shutil.copy(whole / part / "dataset_description.json", datasets[-1] / part)
            for path in (whole / part / f"sub-{source}" / "anat").iterdir():
                shutil.copy(path, target / path.name.replace(source, "02"))
    config = CascadeConfig(voxel_size_mm=4.0, normalisation=WHOLE_VOLUME)
    first, second = labelled_visits(datasets, (), config, "manual", work, 1)
    assert not np.array_equal(first.lesion, second.lesion)
    for number, visit in enumerate((first, second), start=1):
        kept = np.load(work / f"dataset{number}" / "bids_cascade" / "sub_02" / "channels" / "channels.npy")
        np.testing.assert_array_equal(visit.channels, kept)
        assert (kept < -1).any()  # background; where white matter is 1, it is 0


def test_what_can_not_be_done_is_said_in_one_line_and_nothing_is_written(models, tmp_path, capsys) -> None:
    out, there = tmp_path / "new.safetensors", tmp_path / "there.safetensors"
    there.with_suffix(".md").write_text("mine")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"no model")
    for arguments, error, message in (
        ([*models, "--out", there], OutputError, "there.md: the file exists already; choose another name"),
        ([tmp_path / "none.safetensors", "--out", out], MissingInputError, "there is no such model file"),
        ([*models, cut, "--out", out], BadDataError, "cut.safetensors: not a usable model"),
        (
            [*models, "--threshold", "7", "--out", out],
            UsageError,
            "expected a probability above 0 and at most 1, found `7`",
        ),
        ([*models, "--calibration", "0", "1", "--out", out], UsageError, "expected a slope above 0"),
        (
            [*models, "--threshold", "much", "--out", out],
            UsageError,
            "--threshold: expected a probability above 0 and at most 1, found `much`",
        ),
        ([*models], UsageError, "the following arguments are required: --out; see --help"),
        ([*models, "--out", tmp_path / "new.md"], UsageError, "expected a file name that ends with .safetensors"),
        ([*models, "--out", ""], UsageError, "--out: expected a path, found nothing"),
        ([*models, "--candidate-level", "1e400", "--out", out], UsageError, "expected a number, found `1e400`"),
        ([*models, "--name", "../x", "--out", out], UsageError, "expected a name of at most 100 letters"),
        ([tmp_path, "--out", out], BadDataError, "is a folder, or a link to one; expected a regular file"),
    ):
        assert main(["join", "--name", "x", *map(str, arguments)]) == error.exit_code
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert not out.exists()
    assert there.with_suffix(".md").read_text() == "mine"
