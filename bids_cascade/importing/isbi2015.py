"""ISBI 2015: longitudinal scans of Johns Hopkins, 1 mm, MNI space, two raters (Carass et al. 2017)."""

from __future__ import annotations

import re
from pathlib import Path

from bids_cascade.importing.source import PublicDataset, SourceMask, SourceVisit, beside, find_images, gather

_NAME = re.compile(r"((?:training|test)\d+)_(\d+)_flair_pp\.nii(?:\.gz)?", re.IGNORECASE)
_STEMS = {"T1w": "mprage", "FLAIR": "flair", "T2w": "t2", "PDw": "pd"}


def find(root: Path) -> list[SourceVisit]:
    """Return the visits in ``training01/preprocessed``; the masks, in ``training01/masks``, are on their grid alone."""
    visits = []
    for path in find_images(root):
        named = _NAME.fullmatch(path.name)
        if not named:
            continue
        participant, date = named.group(1).lower(), named.group(2)
        stem = f"{participant}_{date}"
        images = gather(path.parent, {name: (f"{stem}_{own}_pp",) for name, own in _STEMS.items()})
        drawn = (path.parent.parent / "masks", path.parent)
        masks = {}
        for rater in (1, 2):
            mask = next(
                (drawing for folder in drawn if (drawing := beside(folder, f"{stem}_mask{rater}")) is not None), None
            )
            if mask is not None:
                masks[f"rater{rater}"] = SourceMask(mask)
        if "rater1" in masks:
            masks = {"manual": masks["rater1"], **masks}
        split = "training" if participant.startswith("training") else "test"
        visits.append(SourceVisit(participant, str(int(date)), images, masks, {"split": split}))
    return visits


ISBI2015 = PublicDataset(
    name="ISBI 2015",
    layout="training01/preprocessed/training01_01_flair_pp.nii, with _mprage_pp, _t2_pp and _pd_pp beside it and "
    "training01/masks/training01_01_mask1.nii and _mask2.nii",
    find=find,
    reference="the first of two raters: no consensus has been published",
    reference_desc="rater1",
    description={
        "License": "See the terms of the challenge's site, which asks for registration",
        "Authors": ["Aaron Carass", "Snehashis Roy", "Amod Jog", "and others"],
        "HowToAcknowledge": "Cite Carass A. et al., Longitudinal multiple sclerosis lesion segmentation: Resource and "
        "challenge, NeuroImage 148:77-102, 2017",
        "ReferencesAndLinks": ["https://doi.org/10.1016/j.neuroimage.2016.12.064"],
    },
    columns={"split": "Part of the challenge: training or test"},
)
