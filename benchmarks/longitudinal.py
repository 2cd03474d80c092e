"""How well changes between two visits are found: on synthetic visits of one head with known changes.

``python -m benchmarks.longitudinal --label-maps PATH ... --lesion-masks PATH ... --work-dir DIR
[--heads N] [--first NUMBER]``

Of each head there are four visits: two with its earlier, two with its later lesions, each in a position and with noise
and a bias field of its own; the second of two has another protocol in every second head. So each head gives two pairs
in which nothing changes, and two in which much does. Visits are made and segmented once and kept in the work folder.
"""

from __future__ import annotations

import argparse
import pickle
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.pairs import Fate, PairVisit, Series, make_series
from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.normalisation import normalise
from bids_cascade.change.compare import Comparison, compare_visits
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.change.tracking import TrackedLesion
from bids_cascade.change.visit import FinishedVisit
from bids_cascade.imaging.grid import resample
from bids_cascade.lesions.rule import lesion_mask
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3, MIN_COUNTED_MM3, size_class_of
from bids_cascade.models.store import PACKAGED_MODEL, load_ensemble
from bids_cascade.synthesis.config import SynthesisConfig
from bids_cascade.synthesis.scanner import draw_protocols
from bids_cascade.training.heads import anatomy_of, find_images, patients_of
from bids_cascade.whole_file import write_whole_file

SEQUENCES = ("T1w", "FLAIR")
CHANCES: dict[Fate, float] = {"stays": 0.5, "appears": 0.2, "grows": 0.2, "shrinks": 0.05, "vanishes": 0.05}
_AGREEING: dict[Fate, tuple[str, ...]] = {
    "stays": ("stable", "none"),
    "appears": ("new", "enlarging"),
    "grows": ("new", "enlarging"),
    "shrinks": ("shrinking", "resolved"),
    "vanishes": ("shrinking", "resolved"),
}


@dataclass(frozen=True, eq=False)
class Head:
    """One head's visits with their segmentation; the series itself keeps no image."""

    number: int
    series: Series
    visits: tuple[FinishedVisit, ...]


@dataclass(frozen=True, eq=False)
class Case:
    """Two visits of a head.

    Attributes
    ----------
    head : Head
    first, second : int
        Numbers of the visits.
    """

    head: Head
    first: int
    second: int

    @property
    def is_still(self) -> bool:
        """Whether nothing changes."""
        return self.head.series.late[self.first] == self.head.series.late[self.second]

    @property
    def name(self) -> str:
        """Of head and visits."""
        return f"{self.head.number:03d}-{self.first}-{self.second}"

    def compare(self, thresholds: ChangeThresholds | None = None) -> Comparison:
        """Compare both visits."""
        return compare_visits(self.head.visits[self.first], self.head.visits[self.second], thresholds)


def make_head(number: int, label_map: Path, masks: tuple[Path, ...], ensemble: Ensemble) -> Head:
    """Make and segment a head's visits, those of odd numbers with two protocols."""
    config = SynthesisConfig()
    rng = np.random.default_rng([number, 19])
    one = draw_protocols(config.acquisition, True, rng)
    other = draw_protocols(config.acquisition, True, rng) if number % 2 else one
    config = replace(config, lesions=replace(config.lesions, none_fraction=0.0))
    plan = [(False, one), (False, other), (True, one), (True, other)]
    series = make_series(anatomy_of(label_map), patients_of(masks), plan, CHANCES, [number, 20], config)
    visits = tuple(_finished(visit, ensemble) for visit in series.visits)
    return Head(number, replace(series, visits=()), visits)


def _finished(visit: PairVisit, ensemble: Ensemble) -> FinishedVisit:
    found = segment_by_ensemble(ensemble, normalise(visit.channels, visit.brain, SEQUENCES), visit.brain)
    rule = ensemble.members[0].config.rule

    def image(values: NDArray[np.generic], kind: type[np.generic] = np.float32) -> nib.Nifti1Image:
        return nib.Nifti1Image(np.asarray(values, kind), visit.affine)

    return FinishedVisit(
        scans={name: image(channel) for name, channel in zip(SEQUENCES, visit.channels, strict=True)},
        brain=image(visit.brain, np.uint8),
        probability=image(found.final),
        mask=image(lesion_mask(found.final, rule, 1.0), np.uint8),
    )


@dataclass(frozen=True)
class TrueLesion:
    """What is true of one lesion, and what was called in its place."""

    fate: Fate
    before_mm3: float
    after_mm3: float
    called: str
    called_change_mm3: float


def judge(case: Case, found: Comparison) -> tuple[list[TrueLesion], list[str]]:
    """Return each true lesion with what was called there, and the kinds called where nothing has changed."""
    if found.result is None:
        return [], []
    series = case.head.series
    numbers = nib.Nifti1Image(series.numbers.astype(np.int32), case.head.visits[0].mask.affine)
    to_first = series.poses[case.first] @ found.space.half_to_earlier
    there = np.asarray(resample(numbers, found.grid, 0, to_first).dataobj)
    return match(there, series, (case.first, case.second), found.result.labels, found.result.lesions)


