"""3D MR image database of MS patients: 30 patients of Ljubljana, consensus of three raters (Lesjak et al. 2018)."""

from __future__ import annotations

import re
from pathlib import Path

from bids_cascade.importing.source import PublicDataset, SourceMask, SourceVisit, beside, find_images, gather

_PATIENT = re.compile(r"patient(\d+)", re.IGNORECASE)
_STEMS = {"T1w": "T1W", "FLAIR": "FLAIR", "T2w": "T2W", "ce-gadolinium_T1w": "T1WKS"}
_KINDS = ("raw", "coregistered", "preprocessed", "coregistered_resampled")
"""Possible folders, in order of preference; they lie above the patient's folder or in it."""
_MASK = "consensus_gt"


def find(root: Path) -> list[SourceVisit]:
    """Return the patients, each from the preferred folder, one with a mask if there is any."""
    by_patient: dict[str, dict[Path, int]] = {}
    for path in find_images(root):
        if re.fullmatch(r"(?:patient\d+_)?FLAIR\.nii(?:\.gz)?", path.name, re.IGNORECASE):
            below = path.parent.relative_to(root).parts or (path.parent.name,)
            patient = next((match.group(1) for part in below[::-1] if (match := _PATIENT.fullmatch(part))), None)
            if patient is not None:
                rank = next((_KINDS.index(part.lower()) for part in below if part.lower() in _KINDS), len(_KINDS))
                by_patient.setdefault(patient, {})[path.parent] = rank
    return [
        _visit(
            patient, min(folders, key=lambda folder: (beside(folder, *_names(patient, _MASK)) is None, folders[folder]))
        )
        for patient, folders in by_patient.items()
    ]


def _visit(patient: str, folder: Path) -> SourceVisit:
    images = gather(folder, {name: _names(patient, stem) for name, stem in _STEMS.items()})
    mask = beside(folder, *_names(patient, _MASK))
    return SourceVisit(f"patient{patient}", None, images, {} if mask is None else {"manual": SourceMask(mask)})


def _names(patient: str, stem: str) -> tuple[str, str]:
    """Return the possible names of a file, in the publisher's archive and in copies."""
    return f"patient{patient}_{stem}", stem


LJUBLJANA = PublicDataset(
    name="3D MR image database of MS patients (Ljubljana)",
    layout="patient01/raw/patient01_FLAIR.nii.gz or raw/patient01/FLAIR.nii.gz, with T1W, T2W, T1WKS and consensus_gt "
    "beside it (or the same in coregistered or preprocessed)",
    find=find,
    reference="the consensus of three raters",
    reference_desc="consensus",
    description={
        "License": "CC BY",
        "Authors": ["Žiga Lesjak", "Alfiia Galimzianova", "Aleš Koren", "and others"],
        "HowToAcknowledge": "Cite Lesjak Ž. et al., A Novel Public MR Image Dataset of Multiple Sclerosis Patients "
        "With Lesion Segmentations Based on Multi-rater Consensus, Neuroinformatics 16:51-63, 2018",
        "ReferencesAndLinks": ["https://doi.org/10.1007/s12021-017-9348-7"],
    },
)
