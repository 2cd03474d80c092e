"""The page of a participant, from the output folder: results, figures, and outcomes of the runs."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_cascade.dataset.tables import read_object, read_tsv
from bids_cascade.derivatives.flags import flags_of
from bids_cascade.derivatives.names import derivative_path, sidecar_path, visit_record_path
from bids_cascade.derivatives.read import lesions_path
from bids_cascade.errors import BidsCascadeError, MissingInputError
from bids_cascade.report.change import read_changes, timeline_url
from bids_cascade.report.methods import Methods, describe_methods
from bids_cascade.report.page import Column, Table, relative_url, render_page
from bids_cascade.visit_key import VisitKey, natural_key
from bids_cascade.whole_file import write_whole_file

_LOGGER = logging.getLogger(__name__)

_ATTEMPTS = 5
_CRASH_CHARACTERS = 20_000
_NUMBER = re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class VisitView:
    """One visit on the page; missing parts are empty.

    Attributes
    ----------
    visit : VisitKey
        Without images.
    record : mapping
        How its latest run ended.
    stats, quality : Table or None
        One row each.
    sidecar : mapping
        Of `stats`.
    flags : dict of str to str
        Reasons by quality flag.
    lesions : Table or None
        One row a lesion.
    figures : mapping of str to str
        Links by name, such as ``brain_T1w.svg``.
    files : sequence of (str, str)
        Links and names of its images, tables and transforms.
    crash_reports : sequence of (str, str)
        Names and texts.
    unreadable : sequence of str
        Files that could not be read.
    """

    visit: VisitKey
    record: Mapping[str, Any]
    stats: Table | None
    quality: Table | None
    sidecar: Mapping[str, Any]
    flags: dict[str, str]
    lesions: Table | None
    figures: Mapping[str, str]
    files: Sequence[tuple[str, str]] = ()
    crash_reports: Sequence[tuple[str, str]] = ()
    unreadable: Sequence[str] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """Session or, without sessions, participant."""
        return self.visit.label

    @property
    def failed(self) -> bool:
        """Whether its latest run did not end well."""
        return bool(self.record.get("exit_code"))

    def cell(self, column: str) -> str:
        """Return a cell of the table of volumes, unchanged."""
        return _cell(self.stats, column)

    def rounded(self, column: str, decimals: int) -> str:
        """Return a cell of the table of volumes with this number of decimals, or unchanged if it is not a number."""
        cell = self.cell(column)
        return f"{float(cell):.{decimals}f}" if _NUMBER.fullmatch(cell) else cell

    @property
    def space(self) -> str:
        """The sequence on whose grid the results are: the T1w, or the FLAIR where there is no T1w."""
        return str(next(iter(self.sidecar.get("SequencesUsed", ())), "T1w"))

    @property
    def volume_ml(self) -> float | None:
        """The lesion volume on the results' own grid."""
        cell = self.cell(f"lesion_volume_{self.space.lower()}_ml")
        return float(cell) if _NUMBER.fullmatch(cell) else None

    @property
    def volumes(self) -> list[tuple[str, str]]:
        """The lesion volumes with their names, the one on the results' own grid first."""
        names = dict.fromkeys((self.space, "FLAIR"))
        return [(self.rounded(f"lesion_volume_{name.lower()}_ml", 2), f"ml, on the {name}'s grid") for name in names]

    @property
    def measures(self) -> list[tuple[Column, str]]:
        """The quality measures with their descriptions."""
        return list(zip(self.quality.columns, self.quality.rows[0], strict=True)) if self.quality else []

    def figures_of(self, kind: str) -> list[tuple[str, str]]:
        """Return the figures of a kind: sequences and links, the T1w image first."""
        figures = [
            (name.rpartition("_")[2].partition(".")[0], url)
            for name, url in self.figures.items()
            if name.startswith(f"{kind}_")
        ]
        return sorted(figures, key=lambda figure: (figure[0] != "T1w", figure[0]))


def write_participant_page(out_dir: Path, participant: str) -> Path:
    """Write ``sub-<participant>.html`` from the contents of the output folder; return its path.

    The previous and the next page link to a new page, so they are written, too; one that can't be is named in the log.

    Several runs may do so at once: if results have changed meanwhile, the page is written again.

    Raises
    ------
    OutputError, ReadWriteError
        When the page can't be written.
    """
    page = _page_path(out_dir, participant)
    is_new = not page.exists()
    _write_page(out_dir, participant)
    if is_new:
        for neighbour in find_neighbours(out_dir, participant):
            if neighbour and _page_path(out_dir, neighbour).exists():
                try:
                    _write_page(out_dir, neighbour)
                except BidsCascadeError as error:
                    _LOGGER.warning("sub-%s: its page does not link to sub-%s: %s", neighbour, participant, error)
    return page


