"""The command ``bids-cascade-import``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bids_cascade import __version__
from bids_cascade.command import CommandParser, run_command

DATASETS = ("mslesseg", "msseg2016", "isbi2015", "ljubljana", "wmh2017")


def main(argv: Sequence[str] | None = None) -> int:
    """Import a data set; return the exit code.

    Parameters
    ----------
    argv : sequence of str or None
        Command line without the program's name; None takes ``sys.argv``.
    """
    return run_command("bids-cascade-import", lambda: _import(build_parser().parse_args(argv)))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog="bids-cascade-import",
        description="Convert a public data set from its publisher's layout to a BIDS dataset, with the manual masks in "
        "derivatives/manual. Nothing is downloaded.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument("dataset", choices=DATASETS, help="data set: %(choices)s", metavar="DATASET")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder with the unpacked data set; not changed")
    parser.add_argument("bids_dir", type=Path, metavar="BIDS_DIR", help="folder of the new BIDS dataset")
    parser.add_argument("--link", action="store_true", help="link to the images in SOURCE instead of copying them")
    return parser


def _import(options: argparse.Namespace) -> None:
    """Write the dataset, and print its content and the next commands."""
    # Imported late, so that --help is quick.
    from bids_cascade.importing.datasets import PUBLIC_DATASETS
    from bids_cascade.importing.write import import_dataset
    from bids_cascade.outcomes import count
    from bids_cascade.surroundings import say

    public = PUBLIC_DATASETS[options.dataset]
    visits = import_dataset(public, options.source, options.bids_dir, link=options.link)
    participants = {visit.participant for visit in visits}
    raters = sorted({name for visit in visits for name in visit.masks})
    n_masked = sum("manual" in visit.masks for visit in visits)
    say(
        f"{public.name}: {count(len(visits), 'visit')} of {count(len(participants), 'participant')}, {n_masked} with a "
        "mask in "
        f"{options.bids_dir}/derivatives/manual ({public.reference})"
    )
    others = [name for name in raters if name != "manual"]
    if others:
        say(f"each rater's own masks: {', '.join(f'derivatives/{name}' for name in others)}")
    say(f"licence: {public.description['License']}. {public.description['HowToAcknowledge']}.")


if __name__ == "__main__":
    sys.exit(main())