def match(
    there: NDArray[np.integer],
    series: Series,
    visits: tuple[int, int],
    labels: NDArray[np.int32],
    tracked: Sequence[TrackedLesion],
) -> tuple[list[TrueLesion], list[str]]:
    """Hold true lesions, numbered in `there`, against those that were called, numbered in `labels`."""
    late = [series.late[visit] for visit in visits]
    called = {one.number: one for one in tracked}
    boxes = ndimage.find_objects(there)
    lesions, right = [], set()
    for number, changing in series.fates.items():
        fate: Fate = "stays" if late[0] == late[1] else changing
        before, after = (series.volumes_mm3[number][one] for one in late)
        box = boxes[number - 1] if number <= len(boxes) else None
        if max(before, after) < MIN_COUNTED_MM3 or box is None:
            continue
        box = tuple(slice(max(0, edge.start - 1), edge.stop + 1) for edge in box)
        touching = np.bincount(labels[box][ndimage.binary_dilation(there[box] == number)])
        own = [called[one] for one in np.flatnonzero(touching) if one]
        agreeing = [one for one in own if _agrees(one.kind, fate)]
        right |= {one.number for one in agreeing if fate != "stays"}
        best = max(agreeing or own, key=lambda one: touching[one.number], default=None)
        lesions.append(TrueLesion(fate, before, after, best.kind if best else "none", best.change_mm3 if best else 0.0))
    changed = [one for one in tracked if one.kind != "stable" and one.number not in right]
    return lesions, [one.kind for one in changed]


def _agrees(kind: str, fate: Fate) -> bool:
    """Whether a call has the right direction: a new lesion beside another one makes that one larger."""
    return kind in _AGREEING[fate]


PAIRS = ((0, 1), (2, 3), (0, 2), (1, 3))
"""Visits that are compared: two pairs without a change, two with all of a head's."""


def load_heads(
    folder: Path, label_maps: Sequence[Path], masks: Sequence[Path], numbers: Sequence[int]
) -> Iterator[Head]:
    """Return heads one by one, those that aren't there yet made first."""
    ensemble = load_ensemble(PACKAGED_MODEL)
    maps, sources = find_images(label_maps), tuple(find_images(masks))
    for number in numbers:
        path = folder / f"head{number:03d}.pickle"
        if not path.exists():
            head = make_head(number, maps[number % len(maps)], sources, ensemble)
            write_whole_file(pickle.dumps(head), path)
        yield pickle.loads(path.read_bytes())


@dataclass(frozen=True)
class Judged:
    """What was found in a pair.

    Attributes
    ----------
    is_still : bool
        Whether nothing changes in it.
    lesions : list of TrueLesion
    wrong : list of str
        Kinds called where nothing has changed.
    """

    is_still: bool
    lesions: list[TrueLesion]
    wrong: list[str]


def report(judged: Sequence[Judged]) -> str:
    """Return what was found as Markdown; precision of new lesions counts those of pairs without change as well."""
    by_class: dict[tuple[str, str], list[bool]] = defaultdict(list)
    false: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    n_pairs, errors = Counter(pair.is_still for pair in judged), []
    for pair in judged:
        false[pair.is_still].update(pair.wrong)
        for one in pair.lesions:
            by_class[one.fate, size_class_of(max(one.before_mm3, one.after_mm3))].append(_agrees(one.called, one.fate))
        errors += [
            one.called_change_mm3 - (one.after_mm3 - one.before_mm3)
            for one in pair.lesions
            if one.fate in ("grows", "shrinks") and one.called != "none"
        ]
    new = [_agrees(one.called, "appears") for pair in judged for one in pair.lesions if one.fate == "appears"]
    n_false = sum(counts["new"] for counts in false.values())
    lines = ["| fate | " + " | ".join(COUNTED_CLASSES_MM3) + " |", "|---" * 5 + "|"]
    for fate in CHANCES:
        cells = [by_class[fate, name] for name in COUNTED_CLASSES_MM3]
        lines.append(f"| {fate} | " + " | ".join(f"{sum(one)}/{len(one)}" for one in cells) + " |")
    for still, name in ((True, "without"), (False, "with")):
        calls = ", ".join(f"{kind} {count}" for kind, count in sorted(false[still].items())) or "none"
        lines.append(f"\nfalse calls in {n_pairs[still]} pairs {name} change: {calls}")
    if any(new):
        recall, precision = sum(new) / len(new), sum(new) / (sum(new) + n_false)
        f1 = 2 * recall * precision / (recall + precision)
        lines.append(f"\nnew lesions: recall {recall:.2f}, precision {precision:.2f}, F1 {f1:.2f}")
    if errors:
        median, spread = np.median(errors), np.median(np.abs(errors))
        lines.append(f"\nchange of volume called less the true one: median {median:.0f} mm^3, MAD {spread:.0f} mm^3")
    return "\n".join(lines)


def main() -> None:
    """Make the pairs, compare them, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.longitudinal", description=__doc__)
    parser.add_argument("--label-maps", type=Path, nargs="+", required=True)
    parser.add_argument("--lesion-masks", type=Path, nargs="+", required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--heads", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="number of the first head: limits were chosen on some")
    options = parser.parse_args()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    judged = []
    numbers = range(options.first, options.first + options.heads)
    for head in load_heads(options.work_dir, options.label_maps, options.lesion_masks, numbers):
        for first, second in PAIRS:
            case = Case(head, first, second)
            judged.append(Judged(case.is_still, *judge(case, case.compare())))
            print(case.name, flush=True)
    print(report(judged))


if __name__ == "__main__":
    main()
