from pathlib import Path

import pytest

from bids_cascade.cohort.selection import describe_selection, group_participants, list_without_folder, select_visits
from bids_cascade.config import Inputs, Selection
from bids_cascade.dataset.tables import JoinedColumns
from bids_cascade.errors import InvalidDatasetError, NothingSelectedError, UsageError
from bids_cascade.visit_key import VisitKey

KEYS = [VisitKey("2", "a"), VisitKey("10", "a"), VisitKey("2", "b")]


def select(participants: tuple[str, ...] = (), sessions: tuple[str, ...] = ()) -> list[str]:
    inputs = Inputs(Path("raw"), Path("out"), Selection(participants, sessions))
    return [key.name for key in select_visits(KEYS, inputs)]


def test_visits_are_selected_in_natural_order() -> None:
    assert select() == ["sub-2_ses-a", "sub-2_ses-b", "sub-10_ses-a"]
    assert select(("2", "10"), ("a",)) == ["sub-2_ses-a", "sub-10_ses-a"]


@pytest.mark.parametrize(
    ("participants", "sessions", "said"),
    [
        (("2", "3", "4"), (), "no participant 3, 4 in raw or out; check --participant-label"),
        ((), ("c",), "no session c in raw or out; check --session-label"),
        (("10",), ("b",), "none of the participants asked for has one of the sessions asked for"),
    ],
)
def test_what_selects_nothing_is_named(participants: tuple[str, ...], sessions: tuple[str, ...], said: str) -> None:
    with pytest.raises(NothingSelectedError, match=said):
        select(participants, sessions)


def test_no_visit_at_all_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InvalidDatasetError, match="has no participant"):
        select_visits([], Inputs(tmp_path, tmp_path))


JOINED = JoinedColumns(
    by_participant={"2": {"type": "relapsing"}, "10": {"type": "n/a"}, "3": {"type": "progressive"}},
    participants=("2", "10", "3"),
)


def test_participants_are_grouped_by_a_column_without_those_that_lack_a_value() -> None:
    assert group_participants(JOINED, KEYS, "type") == {"relapsing": ["2"]}
    assert group_participants(JOINED, KEYS, None) == {}
    with pytest.raises(UsageError, match=r"--group-by typ: participants\.tsv has no such column.*give one of type"):
        group_participants(JOINED, KEYS, "typ")


def test_participants_of_the_table_without_a_folder_are_named_unless_left_out() -> None:
    (problem,) = list_without_folder(JOINED, KEYS, Selection())
    assert str(problem).startswith("sub-3: in participants.tsv, but there is no such folder")
    assert list_without_folder(JOINED, KEYS, Selection(participants=("2",))) == []


def test_a_selection_is_described() -> None:
    assert describe_selection(Selection()) == ""
    assert describe_selection(Selection(("1", "2"), ("a",))) == "only participants 1, 2; only sessions a"
