"""The parser of the command line, made from the table of options."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

from bids_cascade import __version__
from bids_cascade.cli import values
from bids_cascade.cli.options import EXAMPLES, LEVELS, OPTIONS, check_options
from bids_cascade.errors import UnknownLevelError, UsageError

_VARIADIC = {
    name
    for options in OPTIONS.values()
    for option in options
    if option.settings.get("nargs") == "+"
    for name in option.names
}
_NOT_GIVEN = object()
"""Stands for the default while arguments are parsed, to recognise options that were given their default value."""


class _Parser(argparse.ArgumentParser):
    """Raises an error where argparse would exit, so that exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        several = sorted(name for name in _VARIADIC if name in message.partition(":")[0])
        if "arguments are required" in message:
            several = sorted(name for name in _VARIADIC if "_" not in name)
        if several:
            message += f"; bids_dir, output_dir and level come first: {', '.join(several)} take all words that follow"
        raise UsageError(f"{message}{self._suggestion(message)}; see --help")

    def _suggestion(self, message: str) -> str:
        if not message.startswith("unrecognized arguments: --"):
            return ""
        unknown = message.split()[2].partition("=")[0]
        like = difflib.get_close_matches(unknown, self._option_string_actions, n=1)
        begin = [name for name in self._option_string_actions if name.startswith(unknown)]
        return f"; did you mean {(begin or like)[0]}? Options are not abbreviated" if begin or like else ""


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of a command line; print the help of one level, or of all, if that is asked for.

    Raises
    ------
    UsageError
        Also when an option belongs to another level, requires another option, or is missing.
    UnknownLevelError
    """
    if {"-h", "--help"} & set(arguments):
        build_parser(next((word for word in arguments if word in LEVELS), None)).parse_args(["--help"])
    parser = build_parser()
    names = {action.dest for action in parser._actions if action.option_strings} - {"verbose", "help", "version"}
    options = argparse.Namespace(**dict.fromkeys(names, _NOT_GIVEN))
    parser.parse_args(_positionals_first(arguments), options)
    level = options.analysis_level
    if level not in LEVELS:
        raise UnknownLevelError(f"there is no analysis level `{level}`; expected one of {', '.join(LEVELS)}")
    given = {name for name in names if getattr(options, name) is not _NOT_GIVEN}
    check_options(level, given)
    for name in names - given:
        setattr(options, name, parser.get_default(name))
    return options


def _positionals_first(arguments: Sequence[str]) -> list[str]:
    """Move folders and level to the front if an option with several values would take them as its values."""
    words = list(arguments)
    for at in range(2, len(words)):
        option = next((back for back in range(at - 1, -1, -1) if words[back].startswith("-")), at)
        if words[at] in LEVELS and words[0].startswith("-") and at - option > 2:
            swallowed = words[option] in _VARIADIC and at - option > 3
            return [*words[at - 2 : at + 1], *words[: at - 2], *words[at + 1 :]] if swallowed else words
    return words


def build_parser(level: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line, with the options of all levels or of one."""
    parser = _Parser(
        prog="bids-cascade",
        description="Find multiple-sclerosis lesions in brain MRI with a cascade of two 3D CNNs (a BIDS App).\n\n"
        + _describe_levels(level),
        epilog="Not a medical device. Exit codes follow the BIDS Apps execution specification.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    bids_dir = "root folder of the BIDS dataset; for synthesize, of label maps"
    parser.add_argument("bids_dir", type=values.path_of, help=bids_dir)
    parser.add_argument("output_dir", type=values.path_of, help="root folder of the derivatives; made if needed")
    parser.add_argument("analysis_level", metavar="{" + ",".join(LEVELS) + "}", help="what to do")
    parser.add_argument("--version", action="version", version=f"bids_cascade {__version__}")
    for title, options in OPTIONS.items():
        shown = [option for option in options if level is None or level in option.levels]
        if shown:
            group = parser.add_argument_group(title)
            for option in shown:
                text = option.help if level else option.help_with_levels
                group.add_argument(*option.names, help=text, **option.settings)
    return parser


def _describe_levels(level: str | None) -> str:
    shown = [level] if level else list(LEVELS)
    examples = [example for example in EXAMPLES if level is None or level in example.split()]
    more = [] if level else ["", "bids-cascade LEVEL --help shows the options of one level."]
    return "\n".join(
        [
            "levels:",
            *(f"  {name:12} {LEVELS[name]}" for name in shown),
            *more,
            *("", "examples:"),
            *(f"  {example}" for example in examples),
        ]
    )
