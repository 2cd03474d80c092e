"""A docstring's parameters are those of the signature, in its order, and its attributes are the fields."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "bids_cascade"
SECTION = r"^{}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)"
UNDESCRIBED = {"LesionConfig", "AcquisitionConfig", "WarpConfig"}
"""Tables of numbers whose fields are described where they stand, but for a few."""


def documented(docstring: str, section: str) -> list[str] | None:
    """Return the names in a section of a docstring; None without that section."""
    found = re.search(SECTION.format(section), docstring, re.DOTALL | re.MULTILINE)
    if found is None:
        return None
    heads = [line.partition(" : ")[0] for line in found[1].splitlines() if line and not line[0].isspace()]
    return [name.strip().lstrip("*") for head in heads for name in head.split(",")]


def definitions(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST, str]]:
    """Yield place, node and docstring of every definition of a kind."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node, ast.get_docstring(node) or ""


def test_parameters_are_those_of_the_signature() -> None:
    wrong = {}
    for place, node, docstring in definitions(ast.FunctionDef):
        names = documented(docstring, "Parameters")
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        arguments += [extra for extra in (node.args.vararg, node.args.kwarg) if extra]
        if names is not None and names != [one.arg for one in arguments if one.arg not in ("self", "cls")]:
            wrong[place] = names
    assert not wrong


def test_attributes_are_the_fields() -> None:
    wrong = {}
    for place, node, docstring in definitions(ast.ClassDef):
        names = documented(docstring, "Attributes")
        fields = [part.target.id for part in node.body if isinstance(part, ast.AnnAssign)]
        if names is not None and fields and node.name not in UNDESCRIBED and set(fields) - set(names):
            wrong[place] = sorted(set(fields) - set(names))
    assert not wrong


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("One line.", None),
        (
            "One line.\n\nParameters\n----------\na, b : int\n    Text.\n*c : str\n\nReturns\n-------\nint\n",
            ["a", "b", "c"],
        ),
        ("One line.\n\nParameters\n----------\nconfig\n    Text, more.\n", ["config"]),
    ],
)
def test_sections_are_read(docstring: str, expected: list[str] | None) -> None:
    assert documented(docstring, "Parameters") == expected
