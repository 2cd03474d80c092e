"""What is said of visits that lack a sequence: what it is, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_cascade.config import CascadeConfig, Inputs, ParticipantConfig, Selection
from bids_cascade.dataset.visits import Visit
from bids_cascade.outcomes import missing_outcome
from bids_cascade.selection.find import find_for_model

MODEL = CascadeConfig(optional_sequences=("T1w",))


def make(root: Path, *files: str) -> Path:
    """Write a dataset of empty files, which nothing reads as long as there is no choice."""
    for file in files:
        (root / file).parent.mkdir(parents=True)
        (root / file).touch()
    (root / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    return root


def find(root: Path, config: ParticipantConfig) -> list[Visit]:
    return find_for_model(Inputs(root, root / "out", Selection(), validate=False), MODEL, config)


def test_a_visit_without_t1w_is_left_out_if_all_sequences_are_required(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make(tmp_path, "sub-1/anat/sub-1_FLAIR.nii", "sub-2/ses-a/anat/sub-2_ses-a_FLAIR.nii")
    assert [visit.missing for visit in find(root, ParticipantConfig())] == [(), ()]
    assert not caplog.records
    lacking = find(root, ParticipantConfig(require_sequences=True))
    assert [missing_outcome(visit).message for visit in lacking] == [
        "not processed: no T1w image; leave out --require-sequences to process it all the same"
    ] * 2
    assert "none of the selected visits (2) has a T1w image" in caplog.text
    assert caplog.text.rstrip().endswith("leave out --require-sequences: the model does without")


def test_the_option_is_no_remedy_for_what_no_model_does_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make(tmp_path, "sub-1/anat/sub-1_T1w.nii", "sub-2/ses-a/anat/sub-2_ses-a_T2w.nii")
    one, other = find(root, ParticipantConfig(require_sequences=True))
    assert missing_outcome(one).message == ("not processed: no FLAIR image; expected sub-1_FLAIR.nii.gz in sub-1/anat")
    assert "no T1w and no FLAIR image; there is sub-2_ses-a_T2w.nii" in missing_outcome(other).message
    assert "--require-sequences" not in caplog.text
    assert "use a model that was trained on the available sequences" in caplog.text
