"""A visit's names, order and place."""

import dataclasses

import pytest

from bids_cascade.dataset.visits import Visit
from bids_cascade.visit_key import VisitKey, natural_key


@pytest.mark.parametrize(
    ("participant", "session", "name", "slug", "label"),
    [
        ("01", "1", "sub-01_ses-1", "sub_01_ses_1", "ses-1"),
        ("A", None, "sub-A", "sub_A", "sub-A"),
        ("a+b", "x", "sub-a+b_ses-x", "sub_a__b_ses_x", "ses-x"),
    ],
)
def test_names(participant: str, session: str | None, name: str, slug: str, label: str) -> None:
    visit = VisitKey(participant, session)
    assert (visit.name, visit.slug, visit.label) == (name, slug, label)


def test_natural_key_orders_equal_numbers_by_text() -> None:
    assert sorted(["1", "01", "a1", None, "2"], key=natural_key) == [None, "01", "1", "2", "a1"]


def test_visits_are_ordered_by_participant_then_session() -> None:
    keys = [VisitKey("10", None), VisitKey("2", "10"), VisitKey("2", "9"), VisitKey("2", None)]
    assert [key.name for key in sorted(keys, key=lambda key: key.order)] == [
        "sub-2",
        "sub-2_ses-9",
        "sub-2_ses-10",
        "sub-10",
    ]


def test_folder_and_columns() -> None:
    assert VisitKey("01", "1").folder.as_posix() == "sub-01/ses-1"
    assert VisitKey("01", None).folder.as_posix() == "sub-01"
    assert VisitKey("01", "1").columns == {"participant_id": "sub-01", "session_id": "ses-1"}
    assert VisitKey("01", None).columns == {"participant_id": "sub-01", "session_id": None}


def test_a_visit_with_images_has_the_same_key() -> None:
    assert Visit("01", "1", {}).key == VisitKey("01", "1")
    assert len({Visit("01", "1", {}).key, VisitKey("01", "1"), VisitKey("01", None)}) == 2


def test_keys_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        VisitKey("01", None).participant = "02"  # type: ignore[misc]
