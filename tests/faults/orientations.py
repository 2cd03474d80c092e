"""One real scan stored in other ways: orders and directions of axes, types, with a margin, cut to the brain, oblique.

The scan is already stripped and aligned, so that a visit takes seconds; it needs real data beside this repository.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from bids_cascade.imaging.brain import brain_mask
from bids_cascade.imaging.channels import stack_channels
from bids_cascade.imaging.intensity import load_scan
from tests.faults.scene import DATA, Row, Scene, copy_participant, dice_of, mask_of

_SEQUENCES = ("T1w", "FLAIR")
_ALL = [
    "".join(axis[sign] for axis, sign in zip(axes, signs, strict=True))
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product((0, 1), repeat=3)
]
_WHOLE_VISITS = (("LPS", "LPS"), ("PIR", "RAS"), ("RAS", "SLA"), ("ASL", "IPR"), ("SRP", "SRP"), ("IPR", "AIL"))
_LEAST_DICE = 0.99


def run_orientations(folder: Path) -> Iterator[Row]:
    """Bring the scan to the model's grid from 48 orientations; then run whole visits of some, and of other forms."""
    if not DATA.is_dir():
        return
    root = folder / "orientations"
    base = copy_participant(root / "dataset", "labelled-1mm", "sub-ljubljana26")
    yield _all_orientations(base)
    alone = _run(root / "alone", base)
    if alone is None:
        yield Row("orientations", "the scan as it is", "no mask", False)
        return
    for t1w, flair in _WHOLE_VISITS:
        found = _run(root / f"{t1w}_{flair}", base, _turned_to(t1w), _turned_to(flair))
        yield _judge(f"whole visit, T1w stored {t1w}, FLAIR {flair}", alone, found, 1.0)
    for name, change in _FORMS.items():
        found = _run(root / name.replace(" ", "_"), base, change, change)
        yield _judge(f"whole visit, {name}", alone, found, _LEAST_DICE)


def _all_orientations(base: Path) -> Row:
    """Return whether what the networks see is the same, bit for bit, from each orientation of the T1w."""
    t1w, flair = (load_scan(next(base.glob(f"sub-*/anat/*_{suffix}.nii.gz"))) for suffix in _SEQUENCES)

    def channels_of(t1w: nib.Nifti1Image) -> np.ndarray:
        mask = brain_mask(t1w, "skip").mask
        return stack_channels({"T1w": t1w, "FLAIR": flair}, [None, None], mask, 1.0, _SEQUENCES)[0]

    expected = channels_of(t1w)
    differ = [axes for axes in _ALL if not np.array_equal(channels_of(_turned_to(axes)(t1w)), expected)]
    tried = f"the model's input from {len(_ALL)} orientations, at full resolution"
    return Row("orientations", tried, f"differs from {differ}" if differ else "the same bits", not differ)


def _turned_to(axes: str) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    def turn(image: nib.Nifti1Image) -> nib.Nifti1Image:
        return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes))))

    return turn


def _as_type(dtype: type[np.generic]) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    def convert(image: nib.Nifti1Image) -> nib.Nifti1Image:
        data = image.get_fdata()
        if np.dtype(dtype).kind == "f":
            return nib.Nifti1Image(data.astype(dtype), image.affine)
        limits = np.iinfo(dtype)
        low, high = data.min(), data.max()
        steps = np.rint((data - low) / (high - low) * (float(limits.max) - limits.min) + limits.min)
        return nib.Nifti1Image(steps.astype(dtype), image.affine)

    return convert


def _padded(image: nib.Nifti1Image) -> nib.Nifti1Image:
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (23, 5, 14)
    return nib.Nifti1Image(np.pad(image.get_fdata(dtype=np.float32), ((23, 9), (5, 31), (14, 2))), affine)


def _cropped(image: nib.Nifti1Image) -> nib.Nifti1Image:
    inside = np.argwhere(image.get_fdata() != 0)
    low, high = np.maximum(inside.min(axis=0) - 2, 0), inside.max(axis=0) + 3
    return image.slicer[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]


def _oblique(image: nib.Nifti1Image) -> nib.Nifti1Image:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (14, -9, 21), degrees=True).as_matrix()
    return nib.Nifti1Image(image.get_fdata(dtype=np.float32), turn @ image.affine)


_FORMS: dict[str, Callable[[nib.Nifti1Image], nib.Nifti1Image]] = {
    "uint8": _as_type(np.uint8),
    "uint16": _as_type(np.uint16),
    "float64": _as_type(np.float64),
    "with a margin": _padded,
    "cut to the brain": _cropped,
    "oblique by 14, 9 and 21 degrees": _oblique,
}


def _run(folder: Path, base: Path, *changes: Callable[[nib.Nifti1Image], nib.Nifti1Image]) -> Path | None:
    """Run a visit of the scan with its T1w and FLAIR changed; return the mask."""
    dataset = copy_participant(folder / "dataset", "labelled-1mm", "sub-ljubljana26")
    for suffix, change in zip(_SEQUENCES, changes, strict=False):
        path = next(dataset.glob(f"sub-*/anat/*_{suffix}.nii.gz"))
        image = change(nib.load(path))
        image.set_qform(image.affine, 1)
        image.set_sform(image.affine, 1)
        image.to_filename(path)
    scene = Scene(folder, dataset)
    scene.run(scene.folder / "out", scene.folder / "work")
    return mask_of(scene.folder / "out")


def _judge(tried: str, expected: Path, found: Path | None, least: float) -> Row:
    if found is None:
        return Row("orientations", tried, "no mask", False)
    dice = dice_of(expected, found)
    return Row("orientations", tried, f"Dice {dice:.4f} (at least {least:g})", dice >= least)
