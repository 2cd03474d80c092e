"""Opening datasets."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from bids_cascade.config import Selection
from bids_cascade.dataset import layout as module
from bids_cascade.dataset.layout import list_participants, list_visits, open_dataset
from bids_cascade.errors import InvalidDatasetError, NothingSelectedError, OutputError, ReadWriteError
from bids_cascade.visit_key import VisitKey
from bids_cascade.whole_file import hold_folder

MakeRaw = Callable[..., Path]


def relative_files(root: Path, selection: Selection | None = None, database_dir: Path | None = None) -> list[str]:
    layout = open_dataset(root, selection or Selection(), database_dir)
    return sorted(Path(file.path).relative_to(root).as_posix() for file in layout.get())


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="no such folder"):
        open_dataset(tmp_path / "nowhere", Selection())


def test_folder_without_description(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    with pytest.raises(InvalidDatasetError, match=r"no dataset_description\.json"):
        open_dataset(tmp_path, Selection())


@pytest.mark.parametrize("text", ['{"Name": ', "[1]", "\xff\xfe"])
def test_unreadable_description(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset_description.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidDatasetError, match=r"dataset_description\.json"):
        open_dataset(tmp_path, Selection())


def test_derivative_dataset_is_refused(make_raw: MakeRaw) -> None:
    description = {"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}
    root = make_raw("sub-01/anat/sub-01_T1w.nii.gz", files={"dataset_description.json": description})
    with pytest.raises(InvalidDatasetError, match="derivative"):
        open_dataset(root, Selection())


def test_dataset_without_participants(make_raw: MakeRaw) -> None:
    with pytest.raises(InvalidDatasetError, match="no participant"):
        open_dataset(make_raw(), Selection())


def test_only_anat_of_the_asked_for_is_indexed(make_raw: MakeRaw) -> None:
    root = make_raw(
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-011/anat/sub-011_T1w.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "derivatives/x/sub-01/anat/sub-01_space-T1w_FLAIR.nii.gz",
        "sourcedata/sub-01/anat/sub-01_T1w.nii.gz",
        "code/sub-01/anat/sub-01_T1w.nii.gz",
    )
    assert relative_files(root, Selection(participants=("01",))) == ["sub-01/anat/sub-01_T1w.nii.gz"]
    assert relative_files(root) == [f"sub-{x}/anat/sub-{x}_T1w.nii.gz" for x in ("01", "011", "02")]


def test_sessions_asked_for(make_raw: MakeRaw) -> None:
    names = [f"sub-01/ses-{x}/anat/sub-01_ses-{x}_T1w.nii.gz" for x in ("1", "10", "2")]
    root = make_raw(*names, "sub-02/anat/sub-02_T1w.nii.gz")
    assert relative_files(root, Selection(sessions=("1", "2"))) == [names[0], names[2]]


def test_unknown_participants_are_named_with_some_that_exist(make_raw: MakeRaw) -> None:
    root = make_raw(*(f"sub-{x:02}/anat/sub-{x:02}_T1w.nii.gz" for x in range(1, 9)))
    with pytest.raises(NothingSelectedError, match=r"no participant 77, 99 .* 01, 02, 03, 04, 05 and 3 more"):
        open_dataset(root, Selection(participants=("01", "77", "99")))


def test_unknown_session(make_raw: MakeRaw) -> None:
    root = make_raw("sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "sub-02/ses-2/anat/sub-02_ses-2_T1w.nii.gz")
    with pytest.raises(NothingSelectedError, match=r"no session 2 .* there is 1"):
        open_dataset(root, Selection(participants=("01",), sessions=("1", "2")))
    open_dataset(root, Selection(sessions=("2",)))


def test_odd_participant_folder_is_ignored(make_raw: MakeRaw, caplog: pytest.LogCaptureFixture) -> None:
    root = make_raw("sub-01/anat/sub-01_T1w.nii.gz", "sub-01_old/anat/sub-01_T1w.nii.gz")
    assert relative_files(root) == ["sub-01/anat/sub-01_T1w.nii.gz"]
    assert "sub-01_old is ignored" in caplog.text


def test_participants_in_natural_order(make_raw: MakeRaw) -> None:
    root = make_raw(*(f"sub-{x}/anat/sub-{x}_T1w.nii.gz" for x in ("p10", "p2", "3", "a")))
    assert list_participants(root) == ["3", "a", "p2", "p10"]


def test_database_is_used_again_but_never_when_stale(
    make_raw: MakeRaw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, database = make_raw("sub-01/anat/sub-01_T1w.nii.gz"), tmp_path / "database"
    first = relative_files(root, database_dir=database)
    with monkeypatch.context() as patch:
        patch.setattr(module, "index_anat", lambda *_: pytest.fail("indexed again"))
        assert relative_files(root, database_dir=database) == first
    (root / "sub-01/anat/sub-01_FLAIR.nii.gz").touch()
    assert len(relative_files(root, database_dir=database)) == 2
    (root / "sub-02/anat").mkdir(parents=True)
    (root / "sub-02/anat/sub-02_T1w.nii.gz").touch()
    assert len(relative_files(root, database_dir=database)) == 3
    assert len(relative_files(root, Selection(participants=("02",)), database)) == 1


def test_database_that_cannot_be_written(make_raw: MakeRaw, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="index"):
        open_dataset(make_raw("sub-01/anat/sub-01_T1w.nii.gz"), Selection(), tmp_path / "file" / "database")


def test_a_damaged_database_is_made_anew(make_raw: MakeRaw, tmp_path: Path, caplog) -> None:
    root, database = make_raw("sub-01/anat/sub-01_T1w.nii.gz"), tmp_path / "database"
    first = relative_files(root, database_dir=database)
    (index,) = database.glob("*/layout_index.sqlite")
    for damaged in (b"", b"no database", index.read_bytes()[:5000]):
        index.write_bytes(damaged)
        assert relative_files(root, database_dir=database) == first
        assert "rebuilding it" in caplog.text
        caplog.clear()
    relative_files(root, database_dir=database)
    assert "rebuilding it" not in caplog.text


def test_what_a_killed_run_left_in_the_database_goes(make_raw: MakeRaw, tmp_path: Path) -> None:
    root, database = make_raw("sub-01/anat/sub-01_T1w.nii.gz"), tmp_path / "database"
    left, held = (database / f".0123456789abcdef.{letter * 32}" for letter in "ab")
    left.mkdir(parents=True)
    (left / "layout_index.sqlite").touch()
    with hold_folder(held):
        relative_files(root, database_dir=database)
        assert not left.exists()
        assert held.exists()
    (index,) = database.glob("[!.]*")
    assert [path.name for path in index.iterdir() if path.name.startswith(".")] == []


def test_a_disk_that_is_full_is_named(make_raw: MakeRaw, tmp_path: Path) -> None:
    root, database = make_raw("sub-01/anat/sub-01_T1w.nii.gz"), tmp_path / "database"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(ReadWriteError, match=f"can't write the index of the dataset to {database}"):
            open_dataset(root, Selection(), database)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(database.iterdir()) == []


def test_visits_are_listed_by_names_alone(make_raw: Callable[..., Path]) -> None:
    root = make_raw(
        "sub-1/ses-b/anat/sub-1_ses-b_T1w.nii",
        "sub-1/ses-a/anat/sub-1_ses-a_run-1_FLAIR.nii.gz",
        "sub-1/ses-a/anat/sub-1_ses-a_T1w.json",
        "sub-1/ses-c/func/sub-1_ses-c_task-x_bold.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz",
        "sub-2/anat/sub-2_FLAIR.nii.gz",
        "sub-2/anat/sub-2_angio.nii.gz",
        "sub-10/ses-a/anat/notes.txt",
        "sub-11/anat",
    )
    assert list_visits(root) == {
        VisitKey("1", "a"): {"FLAIR"},
        VisitKey("1", "b"): {"T1w"},
        VisitKey("2", None): {"T1w", "FLAIR"},
        VisitKey("10", "a"): set(),
        VisitKey("11", None): set(),
    }
    assert [key.participant for key in list_visits(root)] == ["1", "1", "2", "10", "11"]


@pytest.mark.parametrize("name", ["dataset_description.json", "participants.tsv", ".bidsignore"])
def test_a_pipe_in_the_place_of_a_file_does_not_hang(make_raw: MakeRaw, name: str) -> None:
    root = make_raw("sub-1/anat/sub-1_T1w.nii.gz")
    (root / name).unlink(missing_ok=True)
    os.mkfifo(root / name)
    if name == "dataset_description.json":
        with pytest.raises(InvalidDatasetError, match="is a named pipe"):
            open_dataset(root, Selection())
        return
    assert len(open_dataset(root, Selection()).get(suffix="T1w")) == 1
    assert list_visits(root) == {VisitKey("1", None): {"T1w"}}


def test_hidden_files_make_no_visit(make_raw: MakeRaw) -> None:
    root = make_raw("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/._sub-1_FLAIR.nii.gz", "sub-2/anat/._sub-2_T1w.nii.gz")
    assert list_visits(root) == {VisitKey("1", None): {"T1w"}, VisitKey("2", None): set()}
