#!/usr/bin/env python3
"""Write ``boutiques.json``, which tells CBRAIN and other platforms how the app is called, from the app's own parser."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bids_cascade import __version__, cli, errors
from bids_cascade.cli import values
from bids_cascade.cli.options import LEVELS

TARGET = Path(__file__).resolve().parent.parent / "boutiques.json"

_NUMBERS: dict[Any, dict[str, Any]] = {
    values.count: {"integer": True, "minimum": 1},
    values.seed: {"integer": True, "minimum": 0, "maximum": 2**31 - 1},
    values.positive: {"minimum": 0, "exclusive-minimum": True},
    values.not_negative: {"minimum": 0},
    values.probability: {"minimum": 0, "exclusive-minimum": True, "maximum": 1},
    values.fraction: {"minimum": 0, "maximum": 1},
}
_READ = ("bids_dir", "bids_filter_file", "model", "use_plugin")
"""Paths of what must exist; the others are made, and so are strings to Boutiques."""


def make_descriptor() -> dict[str, Any]:
    """Return the descriptor of the app as it is."""
    parser = cli.build_parser()
    # Of several options for one value, such as --mem for --mem-gb, the first.
    actions = {action.dest: action for action in reversed(parser._actions) if not _only_prints(action)}
    inputs = [_input_of(action) for action in reversed(actions.values())]
    return {
        "name": "bids_cascade",
        "tool-version": __version__,
        "description": str(parser.description).partition("\n")[0],
        "author": "The bids_cascade developers",
        "schema-version": "0.5",
        "command-line": " ".join(["bids-cascade", *(entry["value-key"] for entry in inputs)]),
        "container-image": {"type": "docker", "image": "bids_cascade"},
        "inputs": inputs,
        "output-files": [
            {
                "id": "derivatives",
                "name": "BIDS derivatives",
                "description": "Lesion masks, probabilities, tables and reports",
                "path-template": "[OUTPUT_DIR]",
            }
        ],
        "error-codes": _error_codes(),
        "suggested-resources": {"cpu-cores": 2, "ram": 8, "walltime-estimate": 600},
        "tags": {"domain": ["neuroinformatics", "mri", "bids-app"]},
    }


def _only_prints(action: argparse.Action) -> bool:
    return action.dest in ("help", "version")


def _input_of(action: argparse.Action) -> dict[str, Any]:
    """Return one input: what it is called, what it takes, and where it stands on the command line."""
    entry: dict[str, Any] = {
        "id": action.dest,
        "name": action.dest.replace("_", " "),
        "description": (action.help or "") % {**vars(action), "prog": "bids-cascade"},
        "value-key": f"[{action.dest.upper()}]",
        "optional": bool(action.option_strings),
        **_type_of(action),
    }
    if action.option_strings:
        entry["command-line-flag"] = next(name for name in action.option_strings if name.startswith("--"))
    choices = LEVELS if action.dest == "analysis_level" else action.choices
    if choices:
        entry["value-choices"] = list(choices)
    if action.nargs == "+":
        entry |= {"list": True, "min-list-entries": 1}
    elif isinstance(action.nargs, int) and action.nargs > 1:
        entry |= {"list": True, "min-list-entries": action.nargs, "max-list-entries": action.nargs}
    return entry


def _type_of(action: argparse.Action) -> dict[str, Any]:
    if action.nargs == 0:
        return {"type": "Flag"}
    if action.type in _NUMBERS:
        return {"type": "Number", **_NUMBERS[action.type]}
    return {"type": "File" if action.dest in _READ else "String"}


def _error_codes() -> list[dict[str, Any]]:
    own = errors.BidsCascadeError
    kinds: list[type[errors.BidsCascadeError]] = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, own)
    ]
    said = [(kind.exit_code, str(kind.__doc__).partition("\n")[0]) for kind in kinds]
    return [{"code": code, "description": text} for code, text in sorted(said)]


if __name__ == "__main__":
    TARGET.write_text(json.dumps(make_descriptor(), indent=2) + "\n", encoding="utf-8")
