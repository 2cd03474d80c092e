"""WMH Segmentation Challenge 2017: hyperintensities, not of MS, on five scanners (Kuijf et al. 2019)."""

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

_STEMS = {"T1w": ("3DT1", "T1"), "FLAIR": ("FLAIR",)}
_KINDS = ("orig", "pre")
"""The original images, or the bias-corrected ones."""

_MORE, _SPLITS = "additional_annotations", ("training", "test")
_HYPERINTENSITY = 1
"""Value of the masks; 2 is other pathology."""


def find(root: Path) -> list[SourceVisit]:
    """Return the cases: ``training/Utrecht/0`` with ``orig``, ``pre`` and ``wmh.nii.gz``, in a split or without."""
    cases = dict.fromkeys(
        path.parent.parent
        for path in find_images(root)
        if path.parent.name.lower() in _KINDS and path.name.partition(".")[0].lower() == "flair"
    )
    return [_visit(case, root) for case in cases]


def _visit(case: Path, root: Path) -> SourceVisit:
    kinds = {path.name.lower(): path for path in sorted(case.iterdir())}
    images = next(kinds[kind] for kind in _KINDS if kind in kinds and beside(kinds[kind], "FLAIR") is not None)
    below = case.relative_to(root).parts or (case.name,)
    while below[:-1] and below[0].lower() not in _SPLITS and any(part.lower() in _SPLITS for part in below):
        below = below[1:]  # what lies between the folder and its splits
    split = below[0].lower() if below[0].lower() in _SPLITS else ""
    place = below[1:] if split else below
    drawn = {"manual": (case, "wmh")}
    top = case.parents[len(below) - 1]
    for number in (3, 4):
        drawn[f"rater{number}"] = (top / _MORE / f"observer_o{number}" / Path(*below), "result")
    masks = {
        name: SourceMask(path, _HYPERINTENSITY)
        for name, (folder, stem) in drawn.items()
        if (path := beside(folder, stem)) is not None
    }
    columns = {"site": " ".join(place[:-1]), "split": split}
    return SourceVisit(
        label_of(*place),
        None,
        gather(images, _STEMS),
        masks,
        {name: value for name, value in columns.items() if value},
    )


WMH2017 = PublicDataset(
    name="WMH Segmentation Challenge 2017",
    layout="training/Utrecht/0/orig/FLAIR.nii.gz (or pre), with 3DT1 or T1 beside it and wmh.nii.gz above them",
    find=find,
    reference="the first observer's mask, corrected after a second one's review; other pathology (label 2) is left out",
    reference_desc="consensus",
    description={
        "License": "CC BY-NC 4.0; see the terms at DataverseNL",
        "Authors": ["Hugo J. Kuijf", "Matthijs Biesbroek", "Jeroen de Bresser", "and others"],
        "HowToAcknowledge": "Cite Kuijf H. J. et al., Standardized Assessment of Automatic Segmentation of White "
        "Matter Hyperintensities; Results of the WMH Segmentation Challenge, IEEE Transactions on Medical Imaging "
        "38:2556-2568, 2019",
        "ReferencesAndLinks": ["https://doi.org/10.34894/AECRSD"],
    },
    columns={"site": "Where the scans are from, and the scanner", "split": "Part of the challenge: training or test"},
)
