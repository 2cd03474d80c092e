"""Directive ``rooms``: the parts of the package, with what each one's docstring says of it."""

from __future__ import annotations

import ast
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import bids_cascade

_PACKAGE = Path(bids_cascade.__file__).parent


def rooms() -> list[tuple[str, str, int]]:
    """Return name, summary and lines of code of every sub-package and top-level module, by name."""
    found = []
    for path in sorted(_PACKAGE.iterdir()):
        init = path / "__init__.py"
        if init.is_file():
            found.append((f"{path.name}/", _summary(init), sum(map(_n_lines, path.rglob("*.py")))))
        elif path.suffix == ".py" and not path.stem.startswith("__"):
            found.append((path.stem, _summary(path), _n_lines(path)))
    return found


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.partition("\n\n")[0].split())


def _n_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


class Rooms(SphinxDirective):
    """The parts of the package."""

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        rows = [f"| `{name}` | {summary.replace('``', '`')} | {n_lines} |" for name, summary, n_lines in rooms()]
        return self.parse_text_to_nodes("\n".join(["| part | what lives there | lines |", "|---|---|---|", *rows]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("rooms", Rooms)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
