import fcntl
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bids_cascade.errors import OutputError, ReadWriteError
from bids_cascade.whole_file import HELD, clear_leftovers, hold_folder, write_whole_file


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


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Let the system refuse files of more than so many bytes, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_can_not_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_whole_file(b"old", path)
    with largest_file(10), pytest.raises(ReadWriteError, match=r"x\.json: File too large"):
        write_whole_file(b"longer than ten", path)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("x.json", b"old")]


@pytest.mark.parametrize(("number", "kind"), [(28, ReadWriteError), (122, ReadWriteError), (30, OutputError)])
def test_a_full_disk_is_told_from_one_that_takes_nothing(tmp_path: Path, monkeypatch, number: int, kind: type) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(kind, match=re.escape(os.strerror(number))):
        write_whole_file(b"new", tmp_path / "x.json")
    assert not list(tmp_path.iterdir())


LEFTOVERS = (f".{'a' * 32}.sub-01.html", f".sub-01_ses-1.{'b' * 32}")


def leave(folder: Path) -> list[Path]:
    """Leave what killed writers leave: a file, and a folder with something in it."""
    file, staging = (folder / name for name in LEFTOVERS)
    file.write_text("half")
    (staging / "sub-01").mkdir(parents=True)
    (staging / "sub-01" / "mask.nii.gz").touch()
    return [file, staging]


@pytest.mark.parametrize("held", [True, False])
def test_leftovers_go_and_what_is_being_written_stays(tmp_path: Path, held: bool) -> None:
    paths = [*leave(tmp_path), tmp_path / ".bidsignore", tmp_path / "sub-01.html", tmp_path / f".link.{'c' * 32}"]
    paths[2].touch()
    paths[3].touch()
    paths[4].symlink_to(tmp_path / "sub-01.html")
    with open(paths[0], "ab") as file, hold_folder(paths[1]):
        if held:
            fcntl.flock(file, fcntl.LOCK_EX)
            clear_leftovers(tmp_path)
            assert all(path.exists() for path in paths)
    clear_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(paths[2:])


def test_the_first_file_in_a_folder_clears_what_killed_processes_left_there(tmp_path: Path) -> None:
    left = leave(tmp_path)
    write_whole_file(b"new", tmp_path / "head00001_brain.npy")
    assert not any(path.exists() for path in left)
    assert [path.name for path in tmp_path.iterdir()] == ["head00001_brain.npy"]


def test_a_missing_folder_has_no_leftovers(tmp_path: Path) -> None:
    clear_leftovers(tmp_path / "none")
    assert not any(tmp_path.iterdir())


def test_a_folder_of_a_killed_process_is_free_again(tmp_path: Path) -> None:
    folder = tmp_path / LEFTOVERS[1]
    code = (
        "import sys, time; from pathlib import Path; from bids_cascade.whole_file import hold_folder\n"
        "held = hold_folder(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "held\n"
        clear_leftovers(tmp_path)
        assert (folder / HELD).exists()
        writer.kill()
    clear_leftovers(tmp_path)
    assert not folder.exists()
