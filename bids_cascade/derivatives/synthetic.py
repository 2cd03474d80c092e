"""A dataset of synthetic visits: raw BIDS, with the known lesions as a derivative dataset inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bids_cascade import __version__
from bids_cascade.dataset.description import read_description
from bids_cascade.dataset.tables import read_object
from bids_cascade.derivatives.files import write_json, write_tsv
from bids_cascade.derivatives.names import derivative_path, sidecar_path
from bids_cascade.derivatives.root import BIDS_VERSION
from bids_cascade.errors import BidsCascadeError, InvalidDatasetError, OutputError
from bids_cascade.imaging.images import save_image
from bids_cascade.lesions.components import label_lesions
from bids_cascade.synthesis.head import SEQUENCES, SyntheticVisit
from bids_cascade.visit_key import VisitKey
from bids_cascade.whole_file import write_whole_file

TRUTH = "truth"
"""Name of the derivative dataset that holds the true masks."""

_GENERATOR = "bids_cascade synthesize"

_COLUMNS: dict[str, Any] = {
    "participant_id": {"Description": "Synthetic participant"},
    "seed": {"Description": "Random seeds of the run and of the head"},
    "label_map": {"Description": "Label map whose anatomy the head has"},
    "lesion_masks": {"Description": "Lesion masks whose lesions the head has; the first gave most of them"},
    "n_lesions": {"Description": "26-connected lesions on the grid of the FLAIR"},
    "lesion_volume_ml": {"Description": "Their volume", "Units": "ml"},
}

_README = """Simulated images of invented people, made by bids_cascade {version} (analysis level synthesize).

Anatomy is drawn from label maps, lesions from real lesion masks; signals, artefacts and noise are computed. The true
lesion and brain masks are in derivatives/truth. No person was scanned for this dataset; the label maps and lesion
masks it was made from have licences of their own.
"""

_TRUTH_README = """The true lesion masks (label-L_mask) and brain masks (desc-brain_mask) of the heads in ../..

They are known exactly, since the heads were computed from them: see the README there.
"""


def scan_path(out_dir: Path, participant: str, sequence: str) -> Path:
    """Return the path of a scan of the synthetic dataset."""
    return out_dir / f"sub-{participant}" / "anat" / f"sub-{participant}_{sequence}.nii.gz"


def truth_path(out_dir: Path, participant: str, sequence: str, of: str) -> Path:
    """Return the path of a true mask on the grid of a scan; `of` is ``lesion`` or ``brain``, the latter of the T1w."""
    visit = VisitKey(participant, None)
    root = out_dir / "derivatives" / TRUTH
    if of == "brain":
        return derivative_path(root, visit, "mask", ".nii.gz", desc="brain")
    return derivative_path(root, visit, "mask", ".nii.gz", space=sequence, label="L")


def prepare_synthetic(out_dir: Path, sources: Sequence[str]) -> None:
    """Make the roots of the raw and of the truth dataset.

    Parameters
    ----------
    out_dir : Path
        Root of the raw dataset; may exist if this level has made it.
    sources : sequence of str
        Folders and files it is made from.

    Raises
    ------
    OutputError
        `out_dir` can't be written to, or holds something else.
    """
    _refuse_foreign(out_dir)
    generator = [{"Name": _GENERATOR, "Version": __version__}]
    raw = {
        "Name": "Synthetic heads with known lesions",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "that of the label maps and lesion masks it was made from",
        "Authors": [_GENERATOR],
        "GeneratedBy": generator,
        "SourceDatasets": [{"URL": source} for source in sources],
    }
    truth = {
        "Name": "True lesions and brains of the synthetic heads",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": generator,
        "DatasetLinks": {"raw": "../.."},
    }
    write_json(raw, out_dir / "dataset_description.json")
    write_json(truth, out_dir / "derivatives" / TRUTH / "dataset_description.json")
    write_whole_file(_README.format(version=__version__).encode(), out_dir / "README")
    write_whole_file(_TRUTH_README.encode(), out_dir / "derivatives" / TRUTH / "README")


def write_participants(out_dir: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``participants.tsv`` and its sidecar: a row for each head."""
    write_tsv(rows, list(_COLUMNS), out_dir / "participants.tsv", _COLUMNS)


