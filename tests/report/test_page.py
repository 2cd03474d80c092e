from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

from bids_cascade import __version__
from bids_cascade.report import page
from bids_cascade.report.page import ROWS_IN_HTML, Column, Table, relative_url, render_page

TEMPLATE = """\
{% extends "page.html" %}
{% import "parts.html" as parts %}
{% block lead %}<p class="lead">{{ lead }}</p>{% endblock %}
{% block main %}
<h2 id="all">All of it</h2>
{{ parts.key_figures([("3", "visits"), ("1.25", "ml, median")]) }}
{% call parts.notice("warning", "Look at these") %}<p>{{ said }}</p>{% endcall %}
{{ parts.facts([("model", said), ("threshold", 0.5)]) }}
{{ parts.flags({"low_contrast": said}) }}
{{ parts.figure(url, "A square", said) }}
{{ parts.data_table(table, "Visits") }}
{% endblock %}
"""
EVIL = "<script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">"
SQUARE = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><path d="M0 0h9v9H0z"/></svg>'


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a writer of a page that has one of each part."""
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"one.html": TEMPLATE}), page._environment().loader])
    monkeypatch.setattr(page._environment(), "loader", loader)

    def write_page(table: Table, said: str = "one & two", lead: Any = "A lead") -> Path:
        square = tmp_path / "figures" / "a square.svg"
        square.parent.mkdir(exist_ok=True)
        square.write_text(SQUARE)
        path = tmp_path / "page.html"
        url = relative_url(square, path)
        contents = [("all", "All"), (table.anchor, "Table")]
        text = render_page("one.html", title="A page", contents=contents, lead=lead, said=said, url=url, table=table)
        path.write_text(text, encoding="utf-8")
        return path

    return write_page


def visits(n: int = 4) -> Table:
    columns = [Column("visit", "Which"), Column("volume_ml", "Volume in ml"), Column("group")]
    rows = [("sub-10", "9.5", "b"), ("sub-9", "n/a", "a"), ("sub-1", "10", "n/a"), ("sub-2", "-1e-3", "B2")]
    more = [(f"sub-{index}", f"{index}", "c") for index in range(11, n + 7)]
    return Table("group_visits.tsv", columns, [*rows, *more][:n], links=["./page.html#all"] + [""] * (n - 1))


class Tags(HTMLParser):
    """Collects the start tags of a page, and complains of what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.append(tag)
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_numeric_columns() -> None:
    assert visits().numeric == [False, True, False]
    assert Table("x.tsv", [Column("a")], [("n/a",)]).numeric == [False]
    assert Table("x.tsv", [Column("a")], []).numeric == [False]
    assert Table("x.tsv", [Column("a"), Column("b")], [("1e3", "nan"), ("-.5", "1")]).numeric == [True, False]


@pytest.mark.parametrize(
    ("field", "description"),
    [
        ({"Description": "Volume.", "Units": "mL"}, "Volume (mL)"),
        ({"Description": "Volume."}, "Volume"),
        ({"Units": "mm"}, "(mm)"),
        (
            {"Description": "Whose", "Levels": {"a": "hers", "b": {"Description": "his.", "TermURL": "x"}}},
            "Whose. a: hers. b: his",
        ),
        ({"Description": "Time", "Units": "s", "Levels": "none"}, "Time (s)"),
        ({"Levels": {"1": "yes", "0": {}}}, "1: yes. 0: "),
        ({}, ""),
        (None, ""),
        ("Volume", ""),
    ],
)
def test_a_column_says_what_its_sidecar_says(field: object, description: str) -> None:
    assert Column.described("volume", field) == Column("volume", description)


def test_links_are_relative_and_quoted(tmp_path: Path) -> None:
    assert relative_url(tmp_path / "sub-a+b.html", tmp_path / "group.html") == "./sub-a%2Bb.html"
    with pytest.raises(ValueError, match="subpath"):
        relative_url(tmp_path / "x.html", tmp_path / "elsewhere" / "group.html")


def test_page_is_whole_and_escapes_what_it_is_told(write: Any) -> None:
    text = write(visits(), said=EVIL, lead=Markup("<b>bold</b>")).read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.names.count("script") == 1
    assert tags.names.count("img") == 1
    assert "<b>bold</b>" in text
    assert f"bids_cascade {__version__}" in text
    assert "not a medical device" in text
    assert not re.search(r"https?://", text)


