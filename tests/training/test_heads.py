"""Synthetic heads to train on: made once, the same in any number of processes, normalised."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cascade.normalisation import normalise
from bids_cascade.config import CascadeConfig, HeadsConfig, TrainConfig
from bids_cascade.errors import BadDataError, BidsCascadeError, MissingInputError
from bids_cascade.imaging.anatomies import load_anatomy, load_patient
from bids_cascade.models.store import load_model
from bids_cascade.synthesis.anatomy import Tissue
from bids_cascade.synthesis.head import make_training_head
from bids_cascade.training import heads
from bids_cascade.training.heads import find_images, make_heads, map_heads
from bids_cascade.training.recipe import recipe_of

from ..levels.test_cross_validation import train
from ..synthesis.conftest import make_labels

BOTH = ("T1w", "FLAIR")


@pytest.fixture(scope="module")
def config(sources: Path) -> HeadsConfig:
    return HeadsConfig((sources / "maps",), (sources / "masks",), 3, 4)


@pytest.fixture(scope="module")
def made(config: HeadsConfig, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("heads")
    return folder, *make_heads(config, BOTH, folder, 1)


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.npy"))}


def test_a_head_is_what_the_generator_makes_normalised_and_cut_out(made, sources: Path) -> None:
    _, visits, _ = made
    patients = [load_patient(sources / "masks" / "m.nii.gz")]
    expected = make_training_head(load_anatomy(sources / "maps" / "b.nii"), patients, (4, 1))
    inside = np.argwhere(expected.brain)
    box = tuple(slice(low - 2, high + 3) for low, high in zip(inside.min(axis=0), inside.max(axis=0), strict=True))
    visit = visits[1]
    np.testing.assert_array_equal(visit.brain, expected.brain[box])
    np.testing.assert_array_equal(visit.lesion, (expected.lesion & expected.brain)[box])
    channels = normalise(expected.channels, expected.brain, BOTH)[(slice(None), *box)]
    np.testing.assert_array_equal(visit.channels, channels.astype(np.float16))
    white = visit.channels[:, (expected.tissue[box] == Tissue.WHITE) & visit.brain & ~visit.lesion].astype(np.float32)
    assert np.allclose(np.median(white, axis=1), 1, atol=0.2)


def test_heads_are_synthetic_visits_on_disk(made) -> None:
    _, visits, _ = made
    assert len({visit.subject for visit in visits}) == 3
    for visit in visits:
        assert visit.synthetic
        assert not visit.subject.isalnum(), "as no participant's label is"
        assert isinstance(visit.channels, np.memmap)
        assert visit.channels.dtype == np.float16
        assert (visit.brain.dtype, visit.lesion.dtype) == (bool, bool)
        assert not visit.channels[:, ~visit.brain].any()
        assert not (visit.lesion & ~visit.brain).any()
        assert (visit.channels.min(), visit.channels.max()) >= (-0.5, 0)
        assert visit.channels.max() <= 4.5


def test_lesions_are_candidates(made) -> None:
    with_lesions = [visit for visit in made[1] if visit.lesion.any()]
    assert with_lesions
    for visit in with_lesions:
        assert np.median(visit.channels[1][visit.lesion]) > CascadeConfig().candidate_level


def test_heads_are_made_once(made, config: HeadsConfig, monkeypatch) -> None:
    folder, visits, fingerprint = made
    before = content_of(folder)

    def fail(*_: object) -> None:
        raise AssertionError("made anew")

    monkeypatch.setattr(heads, "_make", fail)
    again, same = make_heads(config, BOTH, folder, 1)
    assert same == fingerprint
    for one, other in zip(visits, again, strict=True):
        np.testing.assert_array_equal(one.channels, other.channels)
        assert one.subject == other.subject
    fewer, same = make_heads(replace(config, n_heads=2), BOTH, folder, 1)
    assert (len(fewer), same) == (2, fingerprint)
    assert content_of(folder) == before


def test_only_what_is_missing_is_made(made, config: HeadsConfig) -> None:
    folder, *_ = made
    before = content_of(folder)
    paths = {path.name: path for path in folder.rglob("*.npy")}
    times = {name: path.stat().st_mtime_ns for name, path in paths.items()}
    paths["head00002_brain.npy"].unlink()
    make_heads(config, BOTH, folder, 1)
    assert content_of(folder) == before
    new = {name for name, path in paths.items() if path.stat().st_mtime_ns != times[name]}
    assert new == {name for name in paths if name.startswith("head00002")}


def test_processes_change_nothing(made, config: HeadsConfig, tmp_path: Path) -> None:
    make_heads(config, BOTH, tmp_path, 2)
    assert content_of(tmp_path) == content_of(made[0])


def test_channels_come_in_the_order_asked_for(made, config: HeadsConfig, tmp_path: Path) -> None:
    one = replace(config, n_heads=1)
    for sequences, order in ((("FLAIR", "T1w"), [1, 0]), (("FLAIR",), [1])):
        (visit,), fingerprint = make_heads(one, sequences, tmp_path, 1)
        np.testing.assert_array_equal(visit.channels, made[1][0].channels[order])
        assert fingerprint != made[2]


def test_what_heads_are_made_from_is_known_by_its_hash(made, config: HeadsConfig, sources: Path, tmp_path, monkeypatch):
    monkeypatch.setattr(heads, "_make", lambda task: None)
    monkeypatch.setattr(heads, "_read", lambda task: None)
    other = tmp_path / "b.nii"
    other.write_bytes((sources / "maps" / "b.nii").read_bytes() + b"\0")
    changes = (replace(config, seed=5), replace(config, label_maps=(sources / "maps" / "a.nii.gz", other)))
    found = {make_heads(change, BOTH, tmp_path, 1)[1] for change in changes}
    assert len({*found, made[2]}) == 3
    with monkeypatch.context() as changed:
        changed.setattr(heads, "hash_sources", lambda *parts: "other code")
        assert make_heads(config, BOTH, tmp_path, 1)[1] not in {*found, made[2]}
    # Where it lies doesn't matter.
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (sources / "maps").iterdir():
        (moved / path.name).write_bytes(path.read_bytes())
    assert make_heads(replace(config, label_maps=(moved,)), BOTH, tmp_path, 1)[1] == made[2]


def test_a_recipe_is_known_by_what_its_heads_are_made_from(config: HeadsConfig, sources: Path, tmp_path: Path) -> None:
    moved = tmp_path / "masks"
    moved.mkdir()
    for path in sorted((sources / "masks").iterdir()):
        (moved / path.name).write_bytes(path.read_bytes())
    recipe = recipe_of([], TrainConfig("manual", heads=config))
    there = TrainConfig("manual", heads=replace(config, lesion_masks=(moved,)))
    assert recipe_of([], there) == recipe
    (moved / "z.nii").write_bytes(b"another")
    assert recipe_of([], there) != recipe
    assert recipe_of([], TrainConfig("manual", heads=replace(config, n_heads=config.n_heads + 1))) != recipe


def test_what_is_not_there_is_named(config: HeadsConfig, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="none does not exist; expected images, or a folder of them"):
        make_heads(replace(config, label_maps=(tmp_path / "none",)), BOTH, tmp_path, 1)
    with pytest.raises(MissingInputError, match=r"holds no \.nii or \.nii\.gz file"):
        make_heads(replace(config, lesion_masks=(tmp_path,)), BOTH, tmp_path, 1)


def test_files_and_folders_of_images(sources: Path, tmp_path: Path) -> None:
    maps, mask = tmp_path / "maps", sources / "masks" / "m.nii.gz"
    shutil.copytree(sources / "maps", maps)
    (maps / "._a.nii.gz").touch()  # as macOS leaves beside every file
    assert find_images([mask, maps]) == (mask, maps / "a.nii.gz", maps / "b.nii")


def test_what_is_no_label_map_or_mask_is_bad_data(config: HeadsConfig, tmp_path: Path) -> None:
    labels, affine = make_labels()
    labels[50, 60, 60] = 1999
    nib.Nifti1Image(labels, affine).to_filename(tmp_path / "unknown.nii.gz")
    with pytest.raises(BadDataError, match=r"unknown\.nii\.gz can't be used as a label map: .*1999"):
        make_heads(replace(config, label_maps=(tmp_path / "unknown.nii.gz",)), BOTH, tmp_path, 1)
    nib.Nifti1Image(np.zeros((9, 9, 9), np.uint8), affine).to_filename(tmp_path / "empty.nii.gz")
    with pytest.raises(BadDataError, match=r"empty\.nii\.gz"):
        make_heads(replace(config, lesion_masks=(tmp_path / "empty.nii.gz",)), BOTH, tmp_path, 1)


def die(_: int) -> None:
    import os

    os.kill(os.getpid(), 9)


def test_a_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(BidsCascadeError, match=r"a process that made heads was killed.*fewer --nprocs"):
        list(map_heads(die, [1, 2], 2))


@pytest.mark.slow
def test_training_with_heads_through_the_command_line(tiny_dataset: Path, sources: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "out", tmp_path / "work"
    few = ["--participant-label", "02", "03", "--max-epochs", "1", "--crops-per-epoch", "6", "--nprocs", "1"]
    options = ["--label-maps", str(sources / "maps"), "--lesion-masks", str(sources / "masks" / "m.nii.gz"), *few]
    assert train(tiny_dataset, out, work, *options, "--n-heads", "2") == 0
    stored = load_model(out / "models" / "tiny.safetensors")
    origin = stored.header.provenance
    assert sorted([*origin["training_subjects"], *origin["validation_subjects"]]) == ["02", "03"]
    assert origin["synthetic_heads"] == {
        "n": 2,
        "seed": 0,
        "label maps": 2,
        "lesion masks": 1,
        "insertions": 0,
        "names": ["a.nii.gz", "b.nii", "m.nii.gz"],
    }
    assert "synthetic heads" in (out / "models" / "tiny.md").read_text()
    (record,) = (out / "logs").glob("*/options.json")
    assert json.loads(record.read_text())["train"]["heads"]["n_heads"] == 2
    # The same again takes the heads, the visits and the training from the work folder.
    before, checkpoints = stored.path.read_bytes(), sorted((work / "training").iterdir())
    assert train(tiny_dataset, out, work, *options, "--n-heads", "2") == 0
    assert stored.path.read_bytes() == before
    assert sorted((work / "training").iterdir()) == checkpoints
    # Without heads, or with others, it is another training.
    assert train(tiny_dataset, out, work, *few) == 0
    assert stored.path.read_bytes() != before
    assert len(list((work / "training").iterdir())) == 2 * len(checkpoints)
