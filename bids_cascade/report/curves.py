"""Training curves, as a figure."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from bids_cascade.cascade.training import Epoch
from bids_cascade.whole_file import write_whole_file


def draw_curves(history: Mapping[int, Sequence[Epoch]], path: Path) -> None:
    """Draw loss and validation Dice by epoch, one row for each stage, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3 * len(history)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(history), 2, squeeze=False)
    for (stage, epochs), (left, right) in zip(history.items(), axes, strict=True):
        number = [epoch.epoch for epoch in epochs]
        left.plot(number, [epoch.loss for epoch in epochs], label="training")
        left.set(title=f"stage {stage}", xlabel="epoch", ylabel="cross-entropy")
        if epochs and epochs[0].validation_loss is not None:
            left.plot(number, [epoch.validation_loss for epoch in epochs], label="validation")
            right.plot(number, [epoch.validation_dice for epoch in epochs], color="tab:orange")
        left.legend()
        right.set(title=f"stage {stage}", xlabel="epoch", ylabel="Dice of validation samples", ylim=(0, 1))
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    write_whole_file(content.getvalue(), path)
