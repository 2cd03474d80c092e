"""A dataset of synthetic visits: raw BIDS, with the known lesions as a derivative dataset inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_cascade import __version__
from bids_cascade.dataset.description import read_description
from bids_cascade.derivatives.files import write_json, write_tsv
from bids_cascade.derivatives.names import derivative_path
from bids_cascade.derivatives.root import BIDS_VERSION
from bids_cascade.errors import InvalidDatasetError, OutputError
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


def truth_sidecar(participant: str, sequence: str, of: str) -> dict[str, Any]:
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
