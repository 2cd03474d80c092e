"""What each part of the recipe is worth: one changed at a time, small trainings, judged on scans none has learnt from.

``python -m benchmarks.ablation SCANS --learn ID ... --label-maps PATH ... --lesion-masks PATH ... --out FILE.tsv``

SCANS is a BIDS dataset with lesion masks in ``derivatives/manual``; those of the participants named by ``--learn`` are
trained on where a variant has real scans, all others are judged. Rows are added as trainings end; those of the same
variant, seed, heads, real scans and code are not trained again.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.cascade.two_stage import segment, train_cascade
from bids_cascade.config import (
    CascadeConfig,
    HeadsConfig,
    Inputs,
    NetworkConfig,
    RunConfig,
    TrainConfig,
    TrainingConfig,
)
from bids_cascade.evaluation.threshold import dice_by_threshold
from bids_cascade.sources import hash_sources
from bids_cascade.training.heads import make_heads
from bids_cascade.training.prepare import find_labelled, prepare_visits
from bids_cascade.training.recipe import fingerprint_of
from bids_cascade.whole_file import write_whole_file
from bids_cascade.workflow.workers import prepare_workers

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_NETWORK, _CASCADE = NetworkConfig(2), CascadeConfig()
_TRAINING = TrainingConfig(max_epochs=4, crops_per_epoch=300, validation_fraction=0, half_precision=True)
_COLUMNS = ("variant", "seed", "made_of", "scan", *(str(one) for one in THRESHOLDS))


@dataclass(frozen=True)
class Variant:
    """One way to train; the first of :data:`VARIANTS` is what the others differ from in one respect."""

    name: str
    network: NetworkConfig = _NETWORK
    training: TrainingConfig = _TRAINING
    cascade: CascadeConfig = _CASCADE
    z_score: bool = False
    with_real: bool = False


_BASE = Variant("heads alone")
VARIANTS = (
    _BASE,
    replace(_BASE, name="z-score over the brain", z_score=True, cascade=CascadeConfig(candidate_level=0.5)),
    replace(_BASE, name="scale 1 alone", network=NetworkConfig(2, scales=(1,))),
    replace(_BASE, name="scales 1, 2, 4", network=NetworkConfig(2, scales=(1, 2, 4))),
    replace(_BASE, name="passes in float32", training=replace(_BASE.training, half_precision=False)),
    replace(_BASE, name="intensities as they are", training=replace(_BASE.training, gain=1.0, shift=0.0)),
    replace(_BASE, name="7 of 10 crops synthetic", with_real=True),
    replace(_BASE, name="real scans alone", with_real=True, training=replace(_BASE.training, synthetic_fraction=0.0)),
)


def z_scored(visit: LabelledVisit) -> LabelledVisit:
    """Return a visit whose channels have mean 0 and standard deviation 1 over the brain."""
    channels = np.zeros(visit.channels.shape, np.float32)
    for one, target in zip(visit.channels, channels, strict=True):
        inside = one[visit.brain].astype(np.float32)
        target[visit.brain] = (inside - inside.mean()) / inside.std()
    return replace(visit, channels=channels.astype(np.float16))


def dice_of(
    variant: Variant, seed: int, learn: Sequence[LabelledVisit], judge: Mapping[str, LabelledVisit]
) -> dict[str, NDArray[np.float64]]:
    """Train a variant and return the Dice of each scan by threshold, (T,)."""
    prepare = z_scored if variant.z_score else replace
    visits = [prepare(visit) for visit in learn if visit.synthetic or variant.with_real]
    if variant.training.synthetic_fraction == 0:
        visits = [visit for visit in visits if not visit.synthetic]
    trained = train_cascade(
        visits, variant.cascade, (variant.network, variant.network), replace(variant.training, seed=seed)
    )
    found = {}
    for name, visit in judge.items():
        channels = np.asarray(prepare(visit).channels, np.float32)
        final = segment(trained.cascade, channels, visit.brain).final
        rule = replace(variant.cascade.rule, peak_probability=0.0)
        found[name] = dice_by_threshold(final, visit.lesion, THRESHOLDS, rule, 1.0)
    return found


def main() -> None:
    """Train what is missing, add its rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--learn", nargs="+", default=[])
    parser.add_argument("--label-maps", nargs="+", type=Path, required=True)
    parser.add_argument("--lesion-masks", nargs="+", type=Path, required=True)
    parser.add_argument("--n-heads", type=int, default=40)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--variants", nargs="+", type=int, default=range(len(VARIANTS)))
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    if not options.learn and any(VARIANTS[index].with_real for index in options.variants):
        parser.error("variants with real scans need --learn: whose scans to learn from")
    prepare_workers()
    config, run = TrainConfig("manual"), RunConfig(options.work_dir, n_procs=2, omp_nthreads=2)
    inputs = Inputs(options.scans, options.out.parent)
    labelled, labels = find_labelled(inputs, config)
    prepared, _ = prepare_visits(labelled, labels, config, run, options.work_dir, wait=True)
    sources = HeadsConfig(tuple(options.label_maps), tuple(options.lesion_masks), options.n_heads)
    heads, made_from = make_heads(sources, config.cascade.sequences, options.work_dir / "heads", run.n_procs)
    torch.set_num_threads(run.omp_nthreads)
    learn = [*heads, *(one.data for one in prepared if one.data.subject in options.learn)]
    judge = {one.name: one.data for one in prepared if one.data.subject not in options.learn}
    made_of = fingerprint_of(prepared, made_from, len(heads), sorted(options.learn), hash_sources("cascade"))[:12]
    done = {(row["variant"], int(row["seed"])) for row in read(options.out) if row["made_of"] == made_of}
    for seed in options.seeds:
        for variant in (VARIANTS[index] for index in options.variants):
            if (variant.name, seed) not in done:
                add(options.out, (variant.name, str(seed), made_of), dice_of(variant, seed, learn, judge))
    print(table([row for row in read(options.out) if row["made_of"] == made_of]))


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows there are."""
    if not path.is_file():
        return []
    with path.open() as rows:
        return list(csv.DictReader(rows, delimiter="\t"))


def add(path: Path, training: Sequence[str], found: Mapping[str, NDArray[np.float64]]) -> None:
    """Add a training's rows to the file: all of them, or none."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", lineterminator="\n")
    writer.writerows([_COLUMNS, *([row[name] for name in _COLUMNS] for row in read(path))])
    writer.writerows((*training, name, *(f"{one:.3f}" for one in dice)) for name, dice in found.items())
    write_whole_file(file.getvalue().encode(), path)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return each training's Dice as Markdown: at the one threshold that suits its scans best, and at their own."""
    scans = list(dict.fromkeys(row["scan"] for row in rows))
    lines = [
        "| variant | seed | threshold | mean | " + " | ".join(scans) + " | mean, own thresholds |",
        "|" + "---|" * (5 + len(scans)),
    ]
    for variant, seed in dict.fromkeys((row["variant"], row["seed"]) for row in rows):
        dice = np.array(
            [
                [float(row[str(one)]) for one in THRESHOLDS]
                for row in rows
                if (row["variant"], row["seed"]) == (variant, seed)
            ]
        )
        best = int(dice.mean(axis=0).argmax())
        figures = [dice[:, best].mean(), *dice[:, best], dice.max(axis=1).mean()]
        lines.append(
            f"| {variant} | {seed} | {THRESHOLDS[best]} | " + " | ".join(f"{one:.3f}" for one in figures) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
