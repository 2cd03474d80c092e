from __future__ import annotations

from pathlib import Path

import pytest

from bids_cascade.errors import MissingInputError, OutputError, UsageError
from bids_cascade.importing.cli import DATASETS, main
from bids_cascade.importing.datasets import PUBLIC_DATASETS

from .conftest import LAYOUTS, Tree


def test_the_command_says_what_it_has_made(make_tree: Tree, tmp_path: Path, capsys) -> None:
    source = make_tree(tmp_path / "source", LAYOUTS["isbi2015"])
    assert main(["isbi2015", str(source), str(tmp_path / "bids"), "--link"]) == 0
    said = capsys.readouterr().out
    assert "ISBI 2015: 4 visits of 3 participants, 3 with a mask" in said
    assert "no consensus has been published" in said
    assert "derivatives/rater1, derivatives/rater2" in said
    assert "Carass" in said


def test_what_can_not_be_done_is_said_in_one_line(make_tree: Tree, tmp_path: Path, capsys) -> None:
    source = make_tree(tmp_path / "source", LAYOUTS["ljubljana"])
    for arguments, error, message in (
        (["mslesseg", source, tmp_path / "bids"], MissingInputError, "expected train/P1/T1/P1_T1_FLAIR.nii.gz"),
        (["ljubljana", source, source], OutputError, "exists already"),
        (["brats", source, tmp_path / "bids"], UsageError, "invalid choice: 'brats'"),
        (["ljubljana", source], UsageError, "the following arguments are required: BIDS_DIR"),
    ):
        assert main([*map(str, arguments)]) == error.exit_code
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_the_command_knows_all_data_sets() -> None:
    assert tuple(PUBLIC_DATASETS) == DATASETS


def test_help_is_shown(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "mslesseg, msseg2016, isbi2015" in capsys.readouterr().out
