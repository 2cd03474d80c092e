"""``python -m benchmarks.anatomy LABEL_MAP ... --lesion-masks MASK ...``: anatomy and filling where the truth is known.

Each label map becomes a 3D scan with lesions as dark in T1w as measured in such scans. The label maps must be those
that the atlas was not made from; a map that is named twice gives two heads. A head takes half a minute of one
processor.

If its lesions are large and dark enough to matter to other tools, it is also scanned without them, with the same
signals, noise and position, and once more with other noise, by which volumes differ however well lesions are filled.
This and the five segmentations by Atropos take two minutes more; ``--no-filling`` leaves them out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks import machine
from bids_cascade.anatomy.filling import fill_lesions
from bids_cascade.anatomy.location import Location, locate
from bids_cascade.anatomy.structures import Structure
from bids_cascade.anatomy.thresholds import THRESHOLDS
from bids_cascade.anatomy.visit import find_anatomy, register_visit
from bids_cascade.anatomy.zones import ZONE_NAMES, Places, Zone, find_places
from bids_cascade.cascade.normalisation import normalise
from bids_cascade.imaging.anatomies import load_anatomy, load_patient
from bids_cascade.imaging.images import load_ants, to_ants
from bids_cascade.lesions.components import label_lesions, remove_small_lesions
from bids_cascade.synthesis import head as synthesis
from bids_cascade.synthesis.anatomy import Anatomy, Tissue, is_any
from bids_cascade.synthesis.config import SynthesisConfig
from bids_cascade.synthesis.fields import FloatArray
from bids_cascade.synthesis.head import SEQUENCES, TrainingHead, make_training_head
from bids_cascade.synthesis.lesions import Patient, paint_lesions
from bids_cascade.synthesis.scanner import Scanner

_TRUTH: dict[Structure, tuple[Tissue, ...]] = {
    Structure.LATERAL_VENTRICLES: (Tissue.LATERAL_VENTRICLE, Tissue.CHOROID_PLEXUS),
    Structure.THIRD_VENTRICLE: (Tissue.THIRD_VENTRICLE,),
    Structure.FOURTH_VENTRICLE: (Tissue.FOURTH_VENTRICLE,),
    Structure.SULCAL_FLUID: (Tissue.SULCAL_CSF,),
    Structure.CORTEX: (Tissue.CORTEX, Tissue.INSULA, Tissue.HIPPOCAMPUS, Tissue.AMYGDALA),
    Structure.DEEP_GREY: (
        *(Tissue.VENTRAL_DC, Tissue.THALAMUS, Tissue.CAUDATE, Tissue.PUTAMEN, Tissue.PALLIDUM, Tissue.ACCUMBENS),
    ),
    Structure.WHITE_MATTER: (Tissue.WHITE, Tissue.SEPTUM, Tissue.VESSEL),
    Structure.CEREBELLUM: (Tissue.CEREBELLAR_WHITE, Tissue.CEREBELLAR_CORTEX),
    Structure.BRAINSTEM: (Tissue.BRAINSTEM,),
}
_GREY, _WHITE = 2, 3
_HALF_VOXEL_MM = 0.5
_WINSORISED = (0.005, 0.995)
_FACTOR = 2.0
"""Factor by which the healthy head's white matter must not be off: else, Atropos has found other classes."""
_T1W_DROP = (0.15, 0.28)
"""T1w of a head's lesions below white matter's: a median of .22 was measured in 3D scans, see the synthesis."""
_LEAST_LESION_ML, _LEAST_DROP = 10.0, 0.15
"""Lesion volume, and fraction by which its mean T1w is below white matter's, from which filling is judged."""
_SMALLEST_MM3 = 3
"""Volume of the smallest lesion that the packaged model reports."""
FILLINGS = ("none", "global_mean", "ours", "other_noise")
_SHOWN = (Structure.WHITE_MATTER, Structure.CORTEX, Structure.CEREBELLUM, Structure.BRAINSTEM)


