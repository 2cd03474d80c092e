"""BIDS validation by bids-validator-deno."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_cascade.errors import InvalidDatasetError

logger = logging.getLogger(__name__)

_INVALID_BIDS = 16
_SHOWN = 5


class Validation:
    """A running bids-validator-deno, if that is installed.

    The content of images is checked by the steps that read them, so that one bad image does not stop the rest.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.
    """

    def __init__(self, bids_dir: Path) -> None:
        self.bids_dir = bids_dir
        self._process: subprocess.Popen[str] | None = None
        command = find_validator()
        if command is None:
            logger.warning("bids-validator-deno is not installed: %s is not validated", bids_dir)
            return
        arguments = [command, "--format", "json", "--ignoreWarnings", "--ignoreNiftiHeaders", str(bids_dir)]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        except OSError as error:
            self._give_up(error)

    def finish(self) -> None:
        """Wait for the result.

        Raises
        ------
        InvalidDatasetError
            The validator reports errors; the message shows the first few.
        """
        if self._process is None:
            return
        try:
            stdout, _ = self._process.communicate()
            code = self._process.returncode
            issues = json.loads(stdout)["issues"]["issues"] if code == _INVALID_BIDS else []
        except (OSError, ValueError, LookupError) as error:
            self._give_up(error)
            return
        if code not in (0, _INVALID_BIDS):
            logger.warning("bids-validator-deno failed (exit code %d): %s is not validated", code, self.bids_dir)
        errors = [
            _describe(issue) for issue in issues if issue.get("severity") == "error" and not _is_broken_image(issue)
        ]
        if errors:
            raise InvalidDatasetError(
                f"{self.bids_dir} is not valid BIDS: {enumerated(errors, '; ')}; run `bids-validator-deno "
                f"{self.bids_dir}` for all, correct them, or give --skip-bids-validation"
            )

    def stop(self) -> None:
        """End the validator if it still runs, without waiting for its result."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def _give_up(self, error: Exception) -> None:
        logger.warning("bids-validator-deno could not be run (%s): %s is not validated", error, self.bids_dir)


def find_validator() -> str | None:
    """Return the path of bids-validator-deno: on PATH, or beside the running Python."""
    beside = os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))
    return shutil.which("bids-validator-deno", path=beside)


def enumerated(items: Sequence[str], separator: str = ", ") -> str:
    """Return the first few items and the number of further ones as one string."""
    more = len(items) - _SHOWN
    return separator.join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _is_broken_image(issue: dict[str, Any]) -> bool:
    """Return whether a validator's issue is an empty image or a broken link, which its own visit will report."""
    return issue.get("code") in ("EMPTY_FILE", "SYMLINK_BROKEN") and str(issue.get("location", "")).endswith(
        (".nii", ".nii.gz")
    )


def _describe(issue: dict[str, Any]) -> str:
    """Return one validator's issue in a few words."""
    code = " ".join(str(issue[key]) for key in ("code", "subCode") if issue.get(key))
    return f"{code} in {issue['location']}" if issue.get("location") else code
