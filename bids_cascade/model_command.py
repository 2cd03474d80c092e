"""The command ``bids-cascade-model``: what can be done with model files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from bids_cascade import __version__
from bids_cascade.errors import OK, BidsCascadeError, OutputError, UsageError

_CHOICES = (
    "candidate_level",
    "threshold",
    "peak_probability",
    "min_lesion_volume_mm3",
    "calibration",
    "prevalence_weight",
)
"""Fields of the configuration that a user may choose."""


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would exit with, so that exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is asked for; return the exit code.

    Parameters
    ----------
    argv : sequence of str or None
        Command line without the program's name; None takes ``sys.argv``.
    """
    try:
        options = build_parser().parse_args(argv)
        options.run(options)
    except BidsCascadeError as error:
        print(f"bids-cascade-model: {error}", file=sys.stderr)
        return error.exit_code
    return OK


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(prog="bids-cascade-model", description="Work with model files.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_join(parser.add_subparsers(metavar="COMMAND", required=True))
    return parser


def _add_join(commands: argparse._SubParsersAction[_Parser]) -> None:
    about = "make one model file of several, whose cascades are averaged"
    join = commands.add_parser("join", help=about, description=f"{about[0].upper()}{about[1:]}; write its card, too.")
    join.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="of the same sequences and voxel size")
    join.add_argument("--name", required=True, help="of the new model")
    join.add_argument("--out", required=True, type=Path, metavar="FILE", help="new .safetensors file")
    group = join.add_argument_group("configuration", "that of the first file, unless given")
    group.add_argument(
        "--candidate-level", type=float, metavar="LEVEL", help="brightness above which voxels are judged"
    )
    group.add_argument("--threshold", type=float, metavar="P", help="probability from which a voxel is lesion")
    group.add_argument("--peak", type=float, dest="peak_probability", metavar="P", help="lowest peak of a lesion")
    group.add_argument(
        "--min-volume", type=float, dest="min_lesion_volume_mm3", metavar="MM3", help="of the smallest lesion"
    )
    group.add_argument(
        "--calibration",
        nargs=2,
        type=float,
        metavar=("SLOPE", "INTERCEPT"),
        help="the mean probability p becomes sigmoid(SLOPE logit(p) + INTERCEPT)",
    )
    group.add_argument(
        "--prevalence-weight", type=float, metavar="W", help="of the scan's estimated prevalence of lesion in that sum"
    )
    join.set_defaults(run=_join)


def _join(options: argparse.Namespace) -> None:
    """Write the joined model and its card, and say what its configuration is and whose it was."""
    # Imported late, so that --help is quick.
    from bids_cascade.models.join import join_models
    from bids_cascade.models.store import save_model
    from bids_cascade.report.card import model_card
    from bids_cascade.whole_file import write_whole_file

    card = options.out.with_suffix(".md")
    for path in (options.out, card):
        if path.exists():
            raise OutputError(f"{path}: there is already such a file; name another one or remove it")
    chosen = {name: value for name in _CHOICES if (value := getattr(options, name)) is not None}
    if "calibration" in chosen:
        chosen["calibration"] = tuple(chosen["calibration"])
    try:
        model = join_models(options.models, options.name, **chosen)
    except ValueError as error:
        raise UsageError(str(error)) from error
    stored = save_model(model, options.out)
    write_whole_file(model_card(stored).encode(), card)
    print(f"model: {stored.path} (SHA-256 {stored.sha256}), {len(model.ensemble.members)} cascades; card: {card}")
    for member in model.provenance["members"]:
        for field, value in member["changed"].items():
            now = getattr(model.ensemble.config, field)
            print(f"{field} of {member['name']}: was {value}, is now {now}")


if __name__ == "__main__":
    sys.exit(main())
