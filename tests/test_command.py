"""How commands end: one line and an exit code, whatever they raise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from bids_cascade.command import INTERRUPTED, CommandParser, run_command
from bids_cascade.errors import BadDataError, UsageError


def test_wrong_arguments_raise_instead_of_leaving() -> None:
    parser = CommandParser()
    parser.add_argument("file", metavar="FILE")
    with pytest.raises(UsageError, match="required: FILE; see --help"):
        parser.parse_args([])


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BadDataError("x.nii: two\nlines"), 65, "app: error: x.nii: two lines"),
        (KeyboardInterrupt(), INTERRUPTED, "app: interrupted; rerun to resume"),
        (OSError(28, "No space left on device", "x"), 74, "app: error: reading or writing failed: [Errno 28] No"),
        (ZeroDivisionError("by\nnought"), 1, "app: unexpected ZeroDivisionError: by nought; please report it"),
    ],
)
def test_each_error_is_one_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> int:
        raise error

    assert run_command("app", lambda: None) == 0
    assert run_command("app", work) == code
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)


def test_a_command_that_can_say_more_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    run_command("app", lambda: 1 // 0)
    run_command("app", lambda: 1 // 0, debugging="-vv")
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("; ")[2] for line in said] == ["please report it", "please report it with the output of -vv"]


@pytest.mark.parametrize("module", ["bids_cascade.model_command", "bids_cascade.importing.cli"])
def test_nobody_who_reads_on_is_no_failure_and_a_full_disk_is_one(module: str) -> None:
    command = [sys.executable, "-m", module, *(["show"] if "model" in module else ["mslesseg", "/nowhere", "/nowhere"])]
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ended.returncode, "Traceback" in ended.stderr) == (0 if "model" in module else 66, False)
    with open("/dev/full", "w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (74 if "model" in module else 66, 1)


def test_the_system_ends_a_command_as_a_user_does() -> None:
    text = "from bids_cascade.command import run_command; import time; "
    text += "import sys; sys.exit(run_command('app', lambda: print('begun', flush=True) or time.sleep(60)))"
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=30)
    assert (process.returncode, complained) == (INTERRUPTED, "app: interrupted; rerun to resume\n")
