"""The group page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from bids_cascade.cli import main
from bids_cascade.dataset.tables import read_tsv
from bids_cascade.derivatives.files import write_tsv
from bids_cascade.report.group_page import write_group_page

EVIL = "<script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">$x^2$"
DOTS = "document.querySelectorAll('[data-plot={}] .dot').length"
LINKS = "[...document.querySelectorAll('main a, header a')].map(a => a.getAttribute('href'))"


@pytest.fixture
def cohort(tmp_path: Path, leave_results: Callable[..., Path]) -> Path:
    """Return the folder above a dataset with odd names in its tables, and the results of most of its visits."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    people = [f"participant_id\tage\t{EVIL}\tedss"]
    for n in range(1, 13):
        for session in ("1", "2") if n < 4 else ("1",):
            name = f"sub-{n:02d}_ses-{session}"
            anat = raw.joinpath(*name.split("_"), "anat")
            anat.mkdir(parents=True)
            for suffix in ("T1w", "FLAIR"):
                (anat / f"{name}_{suffix}.nii.gz").touch()
            if n != 12:
                flags = {"low_contrast": EVIL} if n == 2 else {}
                leave_results(out, name, [n * 100, 30, 20] if n > 1 else [], brain_ml=1000 + n, flags=flags)
        people.append(f"sub-{n:02d}\t{20 + n}\t{EVIL}\t{'n/a' if n == 3 else n / 2}")
    leave_results(out, "sub-05_ses-1", [1e6], ModelName=EVIL)
    (raw / "dataset_description.json").write_text(json.dumps({"Name": EVIL, "BIDSVersion": "1.10.0"}))
    (raw / "participants.tsv").write_text("\n".join(people) + "\n")
    (out / "sub-02.html").write_text("<!DOCTYPE html><title>sub-02</title>")
    return tmp_path


@pytest.fixture
def opened(cohort: Path, browser: Any) -> Iterator[Any]:
    """Run the group level and open its page."""
    assert main([str(cohort / "raw"), str(cohort / "out"), "group"]) == 0
    one = browser.open(cohort / "out" / "group.html")
    yield one
    one.close()


def test_the_page_runs_clean_and_asks_for_nothing(opened: Any) -> None:
    assert opened.problems == []
    assert len([url for url in opened.requests if url != "data:,"]) == 1
    assert opened.evaluate("document.title").startswith("Lesions in <script>")
    for width in (360, 800, 1280):
        opened.resize(width, 900)
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.problems == []


def test_links_resolve(opened: Any, cohort: Path) -> None:
    links = opened.evaluate(LINKS)
    assert "./sub-02.html#sub-02_ses-1" in links
    for link in set(links):
        parts = urlsplit(link)
        if parts.path:
            assert (cohort / "out" / unquote(parts.path)).is_file(), link
        else:
            assert opened.evaluate(f"!!document.getElementById({parts.fragment!r})"), link


def test_a_dot_a_visit(opened: Any) -> None:
    assert opened.evaluate(DOTS.format("distribution")) == 2 * 14
    assert opened.evaluate(DOTS.format("relation")) == 14
    assert opened.evaluate(DOTS.format("course")) == 6
    assert opened.evaluate("document.querySelectorAll('a.dot[href^=\"./sub-02.html#\"]').length") == 2 * (2 + 1 + 1)
    assert opened.evaluate("document.querySelectorAll('[data-plot=relation] .other').length") == 1
    course = "document.querySelector('[data-plot=course] .line').getAttribute('d')"
    assert opened.evaluate(course).count("M") == 3


def test_dots_stand_where_their_numbers_are(opened: Any) -> None:
    opened.evaluate("document.getElementById('relation-x').value = 'edss'")
    opened.evaluate("document.getElementById('relation-x').dispatchEvent(new Event('change'))")
    assert opened.evaluate(DOTS.format("relation")) == 12, "sub-03 has no EDSS"
    assert "2 without a value" in opened.evaluate("document.getElementById('relation-caption').textContent")
    places = opened.evaluate(
        "[...document.querySelectorAll('[data-plot=relation] .dot')].map(dot =>"
        "[dot.getAttribute('aria-label').slice(0, 6), Number(dot.firstChild.getAttribute('cx'))])"
    )
    across = {name: x for name, x in places if x}
    # Equally spaced EDSS, equally spaced dots.
    assert across["sub-08"] - across["sub-06"] == pytest.approx(2 * (across["sub-07"] - across["sub-06"]), abs=0.2)
    assert opened.evaluate("[...document.getElementById('relation-x').options].map(o => o.text)") == [
        "age",
        "edss",
        "brain_volume_ml",
        "visit_number",
    ]


def test_dots_are_reached_by_keys_and_say_what_they_are(opened: Any, cohort: Path) -> None:
    plot = "document.querySelector('[data-plot=distribution]')"
    assert opened.evaluate(f"{plot}.querySelectorAll('.dot[tabindex=\"0\"]').length") == 1
    opened.evaluate(f"{plot}.querySelector('.dot[tabindex=\"0\"]').focus()")
    opened.press("ArrowRight")
    opened.press("ArrowRight")
    assert opened.evaluate(f"{plot}.querySelector('.tooltip').textContent") == (
        "sub-02 ses-1\n0.25 ml, 3 lesions\nlow contrast"
    )
    opened.press("ArrowLeft")
    assert opened.evaluate("document.activeElement.getAttribute('aria-label')") == (
        "sub-01 ses-2, 0 ml, 0 lesions, lesion volume outlier"
    )
    opened.press("ArrowRight")
    opened.follow(lambda: opened.press("Enter"))
    assert opened.evaluate("document.title") == "sub-02"


