"""The comparisons of visits on a participant's page, from the contents of the output folder."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bids_cascade.dataset.tables import NOT_AVAILABLE, read_tsv
from bids_cascade.derivatives.change import FIRST, PREVIOUS, lesions_path, read_change, viewer_path
from bids_cascade.derivatives.change_columns import LESION_COLUMNS
from bids_cascade.errors import BidsCascadeError
from bids_cascade.report.page import Column, Table, relative_url
from bids_cascade.report.timeline import TimePoint, draw_timeline
from bids_cascade.visit_key import VisitKey


@dataclass(frozen=True)
class ChangeView:
    """One comparison.

    Attributes
    ----------
    later : VisitKey
    desc : str
        Which of a visit's comparisons it is.
    stats : mapping of str to str
    flags : dict of str to str
        Why the visits can't be compared.
    lesions : Table or None
        Changed lesions first, each with a link to its place in the viewer.
    viewer : str
        Link; empty without one.
    """

    later: VisitKey
    desc: str
    stats: Mapping[str, str]
    flags: dict[str, str]
    lesions: Table | None
    viewer: str

    @property
    def heading(self) -> str:
        """Such as ``ses-1 to ses-2``."""
        return f"{self.stats.get('compared_with', '?')} to ses-{self.later.session}"

    @property
    def comparable(self) -> bool:
        """Whether changes were called at all."""
        return self.stats.get("comparable") == "yes" and not self.flags

    @property
    def has_floor(self) -> bool:
        """Whether the noise floor was measured."""
        return self.stats.get("false_new", NOT_AVAILABLE) != NOT_AVAILABLE

    def number(self, column: str, decimals: int = 2) -> str:
        """Return a cell as a number with this number of decimals, or unchanged."""
        cell = self.stats.get(column, NOT_AVAILABLE)
        try:
            return f"{float(cell):.{decimals}f}"
        except ValueError:
            return cell


def read_changes(out_dir: Path, visits: Sequence[VisitKey], page: Path) -> list[ChangeView]:
    """Return a participant's comparisons in the order of the visits, each with the previous one first."""
    views = []
    for visit in visits:
        for desc in (PREVIOUS, FIRST):
            change = read_change(out_dir, visit, desc)
            if change is not None:
                viewer = viewer_path(out_dir, visit, desc)
                url = relative_url(viewer, page) if viewer.exists() else ""
                lesions = _read_lesions(out_dir, visit, desc, url)
                views.append(ChangeView(visit, desc, change.stats, change.flags, lesions, url))
    return views


def timeline_url(views: Sequence[ChangeView], volumes_ml: Mapping[VisitKey, float | None]) -> str:
    """Return the figure of a participant's visits over time as a data URL; empty without two visits.

    Parameters
    ----------
    views : sequence of ChangeView
    volumes_ml : mapping of VisitKey to float or None
        Of each visit's own mask.
    """
    points = timeline_points(views, volumes_ml)
    if len(points) < 2:
        return ""
    return "data:image/svg+xml;base64," + base64.b64encode(draw_timeline(points)).decode()


def timeline_points(views: Sequence[ChangeView], volumes_ml: Mapping[VisitKey, float | None]) -> list[TimePoint]:
    """Return the visits in the order in which they were compared.

    Where a visit can't be compared with the previous one, its changes are those since the first visit, if it can be
    compared with that.

    Parameters are those of :func:`timeline_url`.
    """
    by_earlier = {view.stats.get("compared_with"): view for view in views if view.desc == PREVIOUS}
    from_first = {view.later: view for view in views if view.desc == FIRST and view.comparable}
    names = {visit.label: volume for visit, volume in volumes_ml.items()}
    later = {f"ses-{view.later.session}" for view in by_earlier.values()}
    starts = [name for name in by_earlier if name not in later]
    if not starts:
        return []
    name = str(starts[0])
    points = [TimePoint(name, mask_ml=names.get(name))]
    while name in by_earlier and len(points) <= len(by_earlier):
        view = by_earlier[name]
        name = f"ses-{view.later.session}"
        shown = view if view.comparable else from_first.get(view.later, view)
        numbers = {key: _number(shown.stats.get(key)) for key in ("before_ml", "after_ml", "change_sd_ml", "n_new")}
        days = _number(view.stats.get("days"))
        points.append(
            TimePoint(
                name,
                days=None if days is None else int(days),
                mask_ml=names.get(name),
                before_ml=numbers["before_ml"],
                after_ml=numbers["after_ml"],
                sd_ml=numbers["change_sd_ml"],
                n_new=None if numbers["n_new"] is None else int(numbers["n_new"]),
                since="" if shown is view else str(shown.stats["compared_with"]),
            )
        )
    return points


def _number(cell: str | None) -> float | None:
    return None if cell in (None, "", NOT_AVAILABLE) else float(str(cell))


def _read_lesions(out_dir: Path, visit: VisitKey, desc: str, viewer: str) -> Table | None:
    path = lesions_path(out_dir, visit, desc, ".tsv")
    try:
        table = read_tsv(path)
    except BidsCascadeError:
        return None
    kind = table.columns.index("kind") if "kind" in table.columns else 0
    rows = sorted(table.rows, key=lambda row: row[kind] == "stable")
    columns = [Column.described(name, LESION_COLUMNS.get(name)) for name in table.columns]
    return Table(path.name, columns, rows, [f"{viewer}#lesion-{row[0]}" for row in rows] if viewer else [])
