"""Hashes of source code, which identify cached results."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path


def hash_sources(*parts: str) -> str:
    """Return a hash of the code of modules and folders of this package, given by their paths in it.

    Between two releases, the version doesn't show changes. The hash is of the syntax tree: comments, docstrings and
    layout don't count, names and constants do.
    """
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for part in parts:
        for path in sorted((root / part).glob("*.py")) or [root / part]:
            tree = _WithoutStrings().visit(ast.parse(path.read_bytes()))
            digest.update(f"{path.relative_to(root).as_posix()}\n{ast.dump(tree)}\n".encode())
    return digest.hexdigest()


class _WithoutStrings(ast.NodeTransformer):
    """Removes strings that stand alone: docstrings of modules, classes, functions and constants."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_string = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_string else node
