"""A participant's lesions over time, as SVG: their volume with its noise, and the new lesions of each visit."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bids_cascade.report.change_viewer import KIND_COLOURS

_VOLUME_COLOUR, _MASK_COLOUR = "#0b5c75", "#7a7f87"
_BAND_SDS = 1.96
_YEAR = 365.25


@dataclass(frozen=True)
class TimePoint:
    """A visit, and the changes since an earlier one.

    Attributes
    ----------
    name : str
    days : int or None
        Since the previous visit.
    mask_ml : float or None
        Volume of the visit's own mask.
    before_ml, after_ml, sd_ml : float or None
        Lesion volumes at the earlier visit and at this one by both visits' evidence, and the noise of their
        difference; None for the first visit and if the two can't be compared.
    n_new : int or None
    since : str
        The earlier visit's name; empty if it is the previous one.
    """

    name: str
    days: int | None = None
    mask_ml: float | None = None
    before_ml: float | None = None
    after_ml: float | None = None
    sd_ml: float | None = None
    n_new: int | None = None
    since: str = ""


def draw_timeline(points: Sequence[TimePoint]) -> bytes:
    """Draw two or more visits, on a time scale if all intervals are known.

    A line connects the volumes of two visits that can be compared, a dashed one those of visits with others between
    them; its band is the noise of the change, two standard deviations to each side.
    """
    dated = all(point.days is not None for point in points[1:])
    steps = [0.0, *((point.days or 0) / _YEAR if dated else 1.0 for point in points[1:])]
    places = np.cumsum(steps)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    masks = [(place, point.mask_ml) for place, point in zip(places, points, strict=True) if point.mask_ml is not None]
    if masks:
        top.plot(*zip(*masks, strict=True), "o", color=_MASK_COLOUR, markersize=4, label="each visit's own mask")
    place_of = {point.name: place for point, place in zip(points, places, strict=True)}
    labels = {"-": "compared with the visit before", "--": "compared with an earlier visit"}
    for start, end, point in zip(places[:-1], places[1:], points[1:], strict=True):
        if point.before_ml is None or point.after_ml is None:
            continue
        interval = [place_of[point.since] if point.since else start, end]
        volumes = [point.before_ml, point.after_ml]
        reach = _BAND_SDS * (point.sd_ml or 0)
        low, high = ([volumes[0], volumes[1] + sign * reach] for sign in (-1, 1))
        style = "--" if point.since else "-"
        top.plot(interval, volumes, style, color=_VOLUME_COLOUR, linewidth=2, label=labels.pop(style, None))
        top.fill_between(interval, low, high, color=_VOLUME_COLOUR, alpha=0.2, lw=0)
    top.set(ylabel="lesions (ml)", ylim=(0, 1.08 * top.get_ylim()[1]))
    # Above the axes, where its dot is not mistaken for a visit's.
    top.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
    width = 0.3 * min(np.diff(places), default=1.0) or 0.3
    for place, point in zip(places[1:], points[1:], strict=True):
        if point.n_new is None:
            bottom.text(place, 0, "not compared", ha="center", va="bottom", fontsize=8, color="#566472")
        else:
            bottom.bar(place, point.n_new, width, color=KIND_COLOURS["new"])
            number = f"{point.n_new} since {point.since}" if point.since else str(point.n_new)
            bottom.text(place, point.n_new, number, ha="center", va="bottom", fontsize=8)
    most = max((point.n_new or 0 for point in points), default=0)
    bottom.set(ylabel="new lesions", ylim=(0, 1.3 * most or 1), yticks=[])
    bottom.set_xticks(places, [point.name for point in points], fontsize=8)
    bottom.set_xlabel("visits, on a time scale" if dated else "visits, in order (not all have a date)", fontsize=8)
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "bids_cascade"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
