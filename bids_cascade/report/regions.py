"""Lesions of a cohort by region, as a chart of stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bids_cascade.anatomy.zones import ZONE_NAMES, Zone
from bids_cascade.dataset.tables import NOT_AVAILABLE
from bids_cascade.report.charts import figure_of, svg_of

MOST_BARS = 60
"""Of more visits, those with the largest lesion volume are drawn."""

ZONE_COLOURS = {
    Zone.INFRATENTORIAL: "#57a773",
    Zone.PERIVENTRICULAR: "#d9822b",
    Zone.JUXTACORTICAL: "#3f8fc7",
    Zone.DEEP: "#7a7f87",
}


def draw_stacked(rows: Sequence[Mapping[str, str]]) -> bytes | None:
    """Draw number and volume of lesions by region, one bar for each visit; None if no visit has regions.

    Parameters
    ----------
    rows : sequence of mapping
        Of ``group_visits.tsv``, by column.
    """
    known = [row for row in rows if row.get("n_topographies", NOT_AVAILABLE) != NOT_AVAILABLE]
    if not known:
        return None
    ordered = sorted(known, key=lambda row: -_volume_ml(row))[:MOST_BARS]
    figure, panels = figure_of(2, (9, 3.4))
    for axes, column, label in zip(
        panels, ("n_lesions_{}", "lesion_volume_{}_ml"), ("lesions", "lesion volume (ml)"), strict=True
    ):
        base = [0.0] * len(ordered)
        for zone, name in ZONE_NAMES.items():
            heights = [float(row[column.format(name)]) for row in ordered]
            axes.bar(range(len(ordered)), heights, 0.9, base, color=ZONE_COLOURS[zone], label=name.replace("_", " "))
            base = [low + height for low, height in zip(base, heights, strict=True)]
        axes.set(xlabel="visits, by lesion volume", ylabel=label, xticks=[])
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8, frameon=False
    )
    return svg_of(figure)


def _volume_ml(row: Mapping[str, str]) -> float:
    return sum(float(row[f"lesion_volume_{name}_ml"]) for name in ZONE_NAMES.values())
