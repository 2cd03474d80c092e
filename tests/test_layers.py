"""Imports go down only, and each heavy library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "bids_cascade"

RANKS = {
    "__main__": 12,
    "demo": 12,
    "model_command": 12,
    "cli": 11,
    "levels": 10,
    "cross_validation": 9,
    "segmentation": 8,
    "training": 8,
    "longitudinal": 7,
    "workflow": 7,
    "report": 6,
    "cohort": 5,
    "evaluation": 5,
    "importing": 5,
    "selection": 5,
    "derivatives": 4,
    "anatomy": 3,
    "change": 3,
    "models": 3,
    "outcomes": 3,
    "dataset": 2,
    "imaging": 2,
    "lesions": 2,
    "bound": 2,
    "command": 2,
    "folders": 2,
    "cascade": 1,
    "children": 1,
    "limits": 1,
    "nifti_file": 1,
    "progress_bar": 1,
    "regular_file": 1,
    "sources": 1,
    "surroundings": 1,
    "synthesis": 1,
    "visit_key": 1,
    "whole_file": 1,
    "config": 0,
    "errors": 0,
}
SIDEWAYS = {("lesions", "imaging"), ("nifti_file", "limits"), ("nifti_file", "regular_file")}
"""Imports between neighbours that are meant."""

HOMES = {
    "nipype": {"workflow"},
    "bids": {"dataset", "derivatives"},
    "ants": {"imaging"},
    "deepbet": {"imaging"},
    "h5py": {"models"},
    "jinja2": {"report"},
}
CASCADE_MAY_IMPORT = {"numpy", "scipy", "torch", "safetensors", "bids_cascade"} | set(sys.stdlib_module_names)


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    """Return the sub-package or top-level module that a file belongs to; empty for the package itself."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def imported_names(path: Path) -> set[str]:
    """Return the dotted names of everything a file imports, also inside functions."""
    names: set[str] = set()
    package = ("bids_cascade", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*start, *([node.module] if node.module else [])])
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def imported_layers(path: Path) -> set[str]:
    """Return the layers of this package that a file imports from."""
    names = [name.split(".") for name in imported_names(path)]
    return {parts[1] for parts in names if parts[0] == "bids_cascade" and len(parts) > 1 and parts[1] in RANKS}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    layer = layer_of(path)
    if not layer:
        assert imported_layers(path) == set()
        return
    assert layer in RANKS, f"{layer} has no place among the layers: add it to RANKS"
    wrong = {
        other
        for other in imported_layers(path)
        if other != layer and RANKS[other] >= RANKS[layer] and (layer, other) not in SIDEWAYS
    }
    assert not wrong, f"{path.name} of layer {layer} imports from {sorted(wrong)}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_home(path: Path) -> None:
    top_names = {name.split(".")[0] for name in imported_names(path)}
    for library, homes in HOMES.items():
        assert library not in top_names or layer_of(path) in homes, f"{library} belongs in {sorted(homes)}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "cascade").glob("*.py")), ids=lambda path: path.name)
def test_cascade_needs_numpy_scipy_and_torch_only(path: Path) -> None:
    top_names = {name.split(".")[0] for name in imported_names(path)}
    assert top_names <= CASCADE_MAY_IMPORT


@pytest.mark.parametrize("level", ["group", "evaluate", "listing"])
def test_levels_without_a_graph_do_not_load_nipype(level: str) -> None:
    code = f"import sys, bids_cascade.levels.{level}; sys.exit('nipype' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_parser_sees_all_kinds_of_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    path = tmp_path / "lesions" / "x.py"
    path.parent.mkdir()
    path.write_text(
        "import os.path\nfrom bids_cascade import cli\nfrom ..cascade import model\nfrom . import y\n"
        "def f():\n    from bids_cascade.levels.train import g\n"
    )
    assert imported_names(path) == {
        "os.path",
        "bids_cascade.cli",
        "bids_cascade.cascade.model",
        "bids_cascade.lesions.y",
        "bids_cascade.levels.train.g",
    }
    assert imported_layers(path) == {"cli", "cascade", "lesions", "levels"}