def discard_head(out_dir: Path, participant: str) -> None:
    """Delete the sidecars of a head's scans, which mark it as complete."""
    for sequence in SEQUENCES:
        sidecar_path(scan_path(out_dir, participant, sequence)).unlink(missing_ok=True)


def write_head(
    visit: SyntheticVisit, seed: Sequence[int], fingerprint: str, out_dir: Path, participant: str
) -> dict[str, Any]:
    """Write a head's scans and its true masks; return its row of participants.tsv.

    Parameters
    ----------
    visit : SyntheticVisit
    seed : sequence of int
        Of the run and of the head.
    fingerprint : str
        Hash of everything the head was made from.
    out_dir : Path
        Root of the raw dataset.
    participant : str
    """
    row = {
        "seed": " ".join(map(str, seed)),
        "label_map": visit.about["label_map"],
        "lesion_masks": ", ".join(visit.about["lesion_masks"]) or None,
        **_load(visit),
    }
    for sequence, scan in visit.scans.items():
        lesion = truth_path(out_dir, participant, sequence, "lesion")
        save_image(scan.lesion, scan.affine, lesion, np.uint8)
        write_json(_truth_sidecar(participant, sequence, "lesion"), sidecar_path(lesion))
        save_image(scan.signal * scan.white_level, scan.affine, scan_path(out_dir, participant, sequence), np.int16)
    brain = truth_path(out_dir, participant, "T1w", "brain")
    save_image(visit.scans["T1w"].brain, visit.scans["T1w"].affine, brain, np.uint8)
    write_json(_truth_sidecar(participant, "T1w", "brain"), sidecar_path(brain))
    # The sidecars come last: a head with both of them is complete.
    for sequence, scan in visit.scans.items():
        origin = {"Fingerprint": fingerprint, "Protocol": asdict(scan.protocol), "Participant": row}
        write_json({"Synthesis": origin}, sidecar_path(scan_path(out_dir, participant, sequence)))
    return row


def read_origin(out_dir: Path, participant: str) -> dict[str, Any] | None:
    """Return how a head was made, from the sidecars of its scans; None where these are incomplete or differ."""
    paths = [sidecar_path(scan_path(out_dir, participant, sequence)) for sequence in SEQUENCES]
    try:
        t1w, flair = (read_object(path)["Synthesis"] for path in paths)
        whole = t1w["Fingerprint"] == flair["Fingerprint"] and t1w["Participant"]
    except (BidsCascadeError, LookupError, TypeError):
        return None
    return dict(t1w) if whole else None


def rows_of_others(out_dir: Path, participants: Set[str]) -> list[dict[str, Any]]:
    """Return the rows of the heads that other runs have made, beside those of `participants`."""
    names = sorted(path.name.removeprefix("sub-") for path in out_dir.glob("sub-synth*"))
    origins = {name: read_origin(out_dir, name) for name in names if name not in participants}
    return [{"participant_id": f"sub-{name}", **origin["Participant"]} for name, origin in origins.items() if origin]


def _load(visit: SyntheticVisit) -> dict[str, Any]:
    """Return number and volume of the lesions on the grid of the FLAIR."""
    scan = visit.scans["FLAIR"]
    voxel_ml = abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000
    return {
        "n_lesions": label_lesions(scan.lesion)[1],
        "lesion_volume_ml": round(float(scan.lesion.sum()) * voxel_ml, 3),
    }


def _truth_sidecar(participant: str, sequence: str, of: str) -> dict[str, Any]:
    """Return the sidecar of a true mask."""
    raw = f"bids:raw:sub-{participant}/anat/sub-{participant}_{sequence}.nii.gz"
    if of == "brain":
        return {"Type": "Brain", "Sources": [raw]}
    return {"Type": "Lesion", "SpatialReference": raw, "Sources": [raw]}


def _refuse_foreign(out_dir: Path) -> None:
    """Raise OutputError if the folder is in use for anything else."""
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputError(f"the output folder {out_dir} is a file; choose another")
    if not out_dir.exists() or not any(out_dir.iterdir()):
        return
    try:
        made_by = read_description(out_dir).get("GeneratedBy")
    except InvalidDatasetError:
        made_by = None
    names = [tool.get("Name") for tool in made_by if isinstance(tool, dict)] if isinstance(made_by, list) else []
    if _GENERATOR not in names:
        raise OutputError(f"the output folder {out_dir} is not empty and not a synthetic dataset; choose another")