def test_the_page_s_tables_are_the_files(opened: Any, cohort: Path) -> None:
    for name in ("group_visits", "group_summary"):
        table = read_tsv(cohort / "out" / f"{name}.tsv")
        shown = opened.evaluate(f"dataTables['table-{name}'].rows.map(row => row.cells)")
        assert [tuple(row) for row in shown] == table.rows
        assert opened.evaluate(f"dataTables['table-{name}'].columns") == list(table.columns)


def test_what_matters_comes_first_and_columns_can_be_chosen(opened: Any) -> None:
    table = "document.getElementById('table-group_visits')"
    headings = f"[...{table}.querySelectorAll('th')].filter(th => th.offsetWidth).map(th => th.textContent)"
    cells = f"[...{table}.querySelector('tbody tr').cells].filter(td => td.offsetWidth).length"
    before = opened.evaluate(headings)
    assert before[:8] == [
        *("participant_id", "session_id", "status", "n_lesions", "n_lesions_14mm3"),
        *("lesion_volume_ml", "quality_flags", "group_flags"),
    ]
    assert opened.evaluate(cells) == len(before)
    picker = f"{table}.querySelector('.picker')"
    all_columns = opened.evaluate(f"{table}.querySelectorAll('th').length")
    assert opened.evaluate(f"{picker}.querySelector('summary').textContent") == (
        f"Columns ({all_columns - 3} of {all_columns})"
    )
    press = "[...{}.querySelectorAll('button')].find(one => one.textContent === '{}').click()"
    opened.evaluate(press.format(picker, "All"))
    shown = opened.evaluate(headings)
    assert set(shown) - set(before) == {
        "acquisition_date",
        "days_since_first_visit",
        "days_since_previous_visit",
    }
    assert opened.evaluate(cells) == len(shown) == all_columns
    opened.evaluate(press.format(picker, "Those with a value"))
    assert opened.evaluate(headings) == before
    opened.evaluate(f"{picker}.querySelectorAll('input')[3].click()")
    assert opened.evaluate(headings) == [*before[:3], *before[4:]]
    assert opened.evaluate(cells) == len(before) - 1
    assert opened.problems == []


def test_what_stands_out_is_named(opened: Any) -> None:
    said = opened.evaluate("document.getElementById('attention').innerText")
    assert "1 visit without results" in said
    assert "sub-12 ses-1: not processed yet" in said
    assert "not all made in the same way" in said
    assert f"2: 1 visit, T1w+FLAIR, model {EVIL}" in said
    assert "low contrast 2 visits" in said
    assert "sub-01 ses-1: 0 ml, modified z-score" in said


@pytest.mark.parametrize("n_visits", [0, 1])
def test_hardly_anything_to_show(
    tmp_path: Path, leave_results: Callable[..., Path], browser: Any, n_visits: int
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "out"
    (raw / "sub-01" / "anat").mkdir(parents=True)
    for suffix in ("T1w", "FLAIR"):
        (raw / "sub-01" / "anat" / f"sub-01_{suffix}.nii").touch()
    (raw / "dataset_description.json").write_text('{"Name": "One", "BIDSVersion": "1.10.0"}')
    if n_visits:
        leave_results(out, "sub-01", [40])
    assert main([str(raw), str(out), "group"]) == (0 if n_visits else 66)
    one = browser.open(out / "group.html")
    assert one.problems == []
    assert one.evaluate("document.querySelectorAll('.dot').length") == 3 * n_visits
    expected = "Nothing stands out" if n_visits else "No visit has complete results"
    assert expected in one.evaluate("document.getElementById('attention').innerText")
    assert "No participant has more than one visit" in one.evaluate("document.getElementById('course').innerText")
    one.close()


def test_visits_that_could_not_be_compared_are_not_counted(tmp_path: Path, leave_results: Callable[..., Path]) -> None:
    for session in "123":
        leave_results(tmp_path / "out", f"sub-01_ses-{session}")
        (tmp_path / "raw" / "sub-01" / f"ses-{session}").mkdir(parents=True)
    (tmp_path / "raw" / "dataset_description.json").write_text('{"Name": "Two", "BIDSVersion": "1.10.0"}')
    assert main([str(tmp_path / "raw"), str(tmp_path / "out"), "group"]) == 0
    path = tmp_path / "out" / "group_visits.tsv"
    table = read_tsv(path)
    changes = {
        "ses-1": dict.fromkeys(("change_compared_with", "change_comparable", "n_new_lesions"), "n/a"),
        "ses-2": {"change_compared_with": "ses-1", "change_comparable": "yes", "n_new_lesions": "4"},
        "ses-3": {"change_compared_with": "ses-2", "change_comparable": "no", "n_new_lesions": "n/a"},
    }
    others = (
        "change_flags",
        "n_enlarging_lesions",
        "n_shrinking_lesions",
        "n_resolved_lesions",
        "compared_volume_change_ml",
    )
    rows = [{**row, **dict.fromkeys(others, "0"), **changes[row["session_id"]]} for row in table.dicts()]
    write_tsv(rows, list(rows[0]), path)
    page = write_group_page(tmp_path / "out", name="Two", descriptions={}, problems=[], selection="")
    assert "1 of 1 compared visit has new lesions" in page.read_text()
    assert page.read_text().count("not compared: ") == 1
