"""The files around the code agree with it and with each other."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import bids_cascade
from bids_cascade import model_command
from bids_cascade.anatomy.visit import ANATOMY_FAILED
from bids_cascade.cli import build_parser
from bids_cascade.cli.parser import parse
from bids_cascade.derivatives.course import FAR_FROM_OTHER_VISIT, NOT_COMPARABLE
from bids_cascade.derivatives.spaces import NO_OUTPUT_SPACE
from bids_cascade.imaging.images import ORIENTATION_IS_A_GUESS
from bids_cascade.imaging.quality_rules import RULES
from bids_cascade.importing.cli import build_parser as build_import_parser
from bids_cascade.selection.check import SEQUENCES_ABSENT


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
    assert set(project["scripts"]) == {
        "bids-cascade",
        "bids-cascade-demo",
        "bids-cascade-import",
        "bids-cascade-model",
    }
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
    jobs = yaml.safe_load(config)["jobs"]
    assert set(jobs) == {"test", "image", "deploy"}
    assert "bash .ci/run" in str(jobs["test"])
    steps = {name: step[name] for step in jobs["test"]["steps"] if isinstance(step, dict) for name in step}
    options = steps["run"]["environment"]["PYTEST_ADDOPTS"].split()
    assert options[:2] == ["--cov", "--cov-report=term"]
    assert options[2] == f"--cov-report=html:{steps['store_artifacts']['path']}"
    assert "bash tests/container/run.sh" in str(jobs["image"])
    assert "docker run --rm --read-only" in str(jobs["image"])


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ("circle-ci", ".circleci/config.yml"),
        ("citation-file-format", "CITATION.cff"),
        ("dependabot", ".github/dependabot.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/fault.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/idea.yml"),
        ("readthedocs", ".readthedocs.yaml"),
    ],
)
def test_files_of_others_follow_their_published_schemas(repository: Path, schema: str, name: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run(
        [*command, "--force-filetype", "yaml", str(repository / name)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "name",
    [
        *("run.py", ".ci/run", "requirements/lock.sh", "hpc/submit.sh", "hpc/slurm_array.sh", "hpc/slurm_group.sh"),
        *("tests/container/run.sh", "tests/container/base_image.sh"),
        *("tests/container/imitation/docker", "tests/container/imitation/apptainer"),
    ],
)
def test_scripts_are_executable(repository: Path, name: str) -> None:
    assert os.access(repository / name, os.X_OK)


def test_readme_is_short(readme: str) -> None:
    """Words of prose: what is left without blocks of code, marks and addresses of links."""
    prose = re.sub(r"^```.*?^```$|<!--.*?-->", "", readme, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", prose)
    assert len(re.findall(r"\S*\w\S*", prose)) <= 700


def help_of_other_commands() -> str:
    """Return what the commands of `bids-cascade-model`, and `bids-cascade-import`, say of themselves."""
    (commands,) = (action for action in model_command.build_parser()._actions if isinstance(action.choices, dict))
    parsers = [*commands.choices.values(), build_import_parser()]
    return "".join(parser.format_help() for parser in parsers)


def pages(repository: Path) -> list[Path]:
    return [repository / "README.md", repository / "CONTRIBUTING.md", *sorted((repository / "docs").glob("*.md"))]


def test_pages_name_no_option_that_there_is_not(repository: Path) -> None:
    """All options are listed by the documentation itself, from the parser; what the pages say of some may grow old."""
    known = {option for action in build_parser()._actions for option in action.option_strings}
    known |= {"--participants", "--seed"}  # of bids-cascade-demo
    known |= set(re.findall(r"--[a-z][\w-]+", help_of_other_commands()))
    for page in pages(repository):
        text = page.read_text()
        commands = "".join(re.findall(r"^ *bids-cascade [^`#]*", text, re.MULTILINE))
        of_others = r"--(?:build-arg|index-url|gpus|user|cleanenv|containall|nv|gpu|gres|cov|cov-report|use-plugin)\b"
        named = re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", commands)
        named += [option for span in re.findall(r"`(--[^`]+)`", text) for option in re.findall(r"--[a-z][\w-]+", span)]
        assert not {option for option in named if not re.match(of_others, option)} - known, page.name


def test_every_command_on_the_pages_is_one_that_the_program_takes(repository: Path) -> None:
    """Options that exist may still not go together, or not be those of the level."""
    parsers = {
        "bids-cascade": parse,
        "bids-cascade-model": model_command.build_parser().parse_args,
        "bids-cascade-import": build_import_parser().parse_args,
    }
    n_parsed = 0
    for page in pages(repository):
        for block in re.findall(r"^```bash\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                name, *arguments = shlex.split(line, comments=True) or [""]
                if name in parsers and not {"LEVEL", "[options]"} & set(arguments):
                    assert parsers[name](arguments), line
                    n_parsed += 1
    assert n_parsed > 20


@pytest.mark.parametrize("page", ["README.md", "docs/hpc.md"])
def test_the_container_script_runs_every_marked_command(repository: Path, page: str) -> None:
    marks = set(re.findall(r"^<!-- ci: ([\w-]+) -->$", (repository / page).read_text(), re.MULTILINE))
    scripts = "".join(path.read_text() for path in (repository / "tests" / "container").glob("*.sh"))
    run = set(re.findall(rf"(?:documented|block) {re.escape(page)} ([\w-]+)", scripts))
    assert marks - run == ({"test"} if page == "README.md" else set())


def test_files_that_pages_name_are_there(repository: Path) -> None:
    named = 0
    for page in [*pages(repository), repository / "tests" / "container" / "README.md"]:
        names = set(
            re.findall(r"`((?:hpc|docs|tests|requirements|benchmarks|bids_cascade)/[\w./-]+)`", page.read_text())
        )
        missing = [name for name in names if not (repository / name).exists() and "_build" not in name]
        assert not missing, page.name
        named += len(names)
    assert named > 10


def test_tests_that_the_page_of_promises_names_are_there(repository: Path) -> None:
    named = re.findall(r"`(test_\w+)`", (repository / "docs" / "reliability.md").read_text())
    there = {
        name
        for path in (repository / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 40
    assert [name for name in named if name not in there] == []


def test_citation_names_the_method(repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["preferred-citation"]["doi"] == "10.1016/j.neuroimage.2017.04.034"
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in (repository / "LICENSE").read_text()


def test_no_images_are_kept(repository: Path) -> None:
    if not (repository / ".git").exists():
        pytest.skip("not a git clone")
    listed = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=True).stdout
    images = [name for name in listed.splitlines() if name.endswith((".nii", ".nii.gz", ".mgz", ".dcm"))]
    assert images == ["bids_cascade/anatomy/atlas.nii.gz"]  # made from label maps, as its card beside it says


def test_each_quality_flag_has_its_remedy(repository: Path) -> None:
    page = (repository / "docs" / "troubleshooting.md").read_text()
    named = set(re.findall(r"^`(\w+)`$", page, re.MULTILINE))
    others = {
        ORIENTATION_IS_A_GUESS,
        FAR_FROM_OTHER_VISIT,
        NOT_COMPARABLE,
        ANATOMY_FAILED,
        NO_OUTPUT_SPACE,
        SEQUENCES_ABSENT,
    }
    assert named == {rule.flag for rule in RULES.values()} | others
