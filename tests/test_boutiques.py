"""The Boutiques descriptor says what the parser says, and what platforms make of it is a command line of the app."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from boutiques.bosh import execute, validate
from boutiques.validator import DescriptorValidationError

from bids_cascade import cli

TEXTS = {"cross_validate": "5"}
"""Of strings that must have a form, by input."""

EXAMPLES = {"Flag": True, "String": "text", "File": "/some/file"}


@pytest.fixture(scope="module")
def writer(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_boutiques", repository / "hpc" / "write_boutiques.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def descriptor(repository: Path) -> dict[str, Any]:
    return json.loads((repository / "boutiques.json").read_text())


def example(one: dict[str, Any]) -> Any:
    """Return a value that an input takes."""
    if one["type"] == "Number":
        value: Any = 1
    else:
        value = one["value-choices"][-1] if "value-choices" in one else TEXTS.get(one["id"], EXAMPLES[one["type"]])
    return [value, value] if one.get("list") else value


def command_of(repository: Path, tmp_path: Path, invocation: dict[str, Any]) -> list[str]:
    """Return the command line, without the program, that Boutiques makes of an invocation."""
    path = tmp_path / "invocation.json"
    path.write_text(json.dumps(invocation))
    simulated = execute("simulate", str(repository / "boutiques.json"), "-i", str(path))
    program, *arguments = shlex.split(str(simulated.shell_command))
    assert program == "bids-cascade"
    return arguments


def test_it_says_what_the_parser_says(descriptor, writer) -> None:
    assert descriptor == writer.make_descriptor(), "run hpc/write_boutiques.py"


def test_it_is_valid(repository: Path) -> None:
    validate(str(repository / "boutiques.json"))


def test_a_broken_one_is_not_valid(descriptor, tmp_path: Path) -> None:
    path = tmp_path / "boutiques.json"
    path.write_text(json.dumps(descriptor | {"command-line": "bids-cascade [BIDS_DIR]"}))
    with pytest.raises(DescriptorValidationError):
        validate(str(path))


def test_every_option_is_there(descriptor) -> None:
    flags = {one.get("command-line-flag") for one in descriptor["inputs"]}
    wanted = {action.option_strings[0] for action in cli.build_parser()._actions if action.option_strings}
    assert {"--device", "--participant-label", "--mem-gb"} <= flags
    assert not {flag for flag in wanted if flag.startswith("--")} - flags - {"--help", "--version", "--mem"}, (
        "but for --mem, which is --mem-gb"
    )


def test_error_codes_are_those_of_the_errors(descriptor, repository: Path) -> None:
    """Of which the documentation makes its table; its troubleshooting has a section for each."""
    codes = {one["code"] for one in descriptor["error-codes"]}
    assert codes >= {1, 16, 18, 64, 65, 66, 73, 75}
    page = (repository / "docs" / "troubleshooting.md").read_text()
    assert codes == set(map(int, re.findall(r"^```{error-messages} (\d+)$", page, re.MULTILINE)))


def test_a_full_invocation_is_parsed_as_meant(descriptor, repository: Path, tmp_path: Path) -> None:
    invocation = {one["id"]: example(one) for one in descriptor["inputs"]}
    options = vars(cli.build_parser().parse_args(command_of(repository, tmp_path, invocation)))
    for name, value in invocation.items():
        if name == "verbose":
            assert options[name] == 1
        elif isinstance(value, list):
            given = [str(one) for one in value]
            absolute = [str(Path(one).absolute()) for one in given]
            assert [str(one) for one in options[name]] in (given, absolute)
        else:
            absolute = str(Path(str(value)).absolute())
            assert str(options[name]) in (str(value), absolute, f"{value:.1f}" if value == 1 else "")


def test_the_shortest_invocation_is_parsed_as_meant(repository: Path, tmp_path: Path) -> None:
    invocation = {"bids_dir": "/data", "output_dir": "/out", "analysis_level": "participant"}
    options = cli.build_parser().parse_args(command_of(repository, tmp_path, invocation))
    default = cli.build_parser().parse_args(["/data", "/out", "participant"])
    assert options == default
    assert isinstance(options, argparse.Namespace)