def test_what_is_not_given_is_an_error(write: Any) -> None:
    with pytest.raises(jinja2.UndefinedError, match="lead"):
        render_page("one.html", title="A page")


def test_same_content_same_bytes(write: Any) -> None:
    assert write(visits()).read_bytes() == write(visits()).read_bytes()


def test_page_in_browser(write: Any, browser: Any) -> None:
    one = browser.open(write(visits()))
    assert one.evaluate("document.querySelector('h1').textContent") == "A page"
    image = "document.querySelector('figure img')"
    assert one.evaluate(f"{image}.loading = 'eager', {image}.decode().then(() => {image}.naturalWidth)") == 9
    assert one.evaluate("document.querySelector('.count').textContent") == "4 rows"
    missing = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash)).length"
    assert one.evaluate(missing) == 0
    for width in (360, 1280):
        one.resize(width, 800)
        assert one.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert one.problems == []
    assert all(url.startswith("file:") or url == "data:," for url in one.requests)
    one.close()


FIRST = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].textContent)"
SORTS = [
    (0, ["sub-1", "sub-2", "sub-9", "sub-10"], ["sub-10", "sub-9", "sub-2", "sub-1"]),
    (1, ["sub-2", "sub-10", "sub-1", "sub-9"], ["sub-1", "sub-10", "sub-2", "sub-9"]),
    (2, ["sub-9", "sub-10", "sub-2", "sub-1"], ["sub-2", "sub-10", "sub-9", "sub-1"]),
]


@pytest.mark.parametrize(("column", "upwards", "downwards"), SORTS)
def test_sorting_by_mouse_and_by_key(
    write: Any, browser: Any, column: int, upwards: list[str], downwards: list[str]
) -> None:
    one = browser.open(write(visits()))
    button = f"document.querySelectorAll('th button')[{column}]"
    heading = f"{button}.closest('th').getAttribute('aria-sort')"
    assert one.evaluate(heading) == "none"
    one.evaluate(f"{button}.click()")
    assert one.evaluate(FIRST) == upwards
    assert one.evaluate(heading) == "ascending"
    one.evaluate(f"{button}.focus()")
    one.press("Enter")
    assert one.evaluate(FIRST) == downwards
    assert one.evaluate(heading) == "descending"
    one.close()


def test_long_table_is_leafed_through_searched_and_downloaded(write: Any, browser: Any) -> None:
    n = 2 * ROWS_IN_HTML + 50
    table = visits(n)
    one = browser.open(write(table))
    count, rows = "document.querySelector('.count').textContent", "document.querySelectorAll('tbody tr').length"
    forth = "document.querySelectorAll('.leaf button')[1]"
    assert one.evaluate(count) == f"rows 1 to {ROWS_IN_HTML} of {n}"
    one.evaluate(f"{forth}.click()")
    one.evaluate(f"{forth}.click()")
    assert (one.evaluate(rows), one.evaluate(f"{forth}.disabled")) == (50, True)
    one.evaluate("document.querySelectorAll('th button')[1].click()")
    assert one.evaluate(FIRST)[:3] == ["sub-2", "sub-10", "sub-1"]
    one.evaluate("(i => {i.value = 'SUB-45'; i.dispatchEvent(new Event('input'))})(document.querySelector('input'))")
    assert one.evaluate(FIRST) == ["sub-45", *(f"sub-45{index}" for index in range(7))]
    blob = "new Promise(done => {URL.createObjectURL = blob => {done(blob.text()); return 'blob:x'};"
    text = one.evaluate(blob + "document.querySelector('.download').click()})")
    assert text.splitlines() == ["visit\tvolume_ml\tgroup", *("\t".join(row) for row in table.rows)]
    one.close()


def test_policy_stops_scripts_and_requests_that_are_not_ours(write: Any, browser: Any) -> None:
    # As if something had slipped through unescaped.
    lead = Markup(EVIL + "<img src='https://example.org/x.png'><script src='https://example.org/x.js'></script>")
    one = browser.open(write(visits(), lead=lead))
    assert one.evaluate("document.title") == "A page"
    assert one.evaluate("document.querySelector('.count').textContent") == "4 rows"
    assert sum("Content Security Policy" in said for said in one.problems) >= 4
    one.close()
