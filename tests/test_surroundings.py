"""What lies in the current folder is never imported, and who listens does not matter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bids_cascade import surroundings
from bids_cascade.surroundings import leave_out_current_folder, say

TRAPS = ("random", "secrets", "token", "selectors", "numpy", "bids", "nipype", "matplotlib")

START = """
from bids_cascade.surroundings import leave_out_current_folder

leave_out_current_folder()
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from bids_cascade.children import end_with_parent, start_fork_server

def first_places():
    import random, numpy
    return [random.__file__, numpy.__file__, *sys.path]

if __name__ == "__main__":
    start_fork_server(["bids_cascade.bound"])
    with ProcessPoolExecutor(1, get_context("forkserver"), end_with_parent) as pool:
        print(*first_places(), *pool.submit(first_places).result(), sep="\\n")
"""


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """Return a folder with a user's own scripts that are called as modules are."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text("raise RuntimeError('imported from the current folder')\n")
    return folder


def test_nothing_is_imported_from_the_current_folder_in_any_process(trapped: Path, repository: Path) -> None:
    script = trapped.parent / "start.py"
    script.write_text(START)
    path = f":{repository}"  # an empty entry, as `PYTHONPATH=$PYTHONPATH:folder` makes one
    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        cwd=trapped,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not [line for line in done.stdout.splitlines() if line in ("", str(trapped)) or "here" in line]


@pytest.mark.parametrize("program", ["run.py", "bids_cascade"])
def test_the_app_starts_among_a_users_scripts(trapped: Path, repository: Path, program: str) -> None:
    command = [sys.executable, str(repository / "run.py")] if program == "run.py" else [sys.executable, "-m", program]
    done = subprocess.run(
        [*command, str(trapped), str(trapped / "out"), "participant", "--list-participants", "all"],
        cwd=trapped,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 16, done.stderr
    assert "Traceback" not in done.stderr


FRACTION = """
import sys
sys.path.insert(0, sys.argv[1])
from bids_cascade.surroundings import leave_out_current_folder, share_source_tree

leave_out_current_folder()
share_source_tree()
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from bids_cascade.children import end_with_parent, start_fork_server

def place():
    import bids_cascade.bound
    return bids_cascade.bound.__file__

if __name__ == "__main__":
    start_fork_server(["bids_cascade.bound"])
    with ProcessPoolExecutor(1, get_context("forkserver"), end_with_parent) as pool:
        print(place(), pool.submit(place).result(), sep="\\n")
"""


def test_a_source_tree_is_not_mixed_with_an_installed_app(repository: Path, tmp_path: Path) -> None:
    names = ("__init__", "bound", "children", "errors", "surroundings")
    (tmp_path / "bids_cascade").mkdir()
    for name in names:
        shutil.copy(repository / "bids_cascade" / f"{name}.py", tmp_path / "bids_cascade")
    shutil.copy(repository / "version", tmp_path)
    (tmp_path / "start.py").write_text(FRACTION)
    command = [sys.executable, str(tmp_path / "start.py"), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(repository)}  # as if it were installed
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "bids_cascade" / "bound.py")] * 2


def test_an_installed_app_stays_where_python_finds_it(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setattr(surroundings, "_PACKAGE_ROOT", "/opt/lib/python3.11/site-packages")
    surroundings.share_source_tree()
    assert os.environ["PYTHONPATH"] == "/elsewhere"


def test_paths_that_mean_the_current_folder_go_and_others_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere"])
    monkeypatch.setenv("PYTHONPATH", f":/elsewhere:{tmp_path}")
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    leave_out_current_folder()
    assert sys.path == ["/elsewhere"]
    assert (os.environ["PYTHONPATH"], os.environ["PYTHONSAFEPATH"]) == ("/elsewhere", "1")
    monkeypatch.setattr(surroundings, "_PACKAGE_ROOT", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    leave_out_current_folder()
    assert sys.path == [str(tmp_path)], "the app's own source tree"


def test_a_deleted_current_folder(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    leave_out_current_folder()
    assert sys.path == ["/elsewhere"]
    monkeypatch.chdir(tmp_path)


SAY = """
import os, sys
from bids_cascade.surroundings import open_streams, release_streams, say
open_streams()
say("one\\n" * 100_000)
say("two")
release_streams()
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
assert fd > 2, fd
sys.exit(7)
"""


@pytest.mark.parametrize(
    "redirection", ["| head -n 1 >/dev/null", ">&-", "<&- >&- 2>&-", "2>&1 | head -n 1 >/dev/null", ">/dev/null"]
)
def test_the_exit_code_is_that_of_the_work_whoever_listens(tmp_path: Path, repository: Path, redirection: str) -> None:
    (tmp_path / "say.py").write_text(SAY)
    line = f'"$0" say.py file {redirection}; exit "${{PIPESTATUS[0]}}"'
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(["bash", "-c", line, sys.executable], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 7
    assert (tmp_path / "file").read_bytes() == b"", "nothing was said into a file"


def test_what_is_said_to_a_full_disk_is_an_error(monkeypatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left"):
            say("anything")
        surroundings.release_streams()
