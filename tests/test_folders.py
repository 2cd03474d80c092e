"""Where the work folder is when nothing is said, and that nothing is written outside of it."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bids_cascade import folders
from bids_cascade.errors import OutputError, ReadWriteError, UsageError
from bids_cascade.folders import contained, make_work_dir


@pytest.fixture
def no_temporary(monkeypatch) -> None:
    """As in a container without any writable temporary folder."""
    monkeypatch.setattr(folders, "system_temporary", lambda: None)


def test_the_default_is_in_the_temporary_folder_and_found_again(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(folders, "system_temporary", lambda: tmp_path)
    first, again, other = (make_work_dir(None, tmp_path / "in", tmp_path / out) for out in ("a", "a", "b"))
    assert first == again != other
    assert first.parent == tmp_path
    assert first.name.startswith(f"bids_cascade_{os.getuid()}_")
    assert first.is_dir()


def test_a_small_temporary_folder_is_passed_over(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(folders, "system_temporary", lambda: tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"free": 64 << 20}))
    assert make_work_dir(None, tmp_path / "in", tmp_path / "out") == tmp_path / "out_work"


def test_a_folder_that_another_user_has_put_there_is_passed_over(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(folders, "system_temporary", lambda: tmp_path)
    planted = make_work_dir(None, tmp_path / "in", tmp_path / "out")
    uid = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    planted.rename(tmp_path / planted.name.replace(f"_{uid}_", f"_{uid + 1}_"))
    assert make_work_dir(None, tmp_path / "in", tmp_path / "out") == tmp_path / "out_work"


@pytest.mark.usefixtures("no_temporary")
def test_without_a_temporary_folder_it_is_beside_the_output_else_in_it(tmp_path: Path) -> None:
    bids = tmp_path / "in"
    assert make_work_dir(None, bids, tmp_path / "out") == tmp_path / "out_work"
    inside = bids / "derivatives" / "bids_cascade"
    assert make_work_dir(None, bids, inside) == inside / "work"
    # Beside a mount point such as /out nothing can be made; a file in the way stands for that here.
    (tmp_path / "mounted_work").touch()
    assert make_work_dir(None, bids, tmp_path / "mounted") == tmp_path / "mounted" / "work"


@pytest.mark.usefixtures("no_temporary")
def test_all_that_was_tried_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out_work: Not a directory, nor to .*file/out/work: Not a dir.*-w"):
        make_work_dir(None, tmp_path / "in", tmp_path / "file" / "out")


def test_a_full_disk_is_none_to_work_on() -> None:
    # The system's own full device stands for it: whatever is written there, there is no space left.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "TemporaryFile", lambda dir: open("/dev/full", "wb"))  # noqa: SIM115
        with pytest.raises(ReadWriteError, match=r"can't write to the work folder /tmp: No space left.*-w"):
            make_work_dir(Path("/tmp"), Path("/nowhere"), Path("/nowhere/out"))


def test_leftovers_of_killed_runs_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "tmp_abcdefgh").mkdir()
    (tmp_path / "tmp_of_mine").mkdir()
    with contained(tmp_path):
        own = set(tmp_path.glob("tmp_*"))
        assert tmp_path / "tmp_abcdefgh" not in own
        assert len(own) == 2
        with contained(tmp_path):
            assert own < set(tmp_path.glob("tmp_*"))
    assert [path.name for path in tmp_path.glob("tmp_*")] == ["tmp_of_mine"]


def test_the_work_folder_is_the_current_one_meanwhile(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    before = Path.cwd()
    with contained(tmp_path):
        assert Path.cwd() == tmp_path
    assert Path.cwd() == before
    (tmp_path / "gone").rmdir()
    with contained(tmp_path):
        assert Path.cwd() == tmp_path
    monkeypatch.chdir(tmp_path)


def test_the_input_is_not_worked_in(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lies inside the input dataset; choose another with -w"):
        make_work_dir(tmp_path / "work", tmp_path, tmp_path / "out")


def test_the_current_folder_is_no_temporary_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("TMPDIR", "/nowhere")
    assert folders.system_temporary() is None
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert folders.system_temporary() == tmp_path


def test_variables_point_into_the_work_folder_and_are_restored(tmp_path: Path, monkeypatch) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setenv("HOME", str(mine))
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "host" / "that" / "leaked"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    before = dict(os.environ)
    with contained(tmp_path):
        assert os.environ["HOME"] == str(mine)
        cache = tmp_path / folders.CACHE
        assert os.environ["MPLCONFIGDIR"] == str(cache / "mplconfigdir")
        assert os.environ["XDG_CACHE_HOME"] == str(cache / "xdg_cache_home")
        assert Path(tempfile.gettempdir()).parent == tmp_path
        assert Path(os.environ["XDG_CACHE_HOME"]).is_dir()
    assert dict(os.environ) == before
    assert not list(tmp_path.glob("tmp_*"))
    assert not Path(tempfile.gettempdir()).is_relative_to(tmp_path / folders.CACHE)


def test_templates_stay_where_the_user_has_them(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "templates").mkdir(mode=0o555)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders, "_is_writable", lambda folder: False)  # as of a shared folder on a cluster
    monkeypatch.setenv("TEMPLATEFLOW_HOME", "templates")
    with contained(tmp_path / "templates" / ".."):
        assert os.environ["TEMPLATEFLOW_HOME"] == str(tmp_path / "templates")


@pytest.mark.parametrize("home", [None, "/", "/nowhere"])
def test_a_home_folder_is_found_for_who_has_none(tmp_path: Path, monkeypatch, home: str | None) -> None:
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)
    with contained(tmp_path):
        assert Path.home() == tmp_path / folders.CACHE / "home"


def test_a_user_without_a_name_gets_one(tmp_path: Path, monkeypatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with contained(tmp_path):
        assert getpass.getuser() == f"uid{os.getuid()}"


@pytest.mark.usefixtures("no_temporary")
def test_a_name_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    short = Path(tempfile.mkdtemp())
    long = short / ("x" * (62 - len(str(short))))
    long.mkdir()
    with pytest.raises(OutputError, match="too long by 1 characters"), contained(long):
        pass
    fits = long.with_name(long.name[1:])
    fits.mkdir()
    with contained(fits):
        assert len(os.environ["TMPDIR"]) == 75
    shutil.rmtree(short)


START = """
import multiprocessing, os, sys, tempfile
from pathlib import Path
from bids_cascade import folders
if __name__ == "__main__":
    if sys.argv[2] == "none":
        folders.system_temporary = lambda: None
    with folders.contained(Path(sys.argv[1])), multiprocessing.get_context("forkserver").Pool(1) as pool:
        print(pool.apply(tempfile.gettempdir))
"""


@pytest.mark.parametrize(("n_characters", "system"), [(120, "some"), (5, "none"), (120, "long")])
def test_processes_can_be_started_and_leave_nothing(repository: Path, n_characters: int, system: str) -> None:
    short = Path(tempfile.mkdtemp())
    script, work = short / "start.py", short / ("w" * n_characters)
    script.write_text(START)
    work.mkdir()
    temporary = short / ("t" * (100 if system == "long" else 5))
    temporary.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(repository), "TMPDIR": str(temporary)}
    command = [sys.executable, str(script), str(work), system]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert Path(done.stdout.strip()).parent == work
    assert [path.name for path in work.iterdir()] == [folders.CACHE]
    assert list(temporary.iterdir()) == []
    shutil.rmtree(short)


def test_an_empty_work_folder_goes(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with contained(work):
        shutil.rmtree(work / folders.CACHE)
    assert not work.exists()