def find_neighbours(out_dir: Path, participant: str) -> tuple[str | None, str | None]:
    """Return the labels of the previous and the next participant with results or records, if any."""
    names = {path.name for path in out_dir.glob("sub-*")} | {
        path.name for path in visit_record_path(out_dir, "").parent.glob("sub-*.json")
    }
    labels = {re.split(r"[_.]", name.removeprefix("sub-"))[0] for name in names} | {participant}
    ordered = sorted(labels, key=natural_key)
    place = ordered.index(participant)
    return ordered[place - 1] if place else None, ordered[place + 1] if place + 1 < len(ordered) else None


def _page_path(out_dir: Path, participant: str) -> Path:
    return out_dir / f"sub-{participant}.html"


def _write_page(out_dir: Path, participant: str) -> None:
    page = _page_path(out_dir, participant)
    for _ in range(_ATTEMPTS):
        before = _state(out_dir, participant)
        write_whole_file(participant_page(out_dir, participant, page).encode(), page)
        if _state(out_dir, participant) == before:
            break


def participant_page(out_dir: Path, participant: str, page: Path) -> str:
    """Return the page of a participant as HTML."""
    views = [_read_visit(out_dir, visit, page) for visit in _find_visits(out_dir, participant)]
    changes = read_changes(out_dir, [view.visit for view in views], page)
    sections = [("overview", "Overview"), *([("change", "Change between visits")] if changes else [])]
    contents = [*sections, *((view.visit.name, view.heading) for view in views), ("methods", "Methods")]
    return render_page(
        "participant.html",
        title=f"sub-{participant}",
        contents=contents,
        other_pages=_other_pages(out_dir, participant),
        scripts=["participant.js"],
        styles=["participant.css"],
        views=views,
        changes=changes,
        timeline=timeline_url(changes, {view.visit: view.volume_ml for view in views}),
        methods=_methods(views),
        dataset=next((str(view.record["dataset"]) for view in views if "dataset" in view.record), ""),
    )


def _other_pages(out_dir: Path, participant: str) -> list[tuple[str, str]]:
    """Return links to the pages of the group and of the previous and next participants, and their names."""
    before, behind = find_neighbours(out_dir, participant)
    group = "Group page" if (out_dir / "group.html").exists() else "Group page (once the group level has run)"
    pages = [("./group.html", group)]
    if before:
        pages.append((f"./sub-{before}.html", f"← sub-{before}"))
    if behind:
        pages.append((f"./sub-{behind}.html", f"sub-{behind} →"))
    return pages


def _find_visits(out_dir: Path, participant: str) -> list[VisitKey]:
    """Return the visits with results or records, in natural order of their sessions."""
    sessions: set[str | None] = set()
    folder = out_dir / f"sub-{participant}"
    for path in folder.glob("ses-*/anat/*_desc-lesions_stats.tsv"):
        sessions.add(path.parts[-3].removeprefix("ses-"))
    for path in visit_record_path(out_dir, "").parent.glob(f"sub-{participant}_ses-*.json"):
        sessions.add(path.stem.partition("_ses-")[2])
    alone = VisitKey(participant, None)
    if visit_record_path(out_dir, alone.name).exists() or _path(out_dir, alone, "stats", ".tsv", "lesions").exists():
        sessions.add(None)
    return [VisitKey(participant, session) for session in sorted(sessions, key=natural_key)]


def _read_visit(out_dir: Path, visit: VisitKey, page: Path) -> VisitView:
    unreadable: list[str] = []
    record = _read_object(visit_record_path(out_dir, visit.name), unreadable)
    stats_path = _path(out_dir, visit, "stats", ".tsv", "lesions")
    quality_path = _path(out_dir, visit, "stats", ".tsv", "quality")
    quality_sidecar = _read_object(sidecar_path(quality_path), unreadable)
    sidecar = _read_object(sidecar_path(stats_path), unreadable)
    stats = _read_table(stats_path, sidecar, unreadable)
    quality = _read_table(quality_path, quality_sidecar, unreadable)
    figures = _find_figures(out_dir, visit, page)
    return VisitView(
        visit=visit,
        record=record,
        stats=stats if stats and len(stats.rows) == 1 else None,
        quality=quality if quality and len(quality.rows) == 1 else None,
        sidecar=sidecar,
        flags=flags_of(sidecar) | flags_of(quality_sidecar),
        lesions=_read_lesions(out_dir, visit, figures, unreadable),
        figures=figures,
        files=_list_files(stats_path, page),
        crash_reports=_read_crash_reports(out_dir, record),
        unreadable=unreadable,
    )


