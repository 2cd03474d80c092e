from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from bids_cascade.cohort.columns import (
    CHANGE_FLAGS,
    GROUP_FLAGS,
    LESION_COLUMNS,
    OF_CHANGE,
    OPTIONAL,
    STATUSES,
    SUMMARY_COLUMNS,
    VISIT_COLUMNS,
)
from bids_cascade.cohort.tables import (
    GroupVisit,
    lesion_rows,
    number_processings,
    summary_rows,
    visit_rows,
    without_unused,
)
from bids_cascade.dataset.tables import Tsv
from bids_cascade.derivatives.read import Processing, VisitResults
from bids_cascade.visit_key import VisitKey

USUAL = Processing("tiny", "ab" * 32, 0.5, 10.0, "single", "1.0.0")
OTHER = Processing("tiny", "ab" * 32, 0.4, 10.0, "single", "1.0.0")


def visit(
    key: VisitKey, *volumes_mm3: float, how: Processing = USUAL, brain_ml: float = 1000, **known: Any
) -> GroupVisit:
    """Return a complete visit with lesions of these volumes."""
    total_ml = sum(volumes_mm3) / 1000
    results = VisitResults(
        stats={
            "n_lesions": f"{len(volumes_mm3)}",
            "lesion_volume_t1w_ml": f"{total_ml:.6g}",
            "lesion_volume_flair_ml": "n/a",
            "brain_volume_ml": f"{brain_ml:.6g}",
        },
        flags=known.pop("flags", {}),
        processing=how,
        lesions=Tsv(("index", "volume_mm3"), tuple(f"{n}\t{one:g}" for n, one in enumerate(volumes_mm3, start=1))),
    )
    return GroupVisit(key, "complete", results=results, **known)


def test_a_visit_by_hand() -> None:
    (row,) = visit_rows(
        [
            visit(
                VisitKey("01", "1"),
                *(200, 50, 13, 4, 2),
                brain_ml=1340,
                day=date(2020, 2, 1),
                joined={"age": "40"},
                flags={"one": "a.", "two_words": ""},
            )
        ]
    )
    expected = {
        "participant_id": "sub-01",
        "session_id": "ses-1",
        "status": "complete",
        "status_reason": None,
        "visit_number": 1,
        "acquisition_date": "2020-02-01",
        "days_since_first_visit": 0,
        "n_lesions": "5",
        "lesion_volume_ml": "0.269",
        "lesion_volume_t1w_ml": "0.269",
        "lesion_volume_flair_ml": "n/a",
        "lesion_volume_brain_percent": pytest.approx(100 * 0.269 / 1340),
        "largest_lesion_mm3": 200,
        "median_lesion_mm3": 13,
        "n_lesions_14mm3": 2,
        "n_lesions_under_3_mm3": 1,
        "n_lesions_3_to_10_mm3": 1,
        "n_lesions_10_to_30_mm3": 1,
        "n_lesions_30_to_100_mm3": 1,
        "n_lesions_over_100_mm3": 1,
        "brain_volume_ml": "1340",
        "quality_flags": "one;two_words",
        "warnings": "a; two words",
        "group_flags": None,
        "processing": 1,
        "model_name": "tiny",
        "model_sha256": "ab" * 32,
        "threshold": 0.5,
        "min_lesion_volume_mm3": 10.0,
        "precision": "single",
        "sequences": "T1w+FLAIR",
        "bids_cascade_version": "1.0.0",
        "age": "40",
    }
    assert {name: row[name] for name in expected} == expected
    assert set(row) - set(expected) == {"lesion_volume_modified_z", "brain_volume_modified_z"}
    assert set(row) - {"age"} <= set(VISIT_COLUMNS)


def test_a_visit_without_lesions_and_one_without_results() -> None:
    without, missing = visit_rows(
        [visit(VisitKey("01", None)), GroupVisit(VisitKey("02", None), "failed", "no good", in_dataset=False)]
    )
    assert without["session_id"] is None
    assert (without["largest_lesion_mm3"], without["median_lesion_mm3"]) == (None, None)
    assert without["lesion_volume_brain_percent"] == 0
    assert without["quality_flags"] is None
    assert (missing["status"], missing["status_reason"]) == ("failed", "no good")
    assert missing["group_flags"] == "not_in_dataset"
    assert "n_lesions" not in missing