def main() -> None:
    """Print each head's figures, then tables of Dice, agreement of locations, and errors of tissue volumes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anatomy", description=__doc__)
    parser.add_argument("label_maps", nargs="+", type=Path)
    parser.add_argument("--lesion-masks", nargs="+", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1, help="of the first head; each next one has the next seed")
    parser.add_argument("--no-filling", action="store_true", help="leave tissue volumes out")
    parser.add_argument("--jobs", type=int, default=1, help="heads at a time, of 1.5 GB each")
    options = parser.parse_args()
    judge_one = partial(judge_head, masks=options.lesion_masks, with_filling=not options.no_filling)
    seeds = range(options.seed, options.seed + len(options.label_maps))
    heads = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        for head in pool.map(judge_one, options.label_maps, seeds):
            heads.append(head)
            print(head["head"], head.get("wrong", "no anatomy"), flush=True)
    print(f"\nMachine: {machine.describe()}\n\n{format_table(heads)}")


def judge_head(label_map: Path, seed: int, masks: Sequence[Path], with_filling: bool) -> dict[str, Any]:
    """Make a head from a label map, and return its figures."""
    anatomy, patients = load_anatomy(label_map), [load_patient(path) for path in masks]
    head = make_head(anatomy, patients, seed)
    figures, structures = measure(head)
    if with_filling and structures is not None and matters(figures):
        healthy, noisy = without_lesions(anatomy, patients, seed)
        figures |= volume_errors(head, healthy, noisy, structures)
    return {"head": f"{label_map.name.removesuffix('.nii.gz')}, seed {seed}", **figures}


def matters(figures: Mapping[str, Any]) -> bool:
    """Return whether a head's lesions are large and dark enough for unfilled lesions to be harmful."""
    return bool(figures["lesion_ml"] >= _LEAST_LESION_ML and figures["t1w_drop"] >= _LEAST_DROP)


def measure(sick: TrainingHead) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """Return the figures of one head with lesions, and its structures, if they were found."""
    brain = nib.Nifti1Image(sick.brain.astype(np.uint8), sick.affine)
    channels = normalise(sick.channels, sick.brain, SEQUENCES)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        deformation = register_visit(channels, brain, SEQUENCES, Path(folder))
        registered = time.process_time()
        found = find_anatomy(channels, brain, SEQUENCES, sick.lesion, deformation)
    figures: dict[str, Any] = {
        "registration_s": registered - start,
        "structures_s": time.process_time() - registered,
        "agreement": found.agreement,
    }
    if found.structures is None:
        return figures | found.flags, None
    structures = np.asarray(found.structures.dataobj)
    t1w, lesion = sick.channels[0], sick.lesion
    white = t1w[(structures == Structure.WHITE_MATTER + 1) & ~lesion].mean()
    figures |= {"lesion_ml": float(lesion.sum()) / 1000, "t1w_drop": float(1 - t1w[lesion].mean() / white)}
    return figures | judge_structures(structures, sick), structures


def judge_structures(structures: NDArray[np.uint8], sick: TrainingHead) -> dict[str, Any]:
    """Return how right the structures of a head are, and the locations of its lesions."""
    truth = true_structures(sick.tissue)
    figures: dict[str, Any] = {"true_ventricles_ml": float((truth == Structure.LATERAL_VENTRICLES + 1).sum()) / 1000}
    figures |= {f"dice_{one.name.lower()}": dice(structures == one + 1, truth == one + 1) for one in Structure}
    return figures | locations(structures, truth, sick.lesion)


