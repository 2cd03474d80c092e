"""One real scan stored in other ways: orders and directions of axes, types, with a margin, cut to the brain, oblique.

The scan is already stripped and aligned, so that a visit takes seconds; it needs real data beside this repository.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from bids_cascade.imaging.brain import brain_mask
from bids_cascade.imaging.channels import stack_channels
from bids_cascade.imaging.intensity import load_scan
from tests.faults.scene import DATA, Row, Scene, copy_participant, dice_of, is_wanted, mask_of

_Change = Callable[[nib.Nifti1Image], nib.Nifti1Image]

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
    base = DATA / "labelled-1mm"
    if is_wanted("all"):
        yield _all_orientations(base)
    forms: dict[str, tuple[_Change, _Change, float]] = {
        f"T1w stored {t1w}, FLAIR {flair}": (_turned_to(t1w), _turned_to(flair), 1.0) for t1w, flair in _WHOLE_VISITS
    }
    forms |= {name: (change, change, _LEAST_DICE) for name, change in _FORMS.items()}
    forms = {name: form for name, form in forms.items() if is_wanted(name)}
    scene = Scene(folder / "orientations", folder / "orientations" / "dataset")
    copy_participant(scene.dataset, "0asitis", base)  # it comes first
    for number, (*changes, _) in enumerate(forms.values()):
        _store(copy_participant(scene.dataset, f"{number:02d}", base) / "anat", changes)
    out = scene.folder / "out"
    end = scene.run(out, scene.folder / "work", "--no-anatomy")  # masks are what is compared
    expected = mask_of(out, "0asitis")
    for number, (name, (_, _, least)) in enumerate(forms.items()):
        found = mask_of(out, f"{number:02d}")
        if expected is None or found is None:
            yield Row("orientations", f"whole visit, {name}", f"no mask: {end.errors}", False)
            continue
        dice = dice_of(expected, found)
        happened = f"Dice {dice:.4f} (at least {least:g})"
        yield Row("orientations", f"whole visit, {name}", happened, dice >= least and not end.has_traceback)


def _store(anat: Path, changes: Sequence[_Change]) -> None:
    """Store T1w and FLAIR in other ways."""
    for suffix, change in zip(_SEQUENCES, changes, strict=True):
        path = next(anat.glob(f"*_{suffix}.nii.gz"))
        image = change(nib.load(path))
        image.set_qform(image.affine, 1)
        image.set_sform(image.affine, 1)
        image.to_filename(path)


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


def _turned_to(axes: str) -> _Change:
    def turn(image: nib.Nifti1Image) -> nib.Nifti1Image:
        return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes))))

    return turn


def _as_type(dtype: type[np.generic]) -> _Change:
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


_FORMS: dict[str, _Change] = {
    "uint8": _as_type(np.uint8),
    "uint16": _as_type(np.uint16),
    "float64": _as_type(np.float64),
    "with a margin": _padded,
    "cut to the brain": _cropped,
    "oblique by 14, 9 and 21 degrees": _oblique,
}
