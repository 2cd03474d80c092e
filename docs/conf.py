"""How Sphinx builds this site."""

from __future__ import annotations

import sys
from pathlib import Path
from types import BuiltinFunctionType, GenericAlias

from sphinx.application import Sphinx

import bids_cascade

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

project = "bids_cascade"
author = "The bids_cascade developers"
version = release = bids_cascade.__version__
html_title = f"bids_cascade {release}"

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinxarg.ext",
    "error_messages",
    "outputs",
    "rooms",
]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_theme_options = {"navigation_with_keys": True}

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.domains"]  # sphinx-argparse's domain can't look names up, which nobody asks it to

# The tutorial runs each time the site is built, and a cell that fails fails the build.
nb_execution_mode = "force"
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_merge_streams = True

# API reference: a page a module, from its docstrings, whatever modules there are.
apidoc_modules = [
    {
        "path": str(Path(bids_cascade.__file__).parent),
        "destination": "api",
        "separate_modules": True,
        "module_first": True,
        "max_depth": 3,
        "automodule_options": {"members", "undoc-members"},
    }
]
autodoc_typehints = "none"  # numpydoc's sections say the types, with their shapes and units
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
toc_object_entries = False
# Attributes have their place in a numpydoc section, which is no target; nipype's pages are elsewhere.
nitpick_ignore_regex = [("py:attr", r".*"), ("py:class", r"nipype\..*")]


def _skip(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out of the reference what has no signature of its own: aliases of types, and built-in functions."""
    return True if isinstance(obj, GenericAlias | BuiltinFunctionType) else None


def setup(app: Sphinx) -> None:
    """Let the reference leave some things out."""
    app.connect("autodoc-skip-member", _skip)
