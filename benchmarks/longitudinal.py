"""How well changes between two visits are found: on pairs of synthetic visits of one head with known changes.

``python -m benchmarks.longitudinal --label-maps PATH ... --lesion-masks PATH ... --work-dir DIR [--pairs N]``

Pairs are made and segmented once and kept in the work folder, so that thresholds can be tried on them. Half of them
have no change at all; visits differ in noise, bias field and position, and in every second pair in protocol, too.
"""

from __future__ import annotations

import argparse
import pickle
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.pairs import Fate, PairVisit, VisitPair, make_pair
from bids_cascade.cascade.ensemble import Ensemble, segment_by_ensemble
from bids_cascade.cascade.normalisation import normalise
from bids_cascade.change.compare import Comparison, FinishedVisit, compare_visits
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.imaging.grid import resample
from bids_cascade.lesions.rule import lesion_mask
from bids_cascade.lesions.sizes import COUNTED_CLASSES_MM3, MIN_COUNTED_MM3, size_class_of
from bids_cascade.models.store import PACKAGED_MODEL, load_ensemble
from bids_cascade.synthesis.config import SynthesisConfig
from bids_cascade.synthesis.scanner import draw_protocols
from bids_cascade.training.heads import anatomy_of, find_images, patients_of

SEQUENCES = ("T1w", "FLAIR")
CHANCES: dict[Fate, float] = {"stays": 0.4, "appears": 0.2, "grows": 0.2, "shrinks": 0.1, "vanishes": 0.1}
_AGREEING: dict[Fate, tuple[str, ...]] = {
    "stays": ("stable", "none"),
    "appears": ("new", "enlarging"),
    "grows": ("new", "enlarging"),
    "shrinks": ("shrinking", "resolved"),
    "vanishes": ("shrinking", "resolved"),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A pair of visits with their segmentation."""

    number: int
    pair: VisitPair
    earlier: FinishedVisit
    later: FinishedVisit


def make_case(number: int, label_map: Path, masks: tuple[Path, ...], ensemble: Ensemble) -> Case:
    """Make and segment a pair: even numbers without change, and of four the last two with two protocols."""
    config = SynthesisConfig()
    rng = np.random.default_rng([number, 19])
    one = draw_protocols(config.acquisition, True, rng)
    other = draw_protocols(config.acquisition, True, rng) if number % 4 >= 2 else one
    chances = {} if number % 2 == 0 else CHANCES
    config = replace(config, lesions=replace(config.lesions, none_fraction=0.0))
    pair = make_pair(anatomy_of(label_map), patients_of(masks), (one, other), chances, [number, 20], config)
    earlier, later = (_finished(visit, ensemble) for visit in (pair.earlier, pair.later))
    return Case(number, pair, earlier, later)


def _finished(visit: PairVisit, ensemble: Ensemble) -> FinishedVisit:
    found = segment_by_ensemble(ensemble, normalise(visit.channels, visit.brain, SEQUENCES), visit.brain)
    rule = ensemble.members[0].config.rule

    def image(values: NDArray[np.generic]) -> nib.Nifti1Image:
        return nib.Nifti1Image(np.asarray(values, np.float32), visit.affine)

    return FinishedVisit(
        scans={name: image(channel) for name, channel in zip(SEQUENCES, visit.channels, strict=True)},
        brain=image(visit.brain),
        probability=image(found.final),
        mask=image(lesion_mask(found.final, rule, 1.0)),
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
    numbers = nib.Nifti1Image(case.pair.numbers.astype(np.int32), case.pair.earlier.affine)
    there = np.asarray(resample(numbers, found.grid, 0, found.space.half_to_earlier).dataobj)
    called = {one.number: one for one in found.result.lesions}
    boxes = ndimage.find_objects(there)
    lesions, right = [], set()
    for number, fate in case.pair.fates.items():
        before, after = case.pair.volumes_mm3[number]
        box = boxes[number - 1] if number <= len(boxes) else None
        if max(before, after) < MIN_COUNTED_MM3 or box is None:
            continue
        box = tuple(slice(max(0, edge.start - 1), edge.stop + 1) for edge in box)
        touching = np.bincount(found.result.labels[box][ndimage.binary_dilation(there[box] == number)])
        own = [called[one] for one in np.flatnonzero(touching) if one]
        agreeing = [one for one in own if _agrees(one.kind, fate)]
        right |= {one.number for one in agreeing if fate != "stays"}
        best = max(agreeing or own, key=lambda one: touching[one.number], default=None)
        lesions.append(TrueLesion(fate, before, after, best.kind if best else "none", best.change_mm3 if best else 0.0))
    changed = [one for one in found.result.lesions if one.kind != "stable" and one.number not in right]
    return lesions, [one.kind for one in changed]


def _agrees(kind: str, fate: Fate) -> bool:
    """Whether a call has the right direction: a new lesion beside another one makes that one larger."""
    return kind in _AGREEING[fate]


def load_cases(folder: Path, label_maps: Sequence[Path], masks: Sequence[Path], n_pairs: int) -> list[Case]:
    """Return the pairs, those that aren't there yet made first."""
    ensemble = load_ensemble(PACKAGED_MODEL)
    maps, sources = find_images(label_maps), tuple(find_images(masks))
    cases = []
    for number in range(n_pairs):
        path = folder / f"pair{number:03d}.pickle"
        if not path.exists():
            case = make_case(number, maps[number % len(maps)], sources, ensemble)
            path.write_bytes(pickle.dumps(case))
        cases.append(pickle.loads(path.read_bytes()))
    return cases


def report(judged: Sequence[tuple[Case, Comparison]]) -> str:
    """Return what was found as Markdown."""
    by_class: dict[tuple[str, str], list[bool]] = defaultdict(list)
    false: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    n_pairs, errors = Counter(_is_still(case) for case, _ in judged), []
    for case, found in judged:
        lesions, wrong = judge(case, found)
        false[_is_still(case)].update(wrong)
        for one in lesions:
            by_class[one.fate, size_class_of(max(one.before_mm3, one.after_mm3))].append(_agrees(one.called, one.fate))
        errors += [
            one.called_change_mm3 - (one.after_mm3 - one.before_mm3)
            for one in lesions
            if one.fate in ("grows", "shrinks") and one.called != "none"
        ]
    lines = ["| fate | " + " | ".join(COUNTED_CLASSES_MM3) + " |", "|---" * 5 + "|"]
    for fate in CHANCES:
        cells = [by_class[fate, name] for name in COUNTED_CLASSES_MM3]
        lines.append(f"| {fate} | " + " | ".join(f"{sum(one)}/{len(one)}" for one in cells) + " |")
    for still, name in ((True, "without"), (False, "with")):
        calls = ", ".join(f"{kind} {count}" for kind, count in sorted(false[still].items())) or "none"
        lines.append(f"\nfalse calls in {n_pairs[still]} pairs {name} change: {calls}")
    if errors:
        median, spread = np.median(errors), np.median(np.abs(errors))
        lines.append(f"\nchange of volume called less the true one: median {median:.0f} mm^3, MAD {spread:.0f} mm^3")
    return "\n".join(lines)


def _is_still(case: Case) -> bool:
    """Whether nothing changes in a pair."""
    return all(fate == "stays" for fate in case.pair.fates.values())


def main() -> None:
    """Make the pairs, compare them, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.longitudinal", description=__doc__)
    parser.add_argument("--label-maps", type=Path, nargs="+", required=True)
    parser.add_argument("--lesion-masks", type=Path, nargs="+", required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=12)
    options = parser.parse_args()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    cases = load_cases(options.work_dir, options.label_maps, options.lesion_masks, options.pairs)
    print(report([(case, compare_visits(case.earlier, case.later, ChangeThresholds())) for case in cases]))


if __name__ == "__main__":
    main()