def format_table(heads: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown: structures and locations, confusions of these, and errors of volumes."""
    known = [head for head in heads if "n_lesions" in head]
    filled = [head for head in known if "white_error_none_ml" in head]
    failed = [f"No anatomy: {head['head']}" for head in heads if head not in known]
    failed += [f"Other classes than tissues by Atropos: {head['head']}" for head in heads if "atropos_failed" in head]
    failed += [
        f"Lesions too small or too faint to judge filling by: {head['head']} ({head['lesion_ml']:.0f} ml, T1w "
        f"{head['t1w_drop']:.0%} below white matter's)"
        for head in known
        if not matters(head)
    ]
    tables = [_structure_rows(known), _confusion_rows(known), _volume_rows(filled), failed]
    return "\n\n".join("\n".join(rows) for rows in tables if rows)


def _structure_rows(heads: Sequence[dict[str, Any]]) -> list[str]:
    shown = [one.name.lower() for one in _SHOWN]
    columns = ["head", "lateral ventricles", "their Dice", *(name.replace("_", " ") for name in shown)]
    columns += ["lesions with the true location", "of those near a limit", "seconds"]
    rows = _header(columns)
    for head in heads:
        cells = [head["head"], f"{head['true_ventricles_ml']:.0f} ml"]
        cells += [f"{head[f'dice_{name}']:.2f}" for name in ("lateral_ventricles", *shown)]
        cells += [
            f"{head['same_location']} of {head['n_lesions']}",
            f"{head['same_near_limit']} of {head['n_near_limit']}",
        ]
        rows.append(_row([*cells, f"{head['registration_s'] + head['structures_s']:.0f}"]))
    same, n, near, n_near = (
        sum(head[key] for head in heads) for key in ("same_location", "n_lesions", "same_near_limit", "n_near_limit")
    )
    right = f"{same} of {n} ({same / max(n, 1):.1%})"
    return [*rows, _row(["all", *[""] * (2 + len(shown)), right, f"{near} of {n_near}", ""])]


def _confusion_rows(heads: Sequence[dict[str, Any]]) -> list[str]:
    names = list(ZONE_NAMES.values())
    pairs = Counter(pair for head in heads for pair in head["locations"])
    rows = _header(["true location", *(f"called {name.replace('_', ' ')}" for name in names)])
    return rows + [_row([true.replace("_", " "), *(str(pairs[true, called]) for called in names)]) for true in names]


def _volume_rows(heads: Sequence[dict[str, Any]]) -> list[str]:
    """Return the errors of each head, then the sums of their magnitudes, relative to no filling."""
    if not heads:
        return []
    rows = _header(["head", "lesions", "filling", "error of white matter", "error of grey matter"])
    for head in heads:
        for name in FILLINGS:
            errors = [f"{head[f'{tissue}_error_{name}_ml']:+.1f} ml" for tissue in ("white", "grey")]
            rows.append(_row([head["head"], f"{head['lesion_ml']:.0f} ml", name.replace("_", " "), *errors]))
    for name in FILLINGS:
        cells = []
        for tissue in ("white", "grey"):
            total, unfilled = (
                sum(abs(head[f"{tissue}_error_{filling}_ml"]) for head in heads) for filling in (name, "none")
            )
            cells.append(f"{total:.1f} ml ({total / unfilled - 1:+.0%})" if unfilled > 0 else f"{total:.1f} ml")
        rows.append(_row(["all, magnitudes", "", name.replace("_", " "), *cells]))
    return rows


def _header(columns: Sequence[str]) -> list[str]:
    return [_row(columns), "|---" * len(columns) + "|"]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def make_head(anatomy: Anatomy, patients: Sequence[Patient], seed: int) -> TrainingHead:
    """Return a head with lesions, scanned in 3D."""
    config = SynthesisConfig()
    config = replace(
        config,
        acquisition=replace(config.acquisition, protocol_fractions=(1.0, 0.0, 0.0, 0.0)),
        lesions=replace(config.lesions, none_fraction=0.0),
        lesion_signal=replace(config.lesion_signal, t1w_drop=_T1W_DROP),
    )
    return make_training_head(anatomy, patients, seed, config)


def without_lesions(anatomy: Anatomy, patients: Sequence[Patient], seed: int) -> tuple[TrainingHead, TrainingHead]:
    """Return a head without its lesions, and the same with other noise."""

    def without(*arguments: Any) -> Any:
        lesions = paint_lesions(*arguments)  # the random numbers are drawn all the same
        none = np.zeros_like(lesions.fraction)
        return replace(lesions, fraction=none, flair_gain=none, t1w_drop=none)

    def other_noise(scanner: Scanner, scan: FloatArray, rng: np.random.Generator) -> FloatArray:
        noisy(scanner, scan, rng)  # likewise
        return noisy(scanner, scan, np.random.default_rng(seed))

    noisy = Scanner._noisy
    with mock.patch.object(synthesis, "paint_lesions", without):
        healthy = make_head(anatomy, patients, seed)
        with mock.patch.object(Scanner, "_noisy", other_noise):
            return healthy, make_head(anatomy, patients, seed)


def true_structures(tissue: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return :class:`Structure` + 1 of what a head was painted from."""
    structures = np.zeros(tissue.shape, np.uint8)
    for structure, kinds in _TRUTH.items():
        structures[is_any(tissue, kinds)] = structure + 1
    return structures


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the overlap of two masks."""
    return 2 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def locations(structures: NDArray[np.uint8], truth: NDArray[np.uint8], lesion: NDArray[np.bool_]) -> dict[str, Any]:
    """Return how many lesions are where the true structures say, and of those within half a voxel of a limit."""
    places = [find_places(one, 1.0) for one in (structures, truth)]
    labels, n = label_lesions(remove_small_lesions(lesion, 1.0, _SMALLEST_MM3))
    called, near, wrong = [], [], []
    for number in range(1, n + 1):
        inside = labels == number
        found, expected = (
            locate(Places(one.structures[inside], one.to_ventricle_mm[inside], one.to_cortex_mm[inside]), 1.0)
            for one in places
        )
        called.append((expected.location, found.location))
        near.append(_near_limit(expected))
        if found.location != expected.location:
            wrong.append(f"{found.location} for {expected.location} ({int(inside.sum())} mm3)")
    same = [expected == found for expected, found in called]
    return {
        "n_lesions": n,
        "same_location": sum(same),
        "n_near_limit": sum(near),
        "same_near_limit": sum(a and b for a, b in zip(same, near, strict=True)),
        "locations": called,
        "wrong": wrong,
    }


def _near_limit(true: Location) -> bool:
    """Return whether half a voxel more or less would make the location another one."""
    if true.location == ZONE_NAMES[Zone.INFRATENTORIAL]:
        return False
    if abs(true.distance_to_ventricle_mm - THRESHOLDS.periventricular_mm) <= _HALF_VOXEL_MM:
        return True
    periventricular = true.location == ZONE_NAMES[Zone.PERIVENTRICULAR]
    return not periventricular and abs(true.distance_to_cortex_mm - THRESHOLDS.juxtacortical_mm) <= _HALF_VOXEL_MM


def volume_errors(
    sick: TrainingHead, healthy: TrainingHead, noisy: TrainingHead, structures: NDArray[np.uint8]
) -> dict[str, Any]:
    """Return by how much grey and white matter differ from the healthy head's, in ml, by how lesions are filled."""
    t1w = sick.channels[0]
    mean = t1w[(structures == Structure.WHITE_MATTER + 1) & ~sick.lesion].mean()
    filled = {
        "none": t1w,
        "global_mean": np.where(sick.lesion, mean, t1w),
        "ours": fill_lesions(t1w, sick.lesion, structures, (1, 1, 1))[0],
        "other_noise": noisy.channels[0],
    }
    expected = tissue_volumes_ml(healthy.channels[0], sick)
    true_white_ml = float(is_any(sick.tissue, (Tissue.WHITE, Tissue.CEREBELLAR_WHITE, Tissue.BRAINSTEM)).sum()) / 1000
    if not true_white_ml / _FACTOR < expected["white"] < true_white_ml * _FACTOR:
        return {"atropos_failed": True}
    found = {name: tissue_volumes_ml(image, sick) for name, image in filled.items()}
    return {
        f"{tissue}_error_{name}_ml": volumes[tissue] - expected[tissue]
        for name, volumes in found.items()
        for tissue in expected
    }


def tissue_volumes_ml(t1w: NDArray[np.floating], head: TrainingHead) -> dict[str, float]:
    """Return grey and white matter of a T1w by ANTs Atropos, which knows nothing of lesions or of our atlas."""
    ants = load_ants()
    # Otherwise a few bright voxels may become a class of their own.
    clipped = t1w.clip(*np.quantile(t1w[head.brain], _WINSORISED)) * head.brain
    image, mask = (to_ants(nib.Nifti1Image(a.astype(np.float32), head.affine)) for a in (clipped, head.brain))
    found = ants.atropos(image, mask, i="KMeans[3]", m="[0.1,1x1x1]", c="[5,0]")["segmentation"].numpy()
    return {"grey": float((found == _GREY).sum()) / 1000, "white": float((found == _WHITE).sum()) / 1000}


if __name__ == "__main__":
    main()
