"""Directives ``outputs`` and ``columns``: what the tutorial's run has written, as tables.

The tutorial is read, and thereby executed, before all other pages, so that its results are there when these are.
"""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

_LOGGER = logging.getLogger(__name__)
RUN = "_build/tutorial/results"
"""Where the tutorial's results are, from the folder of the sources."""


class Outputs(SphinxDirective):
    """The files of a folder of the run, each with its description: that of its sidecar, or one given here.

    The argument is a glob of files. A line of the content is ``glob: description``; a description wins over the
    sidecar's. A file without description, and a line that describes no file, is a warning.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        given = dict(line.split(": ", 1) for line in self.content if line.strip())
        root = Path(self.env.srcdir) / RUN
        files = sorted(path for path in root.glob(self.arguments[0]) if path.is_file())
        if not files:
            self._warn(f"the tutorial's run has left no {self.arguments[0]} in {root}")
            return []
        rows, used = {}, set()
        for path in files:
            pattern = next((pattern for pattern in given if fnmatch(path.name, pattern)), None)
            used.add(pattern)
            description = given[pattern] if pattern else _sidecar(path).get("Description")
            if description:
                rows[_general(path.name)] = description
            elif not _is_sidecar(path):
                self._warn(f"{path.name}: the run writes it, and nothing describes it")
        for pattern in given.keys() - used:
            self._warn(f"{pattern}: described, but the run doesn't write it")
        lines = ["| file | what it is |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows.items())]
        return self.parse_text_to_nodes("\n".join(lines))

    def _warn(self, text: str) -> None:
        _LOGGER.warning("%s", text, location=self.get_location())


class Columns(SphinxDirective):
    """The columns of a table of the run, as its sidecar describes them."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        path = Path(self.env.srcdir) / RUN / self.arguments[0]
        if not path.is_file():
            _LOGGER.warning("the tutorial's run has left no %s", path, location=self.get_location())
            return []
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            f"| `{name}` | {about['Description']} | {about.get('Units', '')} |"
            for name, about in content.items()
            if isinstance(about, dict) and "Description" in about
        ]
        return self.parse_text_to_nodes("\n".join(["| column | what it is | unit |", "|---|---|---|", *rows]))


def _sidecar(path: Path) -> dict[str, Any]:
    """Return the content of an image's or table's sidecar, empty if there is none."""
    sidecar = path.with_name(path.name.partition(".")[0] + ".json")
    if path == sidecar or not sidecar.is_file():
        return {}
    content: dict[str, Any] = json.loads(sidecar.read_text(encoding="utf-8"))
    return content


def _is_sidecar(path: Path) -> bool:
    """Return whether a file is the sidecar of another."""
    return path.suffix == ".json" and any(other != path for other in path.parent.glob(f"{path.stem}.*"))


def _general(name: str) -> str:
    """Return a file's name as it is for any participant and session."""
    return name.replace("sub-01_", "sub-<label>[_ses-<label>]_").replace("sub-01", "sub-<label>")


def _tutorial_first(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    docnames.sort(key=lambda name: name != "tutorial")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives, and the order of reading on which they rely."""
    app.add_directive("outputs", Outputs)
    app.add_directive("columns", Columns)
    app.connect("env-before-read-docs", _tutorial_first)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