def test_a_brain_without_volume_has_no_fraction() -> None:
    (row,) = visit_rows([visit(VisitKey("01", None), 30, brain_ml=0)])
    assert row["lesion_volume_brain_percent"] is None


def course(*visits: GroupVisit) -> list[tuple[Any, ...]]:
    names = ("visit_number", "days_since_first_visit", "days_since_previous_visit", "lesion_volume_change_ml")
    return [tuple(row.get(name) for name in names) for row in visit_rows(visits)]


def test_course_by_date() -> None:
    # In order of the dates: b, c (without results), a, then d of another threshold.
    assert course(
        visit(VisitKey("01", "a"), 1500, day=date(2020, 3, 1)),
        visit(VisitKey("01", "b"), 1000, day=date(2020, 1, 1)),
        GroupVisit(VisitKey("01", "c"), "missing", day=date(2020, 2, 1)),
        visit(VisitKey("01", "d"), 2000, day=date(2020, 3, 11), how=OTHER),
        visit(VisitKey("02", "a"), 1000, day=date(2021, 1, 1)),
    ) == [(3, 60, 60, 0.5), (1, 0, None, None), (2, 31, None, None), (4, 70, 10, None), (1, 0, None, None)]


def test_course_by_session_where_a_date_is_missing() -> None:
    assert course(
        visit(VisitKey("01", "10"), 1000, day=date(2020, 1, 1)),
        visit(VisitKey("01", "2"), 1250),
        visit(VisitKey("01", "9"), 1000, day=date(2019, 1, 1)),
    ) == [(3, 365, 365, 0), (1, None, None, None), (2, 0, None, -0.25)]


def test_processings_are_numbered_by_frequency_and_kept_apart() -> None:
    visits = [
        visit(VisitKey("01", None), 30, how=OTHER),
        visit(VisitKey("02", None), 30),
        visit(VisitKey("03", None), 30),
    ]
    assert number_processings(visits) == {USUAL: 1, OTHER: 2}
    assert number_processings(visits[:2]) == {OTHER: 1, USUAL: 2}, "of equally frequent ones, the first in order"
    lone = replace(OTHER, sequences="FLAIR")
    visits_of_both = [visit(VisitKey("01", None), 30, how=lone), *visits[1:2]]
    assert number_processings(visits_of_both) == {USUAL: 1, lone: 2}, "of equally frequent ones, that of most sequences"
    rows = visit_rows(visits)
    assert [row["processing"] for row in rows] == [2, 1, 1]
    assert [row["group_flags"] for row in rows] == ["different_processing", None, None]


def test_outliers_are_told_within_a_processing() -> None:
    usual = [visit(VisitKey(f"{n:02d}", None), 1000 + n, brain_ml=1400 + n) for n in range(11)]
    others = [visit(VisitKey(f"{n}", None), 100_000, brain_ml=300, how=OTHER) for n in range(50, 60)]
    strange = [visit(VisitKey("98", None), 90_000, brain_ml=1405), visit(VisitKey("99", None), 1005, brain_ml=500)]
    rows = visit_rows([*usual, *others, *strange])
    flags = {row["participant_id"]: row["group_flags"] for row in rows if row["group_flags"]}
    assert flags == {
        **{f"sub-{n}": "different_processing" for n in range(50, 60)},
        "sub-98": "lesion_volume_outlier",
        "sub-99": "brain_volume_outlier",
    }
    assert all(row["lesion_volume_modified_z"] == 0 for row in rows[11:21])
    # Of 13 brains 1400, 1401, ..., 1405, 1405, ..., 1410 and 500 the median is 1405 - 0, their median distance 3.
    brains = sorted([*range(1400, 1411), 1405, 500])
    median = brains[6]
    mad = sorted(abs(one - median) for one in brains)[6]
    assert rows[-1]["brain_volume_modified_z"] == pytest.approx(0.6745 * (500 - median) / mad)


