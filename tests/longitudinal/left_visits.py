"""Finished visits of a small head, as the participant level leaves them, and their comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from bids_cascade.config import Inputs
from bids_cascade.derivatives.flags import read_quality_flags
from bids_cascade.longitudinal.participants import compare_participants
from bids_cascade.visit_key import VisitKey

OLD, NEW, LATEST = (-10.0, 0.0, 6.0), (11.0, -2.0, -4.0), (0.0, -14.0, 5.0)


def visit(session: str) -> VisitKey:
    return VisitKey("01", session)


def leave_visit(out: Path, name: str, finished: Any, threshold: float = 0.5, space: str = "T1w") -> None:
    anat = out.joinpath(*name.split("_"), "anat")
    anat.mkdir(parents=True, exist_ok=True)
    mask = finished.mask
    scans = {"desc-preproc_FLAIR": finished.scans["FLAIR"]}
    if space == "T1w":
        scans = {"desc-preproc_T1w": finished.scans["T1w"], "space-T1w_desc-preproc_FLAIR": finished.scans["FLAIR"]}
    for file, image in {
        **scans,
        "desc-brain_mask": finished.brain,
        f"space-{space}_label-L_probseg": finished.probability,
        f"space-{space}_label-L_mask": mask,
        f"space-{space}_seg-lesions_dseg": nib.Nifti1Image(np.asarray(mask.dataobj).astype(np.int32), mask.affine),
    }.items():
        image.to_filename(anat / f"{name}_{file}.nii.gz")
    volume_mm3 = float(np.asarray(mask.dataobj).sum())
    model = {"ModelName": "tiny", "ModelSHA256": "ab" * 32, "Threshold": threshold, "MinLesionVolume": 3.0}
    model["SequencesUsed"] = ["T1w", "FLAIR"] if space == "T1w" else ["FLAIR"]
    sidecar = json.dumps({**model, "GeneratedByVersion": "1.0.0"})
    columns = "index\tname\tvolume_mm3\tcentre_x_mm\tcentre_y_mm\tcentre_z_mm\tmean_probability"
    table = anat / f"{name}_space-{space}_seg-lesions_dseg.tsv"
    table.write_text(f"{columns}\n" + f"1\tlesion1\t{volume_mm3}\t0\t0\t0\t0.9\n" * bool(volume_mm3))
    table.with_suffix(".json").write_text(sidecar)
    header = "n_lesions\tlesion_volume_t1w_ml\tlesion_volume_flair_ml\tbrain_volume_ml"
    (anat / f"{name}_desc-lesions_stats.json").write_text(sidecar)
    volumes_ml = (volume_mm3 / 1000, "n/a") if space == "T1w" else ("n/a", volume_mm3 / 1000)
    (anat / f"{name}_desc-lesions_stats.tsv").write_text(
        f"{header}\n{int(volume_mm3 > 0)}\t{volumes_ml[0]}\t{volumes_ml[1]}\t40\n"
    )
    (anat / f"{name}_desc-quality_stats.tsv").write_text("snr\tquality_flags\n9.5\tn/a\n")
    (anat / f"{name}_desc-quality_stats.json").write_text("{}")


def compare(root: Path) -> list[Any]:
    return compare_participants(Inputs(root / "raw", root / "out"), ["01"], 1, 0)


def quality_flags(out: Path, session: str) -> dict[str, str]:
    return read_quality_flags(out / f"sub-01/ses-{session}/anat/sub-01_ses-{session}_desc-quality_stats.tsv") or {}


def state(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in out.rglob("*change*") if path.is_file()}
