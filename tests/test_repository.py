"""The files around the code agree with it and with each other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import bids_cascade


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def marked_block(readme: str, mark: str) -> list[str]:
    """Return the lines of the code block that follows a mark, as .ci/run finds them."""
    found = re.findall(rf"^<!-- ci: {mark} -->\n```\w*\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return found[0].splitlines()


def test_version_is_written_once(repository: Path, project: dict[str, Any]) -> None:
    version = (repository / "version").read_text().strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", version)
    assert bids_cascade.__version__ == version
    assert "version" in project["dynamic"]


def test_torch_is_pinned_exactly(project: dict[str, Any]) -> None:
    (torch,) = (line for line in project["dependencies"] if line.startswith("torch"))
    assert re.fullmatch(r"torch==[\d.]+", torch)


def test_commands_exist(project: dict[str, Any]) -> None:
    assert set(project["scripts"]) == {"bids-cascade", "bids-cascade-demo"}
    for target in project["scripts"].values():
        module, function = target.split(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(("mark", "program"), [("demo", "bids-cascade-demo"), ("test", "pytest")])
def test_readme_has_the_command_in_one_line(readme: str, mark: str, program: str) -> None:
    (command,) = marked_block(readme, mark)
    assert "pip install" in command
    assert f"bin/{program}" in command
    subprocess.run(["bash", "-n", "-c", command], check=True)


def test_ci_finds_the_command(repository: Path, readme: str) -> None:
    script = (repository / ".ci" / "run").read_text()
    (line,) = (line for line in script.splitlines() if line.startswith("test_command="))
    found = subprocess.run(
        ["bash", "-c", f'{line}; echo "$test_command"'], cwd=repository, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == marked_block(readme, "test")


def test_circleci_calls_the_same_script(repository: Path) -> None:
    config = (repository / ".circleci" / "config.yml").read_text()
    assert set(yaml.safe_load(config)["jobs"]) == {"test", "image"}
    assert "bash .ci/run" in config
    assert "docker run --rm --read-only" in config


@pytest.mark.parametrize("name", ["run.py", ".ci/run"])
def test_scripts_are_executable(repository: Path, name: str) -> None:
    assert os.access(repository / name, os.X_OK)


def test_readme_knows_every_option(repository: Path, readme: str) -> None:
    printed = subprocess.run(
        [sys.executable, str(repository / "run.py"), "--help"], capture_output=True, text=True, check=True
    ).stdout
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", printed))
    assert options >= {"--participant-label", "--work-dir"}
    assert not [option for option in sorted(options) if not re.search(rf"`[^`]*{option}\b[^`]*`", readme)]


def test_citation_names_the_method(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["preferred-citation"]["doi"] == "10.1016/j.neuroimage.2017.04.034"
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in (repository / "LICENSE").read_text()


def test_no_images_are_kept(repository: Path) -> None:
    if not (repository / ".git").exists():
        pytest.skip("not a git clone")
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True).stdout
    assert not [name for name in listed.splitlines() if name.endswith((".nii", ".nii.gz", ".mgz", ".dcm"))]
