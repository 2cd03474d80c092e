"""Inputs as sites and converters leave them, and files that are not what their names say, each as a visit of its own.

Most are made from a good dataset by a ``make.py`` in a folder beside this repository (``shared/data/failing``), where
an ``expected.txt`` says what is right; without that folder, they are left out.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from tests.faults.scene import DATA, End, Row, Scene, copy_participant, dice_of, is_wanted, mask_of

_HEAD, _STRIPPED, _PHANTOM = "head", "stripped", "phantom"
_SOURCES = {_HEAD: ("labelled-thick", "sub-mi101228"), _STRIPPED: ("labelled-1mm", "sub-ljubljana26")}
_SAME_BYTES, _DICE_98, _DICE_95 = "the same bytes", "Dice of 0.98", "Dice of 0.95"
_LEAST_DICE = {_DICE_98: 0.98, _DICE_95: 0.95}


@dataclass(frozen=True)
class _Case:
    """What is made of which good dataset, and what should come of it: a mask like its own, or words of a refusal."""

    name: str
    base: str
    expected: str
    options: tuple[str, ...] = ()


_MADE = (
    _Case("apple-double", _PHANTOM, _SAME_BYTES),
    _Case("named-part", _STRIPPED, _SAME_BYTES),
    _Case("one-volume 4", _PHANTOM, _SAME_BYTES),
    _Case("one-volume 5", _PHANTOM, _SAME_BYTES),
    _Case("other-units micron", _PHANTOM, _DICE_98),
    _Case("other-units meter", _PHANTOM, _DICE_98),
    _Case("no-codes T1w", _PHANTOM, "left and right may be swapped"),
    _Case("no-codes T1w FLAIR", _PHANTOM, "left and right may be swapped", ("--guess-orientation",)),
    _Case("plain-surroundings random token numpy bids", _PHANTOM, _SAME_BYTES),
    _Case("other-background zscore", _STRIPPED, _DICE_98),
    _Case("other-background minimum", _STRIPPED, _DICE_98),
    _Case("other-background nan", _STRIPPED, "voxels that are NaN or infinite"),
    *(
        _Case(f"scaled-storage {kind}", _STRIPPED, _DICE_98)
        for kind in ("int16-scaled", "big-endian", "nifti2", "tiny", "huge", "intercept", "zscore")
    ),
    _Case("axis-order PIR RAS", _HEAD, _DICE_98),
    _Case("axis-order PSR LAS", _HEAD, _DICE_98),
    _Case("bright-spots", _HEAD, _DICE_95),
    _Case("finer-slab 50 T1w", _HEAD, _SAME_BYTES),
    _Case("finer-slab 70 T1w FLAIR", _HEAD, _SAME_BYTES),
)
_MISNAMED = (
    _Case("T1w and FLAIR exchanged", _STRIPPED, "seem to be swapped"),
    _Case("T1w and FLAIR exchanged", _HEAD, "seem to be swapped"),
    _Case("the T1w given as FLAIR, too", _STRIPPED, "looks like a copy of"),
    _Case("the FLAIR given as T1w, too", _HEAD, "looks like a copy of"),
    _Case("the T2w named FLAIR", _STRIPPED, "can't be a FLAIR image"),
    _Case("an inverted T1w", _STRIPPED, "can't be a T1w image"),
    _Case("a mask as T1w", _STRIPPED, "different intensities in the brain"),
)


_ALONE = tuple(case for case in _MADE if case.options or case.name.startswith(("apple-double", "plain-surroundings")))


def run_inputs(folder: Path) -> Iterator[Row]:
    """Run the app on all of these inputs, and on what they were made from, at once; some need a run of their own."""
    if not DATA.is_dir():  # all of them are made from it, or by it
        return
    root = folder / "inputs"
    together = Scene(root / "together", root / "dataset")
    bases = {_PHANTOM: Scene(root / "phantoms").dataset}
    for base, (dataset, participant) in _SOURCES.items():
        bases[base] = root / "bases" / base
        shutil.copytree(DATA / dataset / participant, bases[base] / participant)
        shutil.copy(DATA / dataset / "dataset_description.json", bases[base])
    cases = {f"{number:02d}": case for number, case in enumerate((*_MADE, *_MISNAMED)) if is_wanted(case.name)}
    for base in {case.base for case in cases.values()}:
        copy_participant(together.dataset, f"0{base}", bases[base])  # they come first
    for label, case in cases.items():
        (_misname if case in _MISNAMED else _make)(case.name, bases[case.base], root / "made" / label)
        if case not in _ALONE:
            copy_participant(together.dataset, label, root / "made" / label)
    out = root / "out"
    end = together.run(out, root / "work")
    masks = {base: mask_of(out, f"0{base}") for base in bases}
    for label, case in cases.items():
        if case not in _ALONE:
            yield _judge(case, masks[case.base], mask_of(out, label), _lines_of(end, label), end)
    for label, case in cases.items():
        if case in _ALONE:
            alone, end = _run(root / f"alone_{label}", root / "made" / label, *case.options)
            yield _judge(case, masks[case.base], mask_of(alone, "01"), _lines_of(end, "01"), end)


def _lines_of(end: End, label: str) -> list[str]:
    """Return the rows of the closing table that a participant has."""
    return [line for line in end.said.splitlines() if line.startswith(f"sub-{label} ")]


def _make(name: str, base: Path, made: Path) -> None:
    """Let the make.py of an input make it."""
    folder, *words = name.split()
    script = DATA / "failing" / folder / "make.py"
    subprocess.run([sys.executable, str(script), str(base), str(made), *words], check=True)


def _misname(name: str, base: Path, made: Path) -> None:
    """Put other content where a T1w or FLAIR image should be."""
    shutil.copytree(base, made)
    (anat,) = made.glob("sub-*/anat")
    t1w, flair = (next(anat.glob(f"*_{suffix}.nii.gz")) for suffix in ("T1w", "FLAIR"))
    image = nib.load(t1w)
    data = image.get_fdata()
    if name == "T1w and FLAIR exchanged":
        t1w.rename(anat / "other")
        flair.rename(t1w)
        (anat / "other").rename(flair)
    elif name == "the T1w given as FLAIR, too":
        shutil.copy(t1w, flair)
    elif name == "the FLAIR given as T1w, too":
        shutil.copy(flair, t1w)
    elif name == "the T2w named FLAIR":
        shutil.copy(next(anat.glob("*_T2w.nii.gz")), flair)
    elif name == "an inverted T1w":
        nib.Nifti1Image(np.where(data != 0, data.max() + 1 - data, 0), image.affine).to_filename(t1w)
    else:
        nib.Nifti1Image((data != 0).astype(np.uint8), image.affine).to_filename(t1w)


def _run(folder: Path, dataset: Path, *options: str) -> tuple[Path, End]:
    """Run the app on a dataset, or on the one in a folder that brings its own surroundings."""
    scene = Scene(folder, dataset, validate=any(dataset.rglob("._*")))
    if (dataset / "run.sh").exists():
        scene.before = (str(dataset / "run.sh"),)
        (scene.dataset,) = (path.parent for path in dataset.glob("*/dataset_description.json"))
    return scene.folder / "out", scene.run(scene.folder / "out", scene.folder / "work", *options)


def _judge(case: _Case, mask: Path | None, found: Path | None, lines: list[str], end: End) -> Row:
    is_mask = case.expected in (_SAME_BYTES, *_LEAST_DICE)
    failed = bool(lines) and "FAILED" in lines[0]
    kept = len(lines) == 1 and not end.has_traceback and "/._" not in end.complained
    if is_mask and mask is not None and found is not None:
        dice, same = dice_of(mask, found), found.read_bytes() == mask.read_bytes()
        happened = "the same bytes" if same else f"Dice {dice:.4f}"
        kept = kept and not failed and (same or dice >= _LEAST_DICE.get(case.expected, 2.0))
        kept = kept and ("plain" not in case.name or found.stat().st_mode & 0o777 == 0o600)
    else:
        happened = " ".join(lines[0].split()[1:]) if lines else end.complained.strip()[-200:]
        kept = kept and not is_mask and case.expected in lines[0] and failed != bool(case.options)
    tried = f"{case.name} ({case.base}{', ' + ' '.join(case.options) if case.options else ''})"
    return Row("inputs", tried, re.sub(r"/\S*/", "", happened).replace("|", "/"), kept)
