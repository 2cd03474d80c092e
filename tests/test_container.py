"""The script that tests the image, as far as it goes without what builds one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


def run_script(repository: Path, temporary: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(temporary), "ENGINE": "no-such-engine", "BUILDER": "no-such-builder"}
    del environment["PYTEST_CURRENT_TEST"]
    command = [str(repository / "tests" / "container" / "run.sh")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def open_to_others(folder: Path, base: Path) -> None:
    """Let others enter a temporary folder and all above it up to pytest's own: with xdist there is one more."""
    top = next((parent for parent in folder.parents if parent.name.startswith("pytest-of-")), base)
    for parent in (folder, *folder.parents):
        parent.chmod(0o755)
        if parent == top:
            break


def test_it_works_in_a_folder_that_others_may_enter_and_says_what_it_needs(
    repository: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    open_to_others(tmp_path, tmp_path_factory.getbasetemp())
    done = run_script(repository, tmp_path)
    assert done.returncode == 1
    assert "needs no-such-engine no-such-builder" in done.stderr
    (scratch,) = tmp_path.iterdir()
    assert scratch.stat().st_mode & 0o777 == 0o755


@pytest.mark.skipif(os.getuid() != 0, reason="only root tests as somebody else")
def test_a_folder_that_others_may_not_enter_is_named(repository: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    done = run_script(repository, closed)
    assert done.returncode == 1
    assert "may not enter" in done.stderr
    assert "name another SCRATCH" in done.stderr
