"""How good models are: on labelled scans, the same with few lesions or none, and synthetic heads with and without them.

``python -m benchmarks.model MODEL ... --scans SCANS --label-maps PATH ... --lesion-masks PATH ... --work-dir DIR``

SCANS is a BIDS dataset with lesion masks in ``derivatives/manual``; scans, label maps and masks should be those that
the models have not learnt from. All is measured on the model's grid, at the model's own threshold.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.few_lesions import fewer_lesions
from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.normalisation import normalise
from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.config import Inputs, RunConfig, TrainConfig
from bids_cascade.evaluation.bootstrap import summarise
from bids_cascade.evaluation.matching import compare_masks
from bids_cascade.lesions.calibration import Reliability, reliability
from bids_cascade.lesions.rule import lesion_mask
from bids_cascade.models.store import load_ensemble
from bids_cascade.synthesis.config import LesionConfig, SynthesisConfig
from bids_cascade.synthesis.head import SEQUENCES, make_training_head
from bids_cascade.training.heads import anatomy_of, find_images, map_heads, patients_of
from bids_cascade.training.prepare import find_labelled, prepare_visits
from bids_cascade.workflow.workers import prepare_workers

THICK_MM = 2.0
"""Slices above it are thick ones."""

_MEASURES = ("dice", "lesion_f1", "reference_volume_ml", "predicted_volume_ml")
_COLUMNS = ("model", "kind", "scan", *_MEASURES)


@dataclass(frozen=True, eq=False)
class Case:
    """A visit of one kind of scans."""

    kind: str
    visit: LabelledVisit


@dataclass(frozen=True)
class _Task:
    """One head to make; all that its process needs to know."""

    label_map: Path
    lesion_masks: tuple[Path, ...]
    number: int
    with_lesions: bool


def scans(dataset: Path, run: RunConfig) -> Iterator[Case]:
    """Yield the labelled visits of a dataset."""
    config = TrainConfig("manual")
    visits, labels = find_labelled(Inputs(dataset, run.work_dir), config)
    prepared, _ = prepare_visits(visits, labels, config, run, run.work_dir, wait=True)
    for one in prepared:
        image = nib.Nifti1Image.from_filename(one.visit.images["FLAIR"].path)
        thick = max(image.header.get_zooms()[:3]) > THICK_MM
        yield Case("thick slices" if thick else "thin slices", one.data)
        if not thick and not one.data.absent:
            for kind, visit in fewer_lesions(one.data):
                yield Case(f"thin slices, {kind} left", visit)


def heads(label_maps: Sequence[Path], lesion_masks: Sequence[Path], with_lesions: int, without: int) -> Iterator[Case]:
    """Make so many synthetic heads, of other seeds than any training's."""
    maps, masks = find_images(label_maps), find_images(lesion_masks)
    tasks = [
        _Task(maps[number % len(maps)], masks, number, there)
        for there, n in ((True, with_lesions), (False, without))
        for number in range(n)
    ]
    yield from map_heads(_make, tasks, 2)


def _make(task: _Task) -> Case:
    lesions = replace(LesionConfig(), none_fraction=0.0 if task.with_lesions else 1.0)
    config = replace(SynthesisConfig(), lesions=lesions)
    seed = (2**31, task.number, int(task.with_lesions))
    with threadpool_limits(limits=1, user_api="blas"):
        head = make_training_head(anatomy_of(task.label_map), patients_of(task.lesion_masks), seed, config)
        channels = normalise(head.channels, head.brain, SEQUENCES).astype(np.float16)
    kind = "synthetic heads" if task.with_lesions else "synthetic heads without lesions"
    name = f"head {task.number + 1}"
    return Case(kind, LabelledVisit(name, channels, head.brain, head.lesion & head.brain, synthetic=True))


def judge(ensemble: Ensemble, case: Case) -> tuple[dict[str, float], NDArray[np.bool_], Reliability]:
    """Return measures, the mask, and how often the probability is right."""
    config = ensemble.config
    final = segment_by_ensemble(ensemble, np.asarray(case.visit.channels, np.float32), case.visit.brain).final
    mask = lesion_mask(final, config.rule, config.voxel_volume_mm3)
    measures = compare_masks(case.visit.lesion, mask, np.diag([*[config.voxel_size_mm] * 3, 1])).measures
    return {name: measures[name] for name in _MEASURES}, mask, reliability(final, case.visit.lesion)


