"""MSSEG 2016: 53 patients of three French centres, seven raters and their consensus (Commowick et al. 2021)."""

from __future__ import annotations

from pathlib import Path

from bids_cascade.importing.source import (
    PublicDataset,
    SourceMask,
    SourceVisit,
    beside,
    find_images,
    gather,
    label_of,
)

_RAW = {
    "T1w": ("T1", "3DT1"),
    "FLAIR": ("FLAIR", "3DFLAIR"),
    "T2w": ("T2",),
    "PDw": ("DP",),
    "ce-gadolinium_T1w": ("GADO", "3DT1GADO"),
}
_PREPROCESSED = {name: tuple(f"{stem}_preprocessed" for stem in stems) for name, stems in _RAW.items()}
_N_RATERS = 7


def find(root: Path) -> list[SourceVisit]:
    """Return the patients of the release in centres, or of that of 2016; raw images rather than preprocessed ones."""
    folders = dict.fromkeys(_patient_of(path) for path in find_images(root) if _is_flair(path))
    return [_visit(folder, root) for folder in folders]


def _is_flair(path: Path) -> bool:
    stem = path.name.partition(".")[0]
    in_release = path.parent.name in ("Raw_Data", "Preprocessed_Data") and stem in ("FLAIR", "FLAIR_preprocessed")
    return in_release or stem == "3DFLAIR"


def _patient_of(flair: Path) -> Path:
    return flair.parent.parent if flair.parent.name in ("Raw_Data", "Preprocessed_Data") else flair.parent


def _visit(folder: Path, root: Path) -> SourceVisit:
    if (folder / "Raw_Data").is_dir():
        images = gather(folder / "Raw_Data", _RAW)
    elif (folder / "Preprocessed_Data").is_dir():
        images = gather(folder / "Preprocessed_Data", _PREPROCESSED)
    else:
        images = gather(folder, _RAW)
    drawn = folder / "Masks" if (folder / "Masks").is_dir() else folder
    names = {"manual": "Consensus"} | {f"rater{n}": f"ManualSegmentation_{n}" for n in range(1, _N_RATERS + 1)}
    masks = {name: SourceMask(path) for name, stem in names.items() if (path := beside(drawn, stem)) is not None}
    parts = folder.relative_to(root).parts or (folder.name,)
    centre = next((part for part in folder.parts[::-1] if part.lower().startswith("center")), "")
    split = next((part.lower() for part in parts if part.lower() in ("training", "testing")), "")
    columns = {"centre": centre, "split": split}
    # Both parts of the challenge may count a centre's patients from 1.
    label = label_of(split.capitalize(), centre, folder.name)
    return SourceVisit(label, None, images, masks, {name: value for name, value in columns.items() if value})


MSSEG2016 = PublicDataset(
    name="MSSEG 2016",
    layout="Training/Center_01/Patient_01/Raw_Data/FLAIR.nii.gz (or Preprocessed_Data/FLAIR_preprocessed.nii.gz), with "
    "T1, T2, DP and GADO beside it and Masks/Consensus.nii.gz, or 01016SACH/3DFLAIR.nii.gz of the first release",
    find=find,
    reference="the consensus of seven raters (LOP STAPLE)",
    reference_desc="consensus",
    description={
        "License": "Data use agreement of Shanoir / OFSEP: see the publisher's terms; not for redistribution",
        "Authors": ["Olivier Commowick", "Michaël Kain", "Romain Casey", "and others"],
        "HowToAcknowledge": "Cite Commowick O. et al., Multiple sclerosis lesions segmentation from multiple experts: "
        "The MICCAI 2016 challenge dataset, NeuroImage 244:118589, 2021",
        "ReferencesAndLinks": ["https://doi.org/10.1016/j.neuroimage.2021.118589"],
    },
    columns={"centre": "Where the scans are from", "split": "Part of the challenge: training or testing"},
)
