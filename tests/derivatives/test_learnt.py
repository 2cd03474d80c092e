"""What a model has learnt from is written, carried along and recognised."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.derivatives.learnt import describe_source, has_learnt_from, sources_of
from bids_cascade.models.store import load_model


def visit(folder: Path, participant: str, seed: int) -> Visit:
    images = {}
    for sequence in ("T1w", "FLAIR"):
        path = folder / f"sub-{participant}_{sequence}{seed}.nii"
        data = np.random.default_rng([seed, len(sequence)]).random((12, 12, 12)).astype(np.float32)
        nib.Nifti1Image(data, np.diag([3.0, 3, 3, 1])).to_filename(path)
        images[sequence] = ImageChoice(path, "the only one")
    return Visit(participant, None, images)


@pytest.fixture
def bids_dir(tmp_path: Path) -> Path:
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "A study", "BIDSVersion": "1.10.0"}))
    return tmp_path


def test_a_visit_is_known_by_its_images_and_a_participant_by_label_and_dataset(bids_dir: Path) -> None:
    learnt = visit(bids_dir, "01", 1)
    sources = json.loads(json.dumps([describe_source(bids_dir, [learnt], ("T1w", "FLAIR"))]))
    assert (sources[0]["Dataset"], sources[0]["Participants"], len(sources[0]["ImageSHA256"])) == ("A study", ["01"], 2)
    assert has_learnt_from(learnt, "A study", sources) == "visit"
    assert has_learnt_from(visit(bids_dir, "99", 1), "renamed", sources) == "visit", "the same images by another name"
    assert has_learnt_from(visit(bids_dir, "01", 2), "A study", sources) == "participant", "another date"
    assert has_learnt_from(visit(bids_dir, "01", 2), "Another study", sources) == "no", "labels collide"
    assert has_learnt_from(visit(bids_dir, "02", 2), "A study", sources) == "no"


def test_one_sequence_is_enough(bids_dir: Path) -> None:
    learnt = visit(bids_dir, "01", 1)
    sources = [describe_source(bids_dir, [learnt], ("FLAIR",))]
    assert has_learnt_from(learnt, "elsewhere", sources) == "visit"


def test_an_image_that_can_not_be_read_is_known_by_its_participant(bids_dir: Path) -> None:
    sources = [describe_source(bids_dir, [visit(bids_dir, "01", 1)], ("T1w", "FLAIR"))]
    broken = visit(bids_dir, "01", 3)
    for choice in broken.images.values():
        choice.path.write_bytes(b"")
    assert has_learnt_from(broken, "A study", sources) == "participant"


def test_earlier_models_name_participants_alone(bids_dir: Path) -> None:
    old = {"dataset": "A study", "training_subjects": ["01"], "validation_subjects": ["02"]}
    sources = sources_of(old)
    assert sources == [{"Dataset": "A study", "Participants": ["01", "02"]}]
    assert has_learnt_from(visit(bids_dir, "02", 1), "A study", sources) == "participant"
    assert sources_of({"learnt_from": [{"Dataset": "x"}], **old}) == [{"Dataset": "x"}]
    assert sources_of({}) is None


def test_a_joined_model_has_learnt_from_what_its_parts_have() -> None:
    a, b, c = ({"Dataset": name, "Participants": ["01"]} for name in "abc")
    parts = [{"provenance": {"learnt_from": sources}} for sources in ([a, b], [b, c])]
    assert sources_of({"members": parts}) == [a, b, c]
    assert sources_of({"members": [*parts, {"provenance": {}}]}) is None


@pytest.mark.parametrize("sources", [None, "A study", {"Dataset": "A study"}])
def test_what_is_not_said_is_not_known(bids_dir: Path, sources: object) -> None:
    assert has_learnt_from(visit(bids_dir, "01", 1), "A study", sources) is None


def test_odd_sources_say_nothing(bids_dir: Path) -> None:
    odd = [3, {}, {"Dataset": "A study", "Participants": "01"}, {"ImageSHA256": [1, None]}]
    assert has_learnt_from(visit(bids_dir, "01", 1), "A study", odd) == "no"


def test_the_packaged_model_says_what_it_has_learnt_from() -> None:
    sources = sources_of(load_model().header.provenance)
    assert sources
    assert all(source["Dataset"] and source["Participants"] for source in sources)
