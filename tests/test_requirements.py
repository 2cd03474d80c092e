"""The lock files are in step with pyproject.toml, and everything in them has a hash."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = ("common.txt", "torch-cuda.txt")


def locked(repository: Path, *names: str) -> dict[str, tuple[str, int]]:
    """Return by package its version and the number of its hashes."""
    text = "".join((repository / "requirements" / name).read_text() for name in names)
    blocks = re.findall(r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line and not line.startswith(("#", "    --hash="))]
    assert len(blocks) == len(lines), "not every line was understood"
    return {canonicalize_name(name): (version, hashes.count("sha256:")) for name, version, hashes in blocks}


def test_what_pyproject_asks_for_is_locked(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    versions = locked(repository, *LOCKS)
    for requirement in map(Requirement, project["dependencies"]):
        name = canonicalize_name(requirement.name)
        assert name in versions, f"{name} isn't locked: run requirements/lock.sh"
        assert versions[name][0] in requirement.specifier, f"{name} is out of step: run requirements/lock.sh"


@pytest.mark.parametrize("name", LOCKS)
def test_everything_locked_has_hashes(repository: Path, name: str) -> None:
    versions = locked(repository, name)
    assert versions
    assert not [package for package, (_, n_hashes) in versions.items() if not n_hashes]


def test_gpu_libraries_are_apart(repository: Path) -> None:
    common, gpu = (locked(repository, name) for name in LOCKS)
    assert not common.keys() & gpu.keys()
    assert "torch" in gpu
    assert not [package for package in common if package.startswith(("torch", "nvidia", "cuda", "triton"))]
    assert {"sympy", "networkx", "numpy"} <= common.keys()  # torch needs the first two, on a CPU as well


def test_locks_name_no_place(repository: Path) -> None:
    for name in LOCKS:
        assert not re.search(
            r"://|file:|--(?:extra-)?index|--find-links", (repository / "requirements" / name).read_text()
        )
