"""The shell of every page: one HTML file that loads nothing from the network and runs only our own scripts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from bids_cascade import __version__
from bids_cascade.dataset.tables import NOT_AVAILABLE
from bids_cascade.report.mosaic import OUTLINE_COLOURS

ROWS_IN_HTML = 200
"""Rows of a table that are written as HTML; a longer table is paginated, which keeps the page fast."""

_TEMPLATES = Path(__file__).parent / "templates"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MISSING = (NOT_AVAILABLE, "")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
        As in the TSV file.
    description : str
        Its content, with units, in a sentence; shown with the heading and below the table.
    """

    name: str
    description: str = ""

    @classmethod
    def described(cls, name: str, field: object) -> Column:
        """Return a column with its description from a JSON sidecar, in one line; anything but an object is ignored.

        >>> Column.described("size", {"Description": "Volume", "Units": "mL", "Levels": {"0": "none"}}).description
        'Volume (mL). 0: none'
        """
        if not isinstance(field, Mapping):
            return cls(name)
        text, units, levels = str(field.get("Description", "")).rstrip("."), field.get("Units"), field.get("Levels")
        sentences = [f"{text} ({units})".lstrip() if units else text]
        if isinstance(levels, Mapping):
            sentences += [f"{level}: {_level(meaning)}" for level, meaning in levels.items()]
        return cls(name, ". ".join(part.rstrip(".") for part in sentences if part))


@dataclass(frozen=True)
class Table:
    """A table of a page: that of the TSV file beside it, cell by cell.

    Attributes
    ----------
    file_name : str
        Name of the TSV file, under which the table can also be downloaded from the page.
    columns : sequence of Column
    rows : sequence of sequence of str
        Cells as the TSV file has them.
    links : sequence of str
        For each row the link of its first cell, see :func:`relative_url`; empty for none.
    """

    file_name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    links: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        """The table's id in the page, such as ``table-group_visits``."""
        return "table-" + re.sub(r"[^\w-]", "-", self.file_name.removesuffix(".tsv"))

    @property
    def numeric(self) -> list[bool]:
        """Columns that hold only numbers, at least one, and ``n/a``."""
        columns = [[row[index] for row in self.rows] for index in range(len(self.columns))]
        return [_all_numbers([cell for cell in column if cell not in _MISSING]) for column in columns]

    @property
    def head(self) -> list[tuple[Sequence[str], str]]:
        """The rows that are written as HTML, with their links."""
        links = self.links or [""] * len(self.rows)
        return list(zip(self.rows[:ROWS_IN_HTML], links[:ROWS_IN_HTML], strict=True))

    @property
    def rest(self) -> dict[str, Any] | None:
        """The other rows, for the page's script; None if there are none."""
        if len(self.rows) <= ROWS_IN_HTML:
            return None
        return {"rows": self.rows[ROWS_IN_HTML:], "links": self.links[ROWS_IN_HTML:]}


def render_page(
    template: str,
    *,
    title: str,
    contents: Sequence[tuple[str, str]] = (),
    other_pages: Sequence[tuple[str, str]] = (),
    scripts: Sequence[str] = (),
    styles: Sequence[str] = (),
    **content: Any,
) -> str:
    """Return a page as HTML; all text in it is escaped, whatever names the dataset has.

    A policy in the page's head forbids all requests except for images and frames beside the page, and all scripts
    except those named here. A viewer with its own scripts is a separate file, shown in a frame.

    Parameters
    ----------
    template : str
        One of ``report/templates/`` that extends ``page.html`` and fills its blocks ``lead`` and ``main``; the parts
        that pages share are macros of ``parts.html``.
    title : str
        Title and first heading.
    contents : sequence of (str, str)
        Anchors and names of the sections, for the page's own navigation.
    other_pages : sequence of (str, str)
        Links to pages beside it, and their names.
    scripts, styles : sequence of str
        Files of ``report/templates/`` to add to the shell's own.
    **content : Any
        Variables of the template, all of which must be given.
    """
    all_scripts = [_read(name) for name in ("page.js", *scripts)]
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            title=title,
            contents=contents,
            other_pages=other_pages,
            policy=_policy(all_scripts),
            scripts=all_scripts,
            styles=[_read(name) for name in ("page.css", *styles)],
            version=__version__,
        )
    )


def render_bare(template: str, *, scripts: Sequence[str], styles: Sequence[str], **content: Any) -> str:
    """Return a page without the shell, under the same policy: see :func:`render_page`."""
    own = [_read(name) for name in scripts]
    page = _environment().get_template(template)
    return page.render(
        **content, policy=_policy(own), scripts=own, styles=[_read(name) for name in styles], version=__version__
    )


def relative_url(path: Path, page: Path) -> str:
    """Return the link from a page to a file in its folder or below.

    >>> relative_url(Path("out/figures/a b.svg"), Path("out/sub-01.html"))
    './figures/a%20b.svg'

    Raises
    ------
    ValueError
        The file lies elsewhere.
    """
    return "./" + quote(path.relative_to(page.parent).as_posix())


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["OUTLINE_COLOURS"] = OUTLINE_COLOURS
    return environment


def _read(name: str) -> Markup:
    """Return one of our styles or scripts, which is not escaped."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _policy(scripts: Sequence[str]) -> str:
    """Return the Content-Security-Policy of a page with these scripts."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    return "; ".join(
        (
            "default-src 'none'",
            "script-src " + " ".join(f"'sha256-{digest}'" for digest in hashes),
            "style-src 'unsafe-inline'",  # also for the style attributes of SVG; a style can't load anything
            "img-src 'self' file: data:",
            "frame-src 'self' file:",
            "object-src 'self' file:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _level(meaning: object) -> str:
    """Return the meaning of a column's level: a text or, as BIDS also allows, an object with one."""
    return str(meaning.get("Description", "")) if isinstance(meaning, Mapping) else str(meaning)


def _all_numbers(cells: Sequence[str]) -> bool:
    return bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)
