"""What the smaller commands share: a parser that raises, and one line and an exit code for each error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from bids_cascade.errors import OK, BidsCascadeError, UsageError


class CommandParser(argparse.ArgumentParser):
    """Raises what argparse would exit with, so that exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; see --help")


def run_command(program: str, act: Callable[[], None]) -> int:
    """Run a command; return the exit code, after one line for an error.

    Parameters
    ----------
    program : str
        What the user has called.
    act : callable
        Does the work.
    """
    try:
        act()
    except BidsCascadeError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    return OK
