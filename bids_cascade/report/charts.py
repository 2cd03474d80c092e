"""The charts of the evaluation's pages, as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bids_cascade.dataset.tables import NOT_AVAILABLE
from bids_cascade.evaluation.bootstrap import Estimate
from bids_cascade.evaluation.metrics import LesionWise
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3, size_text

COLOURS = ("#0b5c75", "#d9822b", "#7a7f87", "#8a3b76")
ERROR_KINDS = {
    "missed_lesion_ml": "missed lesions",
    "missed_border_ml": "missed border of detected lesions",
    "false_lesion_ml": "false lesions",
    "false_border_ml": "false border of true lesions",
}
"""Kinds of wrong voxels, and their names."""

_ERROR_COLOURS = ("#0b5c75", "#8fc1d1", "#b4560f", "#f2bd86")
_MANY = 40

Measures = Mapping[str, float]


def draw_volumes(measures: Sequence[Measures], agreement: Mapping[str, Estimate]) -> bytes:
    """Draw predicted against reference volume, and Bland-Altman's difference against mean."""
    true_ml, found_ml = (
        np.array([measured[f"{source}_volume_ml"] for measured in measures]) for source in ("reference", "predicted")
    )
    figure, (left, right) = figure_of(2, (9, 3.9))
    most = 1.05 * max(true_ml.max(), found_ml.max(), 0.01)
    left.plot([0, most], [0, most], color="#b8bfc6", linewidth=1, zorder=0)
    left.scatter(true_ml, found_ml, color=COLOURS[0], s=22)
    left.set(xlabel="reference volume (ml)", ylabel="predicted volume (ml)", xlim=(0, most), ylim=(0, most))
    r = agreement["volume_pearson_r"]
    left.set_title(f"Volumes: Pearson r {_text(r)}" if np.isfinite(r.value) else "Volumes", fontsize=9)
    right.axhline(0, color="#b8bfc6", linewidth=1, zorder=0)
    right.scatter((true_ml + found_ml) / 2, found_ml - true_ml, color=COLOURS[0], s=22)
    for name, style in (("volume_bias_ml", "-"), ("volume_limit_low_ml", "--"), ("volume_limit_high_ml", "--")):
        if np.isfinite(agreement[name].value):
            right.axhline(agreement[name].value, color=COLOURS[1], linestyle=style, linewidth=1)
    right.set(xlabel="mean of both volumes (ml)", ylabel="predicted - reference (ml)")
    right.set_title(f"Bland-Altman: bias {_text(agreement['volume_bias_ml'])} ml", fontsize=9)
    return svg_of(figure)


def draw_scores(scores: Mapping[str, Sequence[float]]) -> bytes:
    """Draw each visit's scores, 0 to 1, with their median, one column for each measure."""
    figure, (axes,) = figure_of(1, (9, 3.2))
    for column, values in enumerate(scores.values()):
        defined = np.sort([value for value in values if np.isfinite(value)])
        spread = 0.3 * _spread(defined)
        axes.scatter(column + spread, defined, color=COLOURS[0], s=20, alpha=0.7, linewidth=0)
        if len(defined):
            axes.hlines(np.median(defined), column - 0.32, column + 0.32, color=COLOURS[1], linewidth=2)
        axes.text(column, 1.04, f"n = {len(defined)}", ha="center", fontsize=8, color="#566472")
    axes.set_xticks(range(len(scores)), [name.replace("_", " ") for name in scores])
    axes.set(ylabel="score", ylim=(-0.02, 1.12), yticks=np.linspace(0, 1, 6))
    return svg_of(figure)


