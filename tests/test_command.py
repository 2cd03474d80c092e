from __future__ import annotations

import pytest

from bids_cascade.command import CommandParser, run_command
from bids_cascade.errors import BadDataError, UsageError


def test_wrong_arguments_raise_instead_of_leaving() -> None:
    parser = CommandParser()
    parser.add_argument("file", metavar="FILE")
    with pytest.raises(UsageError, match="required: FILE; see --help"):
        parser.parse_args([])


def test_an_error_is_one_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise BadDataError("a.nii is empty")

    assert run_command("bids-cascade-x", fail) == 65
    assert capsys.readouterr().err == "bids-cascade-x: a.nii is empty\n"
    assert run_command("bids-cascade-x", lambda: None) == 0
