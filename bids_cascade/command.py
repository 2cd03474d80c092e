"""Shared by all commands: a parser that raises; streams, signals, and one line and an exit code for each error."""

from __future__ import annotations

import argparse
import logging
import signal
from collections.abc import Callable
from typing import NoReturn

from bids_cascade.errors import OK, BidsCascadeError, ReadWriteError, UsageError, one_line
from bids_cascade.surroundings import complain, leave_out_current_folder, open_streams, release_streams

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""

_LOGGER = logging.getLogger("bids_cascade")


class CommandParser(argparse.ArgumentParser):
    """Raises an error where argparse would exit, so that exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message}; see --help")


def run_command(program: str, act: Callable[[], int | None], debugging: str | None = None) -> int:
    """Run a command; return its exit code, or that of its error, after one line for the error.

    Parameters
    ----------
    program : str
        Name of the command.
    act : callable
        Does the work; returns an exit code, or None for 0.
    debugging : str, optional
        Option with which the command logs tracebacks.
    """
    leave_out_current_folder()
    open_streams()
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _stop)
    try:
        return act() or OK
    except BidsCascadeError as error:
        return _explain(f"{program}: error: {error}", error.exit_code)
    except KeyboardInterrupt:
        complain(f"{program}: interrupted; rerun to resume")
        return INTERRUPTED
    except OSError as error:
        text = f"{program}: error: reading or writing failed: {one_line(str(error))}"
        return _explain(text, ReadWriteError.exit_code)
    except Exception as error:  # the last resort: an unforeseen error is still one line and an exit code
        fault = one_line(f"{type(error).__name__}: {error}")
        remedy = "please report it" + (f" with the output of {debugging}" if debugging else "")
        return _explain(f"{program}: unexpected {fault}; {remedy}", BidsCascadeError.exit_code)
    finally:
        release_streams()


def _explain(text: str, exit_code: int) -> int:
    complain(text)
    _LOGGER.debug("traceback", exc_info=True)
    return exit_code


def _stop(*_: object) -> NoReturn:
    """End as after Ctrl-C when the system, a batch scheduler or a closing terminal sends a signal."""
    raise KeyboardInterrupt
