import os
from pathlib import Path

import pytest

from bids_cascade.errors import OutputError, ReadWriteError
from bids_cascade.whole_file import write_whole_file


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.json"
    for content in (b"one", b"two"):
        write_whole_file(content, path)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_whole_file(b"", tmp_path / "file")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="can't create the folder"):
        write_whole_file(b"", tmp_path / "file" / "x.json")


@pytest.mark.parametrize("broken", ["replace", "write"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch, broken: str) -> None:
    path = tmp_path / "x.json"
    write_whole_file(b"old", path)

    def disk_full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    if broken == "replace":
        monkeypatch.setattr(os, "replace", disk_full)
    else:
        monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(ReadWriteError, match=r"x\.json: No space left"):
        write_whole_file(b"new", path)
    monkeypatch.undo()
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("x.json", b"old")]