def draw(worst: Sequence[tuple[Case, NDArray[np.bool_], str]], path: Path) -> None:
    """Draw of each scan the axial slice with most wrong voxels: green the truth, red what was found."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(worst), 3.4), layout="constrained")
    for axes, (case, mask, text) in zip(figure.subplots(1, len(worst), squeeze=False)[0], worst, strict=True):
        index = int((mask != case.visit.lesion).sum(axis=(0, 1)).argmax())
        shown = np.where(case.visit.brain, np.asarray(case.visit.channels[1], np.float32), 0)[:, :, index]
        axes.imshow(shown.T, cmap="gray", origin="lower", vmin=0, vmax=1.8)
        for one, colour in ((case.visit.lesion, "#22dd22"), (mask, "#ff2222")):
            if one[:, :, index].any():
                axes.contour(one[:, :, index].T, [0.5], colors=colour, linewidths=0.8)
        axes.set_title(text, fontsize=8)
        axes.axis("off")
    FigureCanvasAgg(figure).print_png(path)


def main() -> None:
    """Judge the models, print what they come to, write rows and pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--scans", type=Path, required=True)
    parser.add_argument("--label-maps", nargs="+", type=Path, required=True)
    parser.add_argument("--lesion-masks", nargs="+", type=Path, required=True)
    parser.add_argument("--n-heads", nargs=2, type=int, default=(12, 8), help="with lesions, and without")
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="a TSV file of one row a model and scan")
    parser.add_argument("--pictures", type=Path, help="a PNG file of the first model's worst synthetic heads")
    options = parser.parse_args()
    prepare_workers()
    torch.set_num_threads(2)
    options.work_dir.mkdir(parents=True, exist_ok=True)
    run = RunConfig(options.work_dir, n_procs=2, omp_nthreads=2)
    cases = [*scans(options.scans, run), *heads(options.label_maps, options.lesion_masks, *options.n_heads)]
    rows: list[dict[str, Any]] = []
    for path in options.models:
        ensemble = load_ensemble(path)
        judged = [judge(ensemble, case) for case in cases]
        rows += [
            {"model": path.stem, "kind": case.kind, "scan": case.visit.subject, **measures}
            for case, (measures, _, _) in zip(cases, judged, strict=True)
        ]
        print(_summary(path.stem, cases, judged))
        if options.pictures and path == options.models[0]:
            draw(_worst(cases, judged), options.pictures)
    if options.out:
        with options.out.open("w") as file:
            writer = csv.DictWriter(file, _COLUMNS, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _round(value) for name, value in row.items()} for row in rows)


def _summary(model: str, cases: Sequence[Case], judged: Sequence[tuple[Any, ...]]) -> str:
    """Return as Markdown what a model comes to on each kind of scans, and how often its probabilities are right."""
    lines = [f"{model}", "", "| scans | n | Dice | lesion F1 | found where there is nothing, ml |", "|" + "---|" * 5]
    tenths = ["", "| fraction of lesion by probability | " + " | ".join(f"{a:.1f}-" for a in np.arange(10) / 10) + " |"]
    tenths.append("|" + "---|" * 11)
    for kind in dict.fromkeys(case.kind for case in cases):
        own = [(case, *one) for case, one in zip(cases, judged, strict=True) if case.kind == kind]
        if any(case.visit.lesion.any() for case, *_ in own):
            texts = [_estimate([measures[name] for _, measures, *_ in own]) for name in ("dice", "lesion_f1")]
            lines.append(f"| {kind} | {len(own)} | {texts[0]} | {texts[1]} | |")
            curves = [curve for *_, curve in own]
            tenths.append(f"| {kind} | " + " | ".join(f"{one:.2f}" for one in _fractions(curves)) + " |")
        else:
            found = " ".join(f"{measures['predicted_volume_ml']:.2f}" for _, measures, *_ in own)
            lines.append(f"| {kind} | {len(own)} | | | {found} |")
    return "\n".join((*lines, *tenths, ""))


def _fractions(curves: Sequence[Reliability]) -> NDArray[np.float64]:
    """Return how often voxels are lesion by their probability, each scan weighing the same, as (10,)."""
    n = np.array([curve.n / curve.n.sum() for curve in curves if curve.n.any()])
    found = np.array([curve.lesion_fraction for curve in curves if curve.n.any()])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(n > 0, n * found, 0).sum(axis=0) / n.sum(axis=0))


def _estimate(values: Sequence[float]) -> str:
    summary = summarise(values, [str(number) for number in range(len(values))])
    mean = summary.mean
    if len(values) == 1:
        return f"{mean.value:.3f}"
    return f"{mean.value:.3f} [{mean.ci95_low:.3f}, {mean.ci95_high:.3f}], median {summary.median.value:.3f}"


def _worst(cases: Sequence[Case], judged: Sequence[tuple[Any, ...]]) -> list[tuple[Case, NDArray[np.bool_], str]]:
    """Return the two synthetic heads of the lowest Dice, and the two without lesions in which most was found."""
    both = list(zip(cases, judged, strict=True))
    head = [pair for pair in both if pair[0].visit.synthetic]
    sick = sorted((pair for pair in head if pair[0].visit.lesion.any()), key=lambda pair: pair[1][0]["dice"])[:2]
    well = [pair for pair in head if not pair[0].visit.lesion.any()]
    well = sorted(well, key=lambda pair: -pair[1][0]["predicted_volume_ml"])[:2]
    text = "{reference_volume_ml:.1f} ml, found {predicted_volume_ml:.1f}, Dice {dice:.2f}"
    return [(case, mask, text.format(**measures)) for case, (measures, mask, _) in (*sick, *well)]


def _round(value: Any) -> Any:
    return f"{value:.3f}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
