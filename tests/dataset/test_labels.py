"""Which manual mask belongs to which visit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from bids_cascade.config import Selection
from bids_cascade.dataset.labels import find_labels, find_lesion_masks, space_of
from bids_cascade.dataset.layout import open_dataset
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.errors import InvalidDatasetError, MissingInputError
from bids_cascade.visit_key import VisitKey

VISITS = [VisitKey("1", None), VisitKey("2", "a"), VisitKey("2", "b")]
DESCRIPTION = {
    "Name": "manual",
    "BIDSVersion": "1.10.0",
    "DatasetType": "derivative",
    "GeneratedBy": [{"Name": "manual"}],
}

MakeLabels = Callable[..., Path]


@pytest.fixture
def make_labels(make_raw: Callable[..., Path], make_tree: Callable[..., Path]) -> MakeLabels:
    """Return a writer of empty files in ``derivatives/manual`` that returns the root of the raw dataset."""

    def write(*names: str, description: object = DESCRIPTION) -> Path:
        root = make_raw()
        files = dict.fromkeys(names) | ({"dataset_description.json": description} if description else {})
        make_tree(root / "derivatives" / "manual", files)
        return root

    return write


def names_of(root: Path, visits: Sequence[Visit] = VISITS, labels: str = "manual") -> dict[str, str]:
    return {visit: path.name for visit, path in find_labels(labels, root, visits).items()}


def test_masks_by_visit(make_labels: MakeLabels) -> None:
    root = make_labels(
        "sub-1/anat/sub-1_label-lesion_mask.nii",
        "sub-1/anat/sub-1_label-L_mask.json",
        "sub-2/ses-b/anat/sub-2_ses-b_space-FLAIR_label-L_mask.nii.gz",
        "sub-2/ses-a/anat/sub-2_ses-a_label-GM_mask.nii.gz",
        "sub-2/ses-a/anat/sub-2_ses-a_desc-brain_mask.nii.gz",
        "sub-2/ses-a/anat/sub-2_ses-a_label-L_probseg.nii.gz",
        "sub-3/anat/sub-3_label-L_mask.nii.gz",
    )
    expected = {
        "sub-1": "sub-1_label-lesion_mask.nii",
        "sub-2_ses-b": "sub-2_ses-b_space-FLAIR_label-L_mask.nii.gz",
    }
    assert names_of(root) == expected


def test_name_or_path(make_labels: MakeLabels, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_labels("sub-1/anat/sub-1_label-L_mask.nii.gz")
    folder = root / "derivatives" / "manual"
    monkeypatch.chdir(folder)
    assert names_of(root) == names_of(root, labels=str(folder)) == names_of(root, labels=".")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["space-FLAIR", "space-T1w", "", "space-orig"], "space-orig"),
        (["space-FLAIR", "space-T1w", ""], ""),
        (["space-FLAIR", "space-T1w", "space-A"], "space-T1w"),
        (["space-FLAIR", "space-A"], "space-FLAIR"),
        (["space-C", "space-B"], "space-B"),
    ],
)
def test_of_several_masks_by_space(make_labels: MakeLabels, names: list[str], expected: str) -> None:
    files = {name: "_".join(filter(None, ["sub-1", name, "label-L_mask.nii.gz"])) for name in names}
    root = make_labels(*(f"sub-1/anat/{file}" for file in files.values()))
    assert names_of(root) == {"sub-1": files[expected]}


def test_all_masks_of_a_visit_in_order(make_labels: MakeLabels) -> None:
    root = make_labels(*(f"sub-1/anat/sub-1_space-{space}_label-L_mask.nii.gz" for space in ("FLAIR", "T1w", "orig")))
    found = find_lesion_masks("manual", root, VISITS)
    assert {name: [space_of(path) for path in paths] for name, paths in found.items()} == {
        "sub-1": ["orig", "T1w", "FLAIR"]
    }
    assert space_of(Path("sub-1_label-L_mask.nii.gz")) is None


def test_dataset_without_description_is_read(make_labels: MakeLabels) -> None:
    root = make_labels("sub-1/anat/sub-1_label-L_mask.nii.gz", description=None)
    assert list(names_of(root)) == ["sub-1"]


def test_errors(make_labels: MakeLabels) -> None:
    root = make_labels("sub-9/anat/sub-9_label-L_mask.nii.gz")
    with pytest.raises(MissingInputError, match="no such folder"):
        names_of(root, labels="other")
    with pytest.raises(MissingInputError, match=r"no lesion mask .* 3 visits"):
        names_of(root)
    make_labels(description="{")
    with pytest.raises(InvalidDatasetError, match="JSON"):
        names_of(root)


@pytest.mark.data
@pytest.mark.parametrize(("name", "n_visits"), [("labelled-thick", 10), ("labelled-1mm", 1)])
def test_real_labels(shared_data: Path, name: str, n_visits: int) -> None:
    root = shared_data / name
    visits = find_visits(open_dataset(root, Selection()), ("T1w", "FLAIR"), Selection())
    labels = find_labels("manual", root, visits)
    assert list(labels) == [visit.name for visit in visits]
    assert len(labels) == n_visits
    assert all(path.is_file() for path in labels.values())
