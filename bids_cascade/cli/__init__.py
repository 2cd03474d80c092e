"""The command line: arguments -> options -> configuration -> one level -> exit code. May import every other room."""

from bids_cascade.cli.parser import build_parser
from bids_cascade.cli.run import main

__all__ = ["build_parser", "main"]
