from collections.abc import Callable
from pathlib import Path

import pytest

from bids_cascade.errors import OutputError
from bids_cascade.report.participant_pages import write_participant_pages


def test_a_page_that_cannot_be_written_does_not_stop_the_others(
    tmp_path: Path, leave_results: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("sub-01", "sub-02", "sub-03"):
        leave_results(tmp_path, name)
    (tmp_path / "sub-02.html").mkdir()  # nothing replaces a folder
    failed = write_participant_pages(tmp_path, ["01", "02", "03"])
    assert {label: type(error) for label, error in failed.items()} == {"02": OutputError}
    assert "sub-02: its page does not link to sub-01" in caplog.text
    assert all((tmp_path / f"sub-{label}.html").is_file() for label in ("01", "03"))
