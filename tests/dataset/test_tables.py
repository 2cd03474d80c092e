from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bids_cascade.dataset.tables import acquisition_date, join_columns, read_object, read_tsv
from bids_cascade.errors import BadDataError, MissingInputError
from bids_cascade.visit_key import VisitKey


def test_cells_are_read_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes("\ufeffa\tb\r\n1\t\r\n <i>\u2028\tn/a\r\n\r\n".encode())
    table = read_tsv(path)
    assert table.columns == ("a", "b")
    assert table.rows == [("1", ""), (" <i>\u2028", "n/a")]
    assert table.dicts()[1] == {"a": " <i>\u2028", "b": "n/a"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a\ta\n1\t2\n", "two of one name: a, a"),
        (b"a\t\n1\t2\n", "a column without a name"),
        (b"a\tb\n1\t2\n1\n", r"line 3 has 1 cells, the header 2"),
        (b"a\n\xff\n", r"not UTF-8 text \(invalid start byte at byte 2\)"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    with pytest.raises(BadDataError, match=message) as caught:
        read_tsv(path)
    assert str(path) in str(caught.value)


def test_tables_that_are_not_there_or_no_files(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="does not exist"):
        read_tsv(tmp_path / "x.tsv")
    with pytest.raises(BadDataError, match="is a folder"):
        read_tsv(tmp_path)


def test_columns_are_joined_and_renamed_where_names_clash(make_raw: Callable[..., Path]) -> None:
    raw = make_raw(
        files={
            "participants.tsv": "participant_id\tage\tsex\tn_lesions\nsub-01\t40\tF\t\nsub-02\t50\tM\t7\n",
            "participants.json": {"age": {"Description": "At first visit", "Units": "year"}, "sex": "F or M"},
            "sub-01/sub-01_sessions.tsv": "session_id\tage\tedss\nses-1\t40\t2.5\nses-2\t41\tn/a\n",
        }
    )
    keys = [VisitKey("01", "1"), VisitKey("01", "2"), VisitKey("01", "3"), VisitKey("02", None)]
    joined = join_columns(raw, keys, ["n_lesions"])
    assert joined.problems == []
    assert joined.participants == ("01", "02")
    assert list(joined.descriptions) == [
        "participants_age",
        "sex",
        "participants_n_lesions",
        "sessions_age",
        "edss",
    ]
    assert joined.descriptions["participants_age"] == {
        "Description": "At first visit",
        "Units": "year",
        "JoinedFrom": "participants.tsv, column age",
    }
    assert joined.descriptions["edss"]["Description"] == "Column edss of sessions.tsv"
    assert joined.of(VisitKey("01", "1")) == {
        "participants_age": "40",
        "sex": "F",
        "participants_n_lesions": "n/a",
        "sessions_age": "40",
        "edss": "2.5",
    }
    assert "edss" not in joined.of(VisitKey("01", "3"))
    assert joined.of(VisitKey("02", None))["participants_n_lesions"] == "7"
    assert joined.of(VisitKey("03", None)) == {}


def test_a_renamed_column_does_not_take_another_s_name(make_raw: Callable[..., Path]) -> None:
    raw = make_raw(files={"participants.tsv": "participant_id\tparticipants_status\tstatus\nsub-01\ta\tb\n"})
    joined = join_columns(raw, [VisitKey("01", None)], ["status"])
    assert joined.of(VisitKey("01", None)) == {"participants_status": "a", "participants_participants_status": "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("subject\tage\nsub-01\t3\n", "no column participant_id"),
        ("participant_id\tage\nsub-01\t3\nsub-01\t4\n", "more than one row of sub-01"),
        ("participant_id\tage\nsub-01\n", "line 2 has 1 cells"),
    ],
)
def test_a_bad_table_is_named_and_not_joined(make_raw: Callable[..., Path], text: str, message: str) -> None:
    joined = join_columns(make_raw(files={"participants.tsv": text}), [VisitKey("01", None)], [])
    assert joined.descriptions == {}
    (problem,) = joined.problems
    assert message in str(problem)
    assert problem.exit_code == 65


SCANS = "filename\tacq_time\nanat/sub-01_ses-1_T1w.nii.gz\t2020-01-02T10:00:00\n"
SESSIONS = "session_id\tacq_time\nses-1\t2019-03-04\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"scans": SCANS}, date(2020, 1, 2)),
        ({"scans": SCANS + "anat/sub-01_ses-1_FLAIR.nii.gz\t1877-06-15T13:45:30.000000Z\n"}, date(1877, 6, 15)),
        ({"scans": SCANS + "anat/sub-01_ses-1_FLAIR.nii.gz\tn/a\n"}, date(2020, 1, 2)),
        ({"scans": SCANS.replace("anat", "func"), "sessions": SESSIONS}, date(2019, 3, 4)),
        ({"scans": "filename\nanat/sub-01_ses-1_T1w.nii.gz\n", "sessions": SESSIONS}, date(2019, 3, 4)),
        ({"scans": "broken\t\n", "sessions": SESSIONS}, date(2019, 3, 4)),
        (
            {"sessions": SESSIONS.replace("2019", "n/a 2019"), "sidecar": {"AcquisitionDate": "20180506"}},
            date(2018, 5, 6),
        ),
        ({"sidecar": {"AcquisitionDateTime": "2018-05-07T01:02:03.4"}}, date(2018, 5, 7)),
        ({"sidecar": "{"}, None),
    ],
)
def test_acquisition_date(make_raw: Callable[..., Path], files: dict[str, Any], expected: date | None) -> None:
    names = {
        "scans": "sub-01/ses-1/sub-01_ses-1_scans.tsv",
        "sessions": "sub-01/sub-01_sessions.tsv",
        "sidecar": "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.json",
    }
    raw = make_raw(files={names[kind]: content for kind, content in files.items()})
    assert acquisition_date(raw, VisitKey("01", "1")) == expected


def test_acquisition_date_without_sessions(make_raw: Callable[..., Path]) -> None:
    raw = make_raw(
        files={"sub-01/sub-01_scans.tsv": "filename\tacq_time\nanat/sub-01_PDw.nii.gz\t2021-12-31T00:00:00\n"}
    )
    assert acquisition_date(raw, VisitKey("01", None)) == date(2021, 12, 31)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can't be read as JSON"),
        (b"{", "can't be read as JSON"),
        (b"\xff", "is not UTF-8 text"),
        (b"[1]", "holds a list instead of a JSON object"),
        (b"[" * 100_000, "can't be read as JSON"),
    ],
)
def test_what_is_no_object_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(BadDataError, match=f"x.json {message}"):
        read_object(path)


def test_an_object_is_read_with_or_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + b'{"a": 1}')
        assert read_object(path) == {"a": 1}
    path.unlink()
    with pytest.raises(MissingInputError, match="does not exist"):
        read_object(path)


def test_hidden_sidecars_are_nobody_s_and_pipes_are_named(make_raw: Callable[..., Path], caplog: Any) -> None:
    root = make_raw(
        "sub-1/anat/._sub-1_FLAIR.json", files={"sub-1/anat/sub-1_T1w.json": {"AcquisitionDate": "2020-02-03"}}
    )
    assert acquisition_date(root, VisitKey("1", None)) == date(2020, 2, 3)
    assert not caplog.text
    os.mkfifo(root / "participants.tsv")
    (problem,) = join_columns(root, [VisitKey("1", None)], []).problems
    assert "participants.tsv is a named pipe" in str(problem)
