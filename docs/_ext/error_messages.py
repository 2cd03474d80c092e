"""Directives ``exit-codes`` and ``error-messages``: tables of what the code's own errors say."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import bids_cascade
from bids_cascade import errors

_LOGGER = logging.getLogger(__name__)
_PACKAGE = Path(bids_cascade.__file__).parent


@dataclass(frozen=True)
class Message:
    """What an error says, with ``<name>`` for what differs from case to case, and the exit code it gives."""

    text: str
    exit_code: int


def error_classes() -> dict[str, type[errors.BidsCascadeError]]:
    """Return the app's errors by name."""
    return {
        name: cls
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, errors.BidsCascadeError)
    }


@cache
def messages() -> list[Message]:
    """Return every message with which the package makes one of its errors, sorted."""
    found = {message for path in _PACKAGE.rglob("*.py") for message in _messages_of(path)}
    return sorted(found, key=lambda message: (message.exit_code, message.text.lower()))


def _messages_of(path: Path) -> Iterator[Message]:
    classes = error_classes()
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    made_by = {name: {name} for name in classes}
    # Where a case decides on the class: `kind = OutputError if ... else ReadWriteError`.
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.IfExp) and isinstance(node.targets[0], ast.Name):
            chosen = {getattr(part, "id", "") for part in (node.value.body, node.value.orelse)}
            made_by[node.targets[0].id] = chosen & classes.keys()
    for node in nodes:
        if isinstance(node, ast.Call) and node.args:
            text = _text_of(node.args[0])
            # A message that is nothing but another error's says nothing here.
            if " " in text.replace("<", "").replace(">", "").strip():
                for name in made_by.get(getattr(node.func, "id", getattr(node.func, "attr", "")), ()):
                    yield Message(text, classes[name].exit_code)


def _text_of(node: ast.expr) -> str:
    """Return the text of a string, with ``<name>`` for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text_of(part) for part in node.values)
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.FormattedValue):
        return _text_of(node.value)
    if isinstance(node, ast.Attribute | ast.Name):
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        return f"<{name.strip('_').replace('_', ' ').lower()}>"
    return "<...>"


class ErrorMessages(SphinxDirective):
    """All messages of one exit code, each with the remedy that a YAML file has for it."""

    required_arguments = 1
    option_spec = {"remedies": str}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return a definition list."""
        path = Path(self.env.srcdir) / self.options["remedies"]
        self.env.note_dependency(str(path))
        remedies: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf-8"))
        code = int(self.arguments[0])
        lines = []
        for message in messages():
            if message.exit_code == code:
                remedy = [text for fragment, text in remedies.items() if fragment in message.text]
                lines += [f"`` {message.text} ``", f": {' '.join(remedy) or 'As the message says.'}", ""]
        for fragment in remedies:
            if not any(fragment in message.text for message in messages()):
                _LOGGER.warning("%s: no error says `%s` any more", path.name, fragment, location=self.get_location())
        return self.parse_text_to_nodes("\n".join(lines))


class ExitCodes(SphinxDirective):
    """The exit codes, each with what its error's docstring says."""

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        rows = {errors.OK: "All visits were processed; at the group level, all results there are were read."}
        rows |= {cls.exit_code: inspect.cleandoc(cls.__doc__ or "").splitlines()[0] for cls in error_classes().values()}
        rows[errors.BidsCascadeError.exit_code] = "Unspecified failure."
        rows[130] = "Interrupted, or asked to end by the system or the batch scheduler; rerun to resume."
        lines = ["| code | meaning |", "|---|---|", *(f"| {code} | {rows[code]} |" for code in sorted(rows))]
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("error-messages", ErrorMessages)
    app.add_directive("exit-codes", ExitCodes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
