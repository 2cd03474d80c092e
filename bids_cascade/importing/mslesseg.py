"""MSLesSeg: 75 patients of Catania at one to four dates, 1 mm, MNI space, skull-stripped (Guarnera et al. 2025)."""

from __future__ import annotations

import re
from pathlib import Path

from bids_cascade.importing.source import PublicDataset, SourceMask, SourceVisit, beside, find_images, gather

_NAME = re.compile(r"(P\d+)(?:_T(\d+))?_FLAIR\.nii(?:\.gz)?", re.IGNORECASE)
_STEMS = {"T1w": "T1", "FLAIR": "FLAIR", "T2w": "T2"}


def find(root: Path) -> list[SourceVisit]:
    """Return the visits of ``train/P1/T1/P1_T1_FLAIR.nii.gz`` and, without a date, ``test/P54/P54_FLAIR.nii.gz``."""
    visits = []
    for path in find_images(root):
        named = _NAME.fullmatch(path.name)
        if not named:
            continue
        stem, date = re.split("_FLAIR", path.name, flags=re.IGNORECASE)[0], named.group(2)
        images = gather(path.parent, {name: (f"{stem}_{own}",) for name, own in _STEMS.items()})
        mask = beside(path.parent, f"{stem}_MASK")
        part = next((part for part in path.parts[::-1] if part.lower() in ("train", "test")), "").lower()
        visits.append(
            SourceVisit(
                named.group(1).upper(),
                date or "1",
                images,
                {} if mask is None else {"manual": SourceMask(mask)},
                {"split": part} if part else {},
            )
        )
    return visits


MSLESSEG = PublicDataset(
    name="MSLesSeg",
    layout="train/P1/T1/P1_T1_FLAIR.nii.gz, with _T1, _T2 and _MASK beside it, and test/P54/P54_FLAIR.nii.gz",
    find=find,
    reference="a mask drawn by hand and validated by experts",
    reference_desc="",
    description={
        "License": "CC BY 4.0",
        "Authors": ["Francesco Guarnera", "Alessia Rondinella", "Elena Crispino", "and others"],
        "HowToAcknowledge": "Cite Guarnera F. et al., MSLesSeg: baseline and benchmarking of a new Multiple Sclerosis "
        "Lesion Segmentation dataset, Scientific Data 12:920, 2025",
        "ReferencesAndLinks": ["https://doi.org/10.6084/m9.figshare.27919209"],
    },
    columns={"split": "Part of the challenge: train or test"},
)