def test_lesions_of_all_visits_in_order() -> None:
    visits = [
        visit(VisitKey("01", "1"), 30, 20),
        GroupVisit(VisitKey("01", "2"), "missing"),
        visit(VisitKey("02", None), 40, how=OTHER),
    ]
    rows = list(lesion_rows(visits))
    names = ("participant_id", "session_id", "index", "volume_mm3", "processing")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("sub-01", "ses-1", "1", "30", 2),
        ("sub-01", "ses-1", "2", "20", 2),
        ("sub-02", None, "1", "40", 1),
    ]


def test_optional_columns_are_there_where_a_visit_has_them() -> None:
    one = visit(VisitKey("01", None), 30)
    for columns in (VISIT_COLUMNS, LESION_COLUMNS):
        assert set(columns) - set(without_unused(columns, [one])) <= {*OPTIONAL, *OF_CHANGE, CHANGE_FLAGS}
        assert set(columns) - set(without_unused(columns, [one, GroupVisit(VisitKey("03", None), "missing")]))
    results = replace(
        one.results,
        stats={**one.results.stats, "cascade_agreement": "0.75"},
        lesions=Tsv((*one.results.lesions.columns, "uncertainty"), (f"{one.results.lesions.lines[0]}\t0.25",)),
    )
    several = replace(one, key=VisitKey("02", None), results=results)
    absent = {*OPTIONAL, *OF_CHANGE, CHANGE_FLAGS} - {"cascade_agreement", "uncertainty"}
    for columns in (VISIT_COLUMNS, LESION_COLUMNS):
        kept = [name for name in columns if name not in absent]
        assert list(without_unused(columns, [one, several])) == kept
    assert [row.get("cascade_agreement") for row in visit_rows([one, several])] == [None, "0.75"]
    assert [row.get("uncertainty") for row in lesion_rows([one, several])] == [None, "0.25"]


def test_summary_by_hand() -> None:
    visits = [visit(VisitKey(f"{n}", None), *([1000] * n)) for n in range(1, 6)] + [
        visit(VisitKey("9", None), 50, how=OTHER)
    ]
    rows = [*visit_rows(visits), {"status": "missing"}]
    summary = summary_rows(rows)
    assert summary[0] == {
        "processing": 1,
        "measure": "lesion_volume_ml",
        "n_visits": 5,
        "minimum": 1,
        "first_quartile": 2,
        "median": 3,
        "third_quartile": 4,
        "maximum": 5,
    }
    assert [row["processing"] for row in summary] == [1] * 5 + [2] * 5
    assert summary[0].keys() == SUMMARY_COLUMNS.keys()
    assert summary_rows([]) == []


def test_every_column_is_described() -> None:
    for columns in (VISIT_COLUMNS, LESION_COLUMNS, SUMMARY_COLUMNS):
        assert all(description["Description"] for description in columns.values())
        assert all(name == name.lower() for name in columns)
    assert VISIT_COLUMNS["status"]["Levels"] is STATUSES
    assert VISIT_COLUMNS["group_flags"]["Levels"] is GROUP_FLAGS


def test_a_visit_without_a_t1w_is_another_processing_and_not_compared() -> None:
    alone = replace(USUAL, sequences="FLAIR")
    visits = [visit(VisitKey("01", f"{n}"), 1000) for n in (1, 2)] + [visit(VisitKey("01", "3"), 2000, how=alone)]
    stats = visits[2].results.stats
    stats["lesion_volume_t1w_ml"], stats["lesion_volume_flair_ml"] = "n/a", "2"
    rows = visit_rows(visits)
    assert [(row["processing"], row["sequences"]) for row in rows] == [(1, "T1w+FLAIR")] * 2 + [(2, "FLAIR")]
    assert [row["lesion_volume_ml"] for row in rows] == ["1", "1", "2"]
    assert rows[2]["group_flags"] == "different_processing"
    assert [row.get("lesion_volume_change_ml") for row in rows] == [None, 0, None]