def draw_sizes(by_size: Mapping[str, LesionWise]) -> bytes:
    """Draw lesion-wise sensitivity and precision by size class, over all visits together."""
    figure, (axes,) = figure_of(1, (9, 3.2))
    for shift, colour, measure in ((-0.2, COLOURS[0], "sensitivity"), (0.2, COLOURS[1], "precision")):
        heights = [getattr(by_size[name], measure) for name in COUNTED_CLASSES_MM3]
        places = np.arange(len(heights)) + shift
        axes.bar(places, np.nan_to_num(heights), 0.36, color=colour, label=measure)
        for place, height, counts in zip(places, heights, by_size.values(), strict=True):
            part, whole = (
                (counts.n_found, counts.n_reference)
                if measure == "sensitivity"
                else (counts.n_right, counts.n_predicted)
            )
            axes.text(place, np.nan_to_num(height) + 0.02, f"{part}/{whole}", ha="center", fontsize=8, color="#566472")
    texts = [size_text(name).removeprefix("of ") for name in COUNTED_CLASSES_MM3]
    labels = [text.replace(" and ", "\nand ").replace("mm^3", "mm³") for text in texts]
    axes.set_xticks(range(len(labels)), labels)
    axes.set(xlabel="volume of a lesion", ylabel="fraction of the lesions")
    axes.set(ylim=(0, 1.12), yticks=np.linspace(0, 1, 6))
    axes.legend(frameon=False, ncols=2, loc="upper left", bbox_to_anchor=(0, 1.16))
    return svg_of(figure)


def draw_errors(names: Sequence[str], measures: Sequence[Measures]) -> bytes:
    """Draw the kinds of wrong voxels: of all visits together, and of each unless there are too many."""
    rows = {"all visits": {kind: sum(measured[kind] for measured in measures) for kind in ERROR_KINDS}}
    if len(names) <= _MANY:
        rows |= dict(zip(names, measures, strict=True))  # type: ignore[arg-type]
    figure, (axes,) = figure_of(1, (9, 1.1 + 0.24 * len(rows)))
    left = np.zeros(len(rows))
    places = -np.arange(len(rows))
    totals = np.array([sum(row[kind] for kind in ERROR_KINDS) for row in rows.values()])
    for (kind, name), colour in zip(ERROR_KINDS.items(), _ERROR_COLOURS, strict=True):
        fractions = np.divide([row[kind] for row in rows.values()], totals, out=np.zeros(len(rows)), where=totals > 0)
        axes.barh(places, 100 * fractions, 0.75, left=left, color=colour, label=name)
        left += 100 * fractions
    labels = [f"{name} ({total:.2f} ml wrong)" for name, total in zip(rows, totals, strict=True)]
    axes.set_yticks(places, labels, fontsize=8)
    axes.set(xlim=(0, 100), xlabel="fraction of the wrong volume (%)")
    axes.legend(frameon=False, ncols=2, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    return svg_of(figure)


def draw_methods(values: Mapping[str, Mapping[str, Sequence[float]]], measures: Sequence[str]) -> bytes:
    """Draw methods side by side, with a panel for each measure and a line for each visit."""
    figure, panels = figure_of(len(measures), (9, 3.2))
    for axes, measure in zip(panels, measures, strict=True):
        points = np.array([list(scores[measure]) for scores in values.values()], np.float64)
        axes.plot(range(len(values)), points, color="#b8bfc6", linewidth=0.8, zorder=0)
        for column, row in enumerate(points):
            axes.scatter(np.full(len(row), column), row, color=COLOURS[column % len(COLOURS)], s=18)
            if np.isfinite(row).any():
                axes.hlines(np.nanmean(row), column - 0.2, column + 0.2, color=COLOURS[column % len(COLOURS)], lw=2)
        axes.set_title(measure.replace("_", " "), fontsize=9)
        axes.set_xticks(range(len(values)), list(values), fontsize=8)
        axes.set(xlim=(-0.5, len(values) - 0.5), ylim=(-0.02, 1.02))
    panels[0].set_ylabel("score")
    return svg_of(figure)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return offsets from -1 to 1 that separate neighbouring values, in a fixed pattern."""
    return np.resize([0.0, -0.66, 0.66, -0.33, 0.33], len(values))


def _text(estimate: Estimate) -> str:
    if not np.isfinite(estimate.value):
        return NOT_AVAILABLE
    if not np.isfinite(estimate.ci95_low):
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} [{estimate.ci95_low:.2f}, {estimate.ci95_high:.2f}]"


def figure_of(n_columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return a figure of this size in inches and its panels, side by side."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, n_columns, squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def svg_of(figure: Figure) -> bytes:
    """Return the figure as SVG; equal figures give equal bytes."""
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "bids_cascade"}):
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