def _path(out_dir: Path, visit: VisitKey, suffix: str, extension: str, desc: str) -> Path:
    return derivative_path(out_dir, visit, suffix, extension, desc=desc)


def _find_figures(out_dir: Path, visit: VisitKey, page: Path) -> dict[str, str]:
    start = f"{visit.name}_desc-"
    folder = out_dir / f"sub-{visit.participant}" / "figures"
    return {path.name.removeprefix(start): relative_url(path, page) for path in sorted(folder.glob(f"{start}*"))}


def _list_files(stats_path: Path, page: Path) -> list[tuple[str, str]]:
    """Return links to the files of a visit beside its table of volumes, and their names; sidecars are left out."""
    name = stats_path.name.partition("_desc-")[0]
    files = sorted(stats_path.parent.glob(f"{name}_*"))
    return [(relative_url(path, page), path.name.removeprefix(f"{name}_")) for path in files if path.suffix != ".json"]


def _read_lesions(out_dir: Path, visit: VisitKey, figures: Mapping[str, str], unreadable: list[str]) -> Table | None:
    """Return the table of lesions, each row with a link to its place in the viewer."""
    path = lesions_path(out_dir, visit)
    table = _read_table(path, _read_object(sidecar_path(path), unreadable), unreadable)
    viewer = next((url for name, url in figures.items() if name.startswith("viewer_")), None)
    if table is None or viewer is None:
        return table
    return Table(table.file_name, table.columns, table.rows, [f"{viewer}#lesion-{row[0]}" for row in table.rows])


def _read_table(path: Path, sidecar: Mapping[str, Any], unreadable: list[str]) -> Table | None:
    """Return the table of a TSV file, described by its sidecar; None if it is missing."""
    try:
        tsv = read_tsv(path)
    except MissingInputError:
        return None
    except BidsCascadeError as error:
        unreadable.append(str(error).replace(str(path), path.name))
        return None
    return Table(path.name, [Column.described(name, sidecar.get(name)) for name in tsv.columns], tsv.rows)


def _read_object(path: Path, unreadable: list[str]) -> dict[str, Any]:
    """Return the object of a JSON file; an empty one if it is missing."""
    try:
        return read_object(path)
    except MissingInputError:
        return {}
    except BidsCascadeError as error:
        unreadable.append(str(error).replace(str(path), path.name))
        return {}


def _read_crash_reports(out_dir: Path, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the names and texts of the crash reports in a record; of a long text only the end, with the error."""
    reports = []
    for name in map(str, record.get("crash_reports", [])):
        path = out_dir / name
        if path.is_file() and path.resolve().is_relative_to(out_dir.resolve()):
            reports.append((name, path.read_text(encoding="utf-8", errors="replace")[-_CRASH_CHARACTERS:]))
    return reports


def _cell(table: Table | None, column: str) -> str:
    names = [column.name for column in table.columns] if table else []
    return table.rows[0][names.index(column)] if table and column in names else ""


def _methods(views: Sequence[VisitView]) -> list[tuple[Methods, list[str]]]:
    """Return each distinct methods paragraph with the headings of its visits."""
    headings: dict[Methods, list[str]] = {}
    for view in views:
        methods = describe_methods(view.sidecar) if view.stats else None
        if methods:
            headings.setdefault(methods, []).append(view.heading)
    return list(headings.items())


def _state(out_dir: Path, participant: str) -> set[tuple[str, int, int]]:
    """Return a state that changes with anything that a participant's page shows."""
    top = out_dir / f"sub-{participant}"
    paths = [*top.glob("figures/*"), *top.glob("**/anat/*_stats.*"), *top.glob("**/anat/*_dseg.*")]
    paths += visit_record_path(out_dir, "").parent.glob(f"sub-{participant}[._]*")
    state = set()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        state.add((path.name, status.st_ino, status.st_mtime_ns))
    return state
