"""Writes a BIDS dataset with its masks as derivatives, atomically."""

from __future__ import annotations

import logging
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade import __version__
from bids_cascade.derivatives.files import write_json, write_tsv
from bids_cascade.derivatives.names import bids_uri
from bids_cascade.derivatives.root import BIDS_VERSION
from bids_cascade.errors import BadDataError, MissingInputError, OutputError, cannot_create
from bids_cascade.imaging.images import SAME_GRID_TOLERANCE_MM
from bids_cascade.importing.source import PublicDataset, SourceMask, SourceVisit
from bids_cascade.nifti_file import open_nifti, read_header
from bids_cascade.whole_file import HELD, clear_leftovers, hold_folder, write_whole_file

_LOGGER = logging.getLogger(__name__)

_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar")

MANUAL = "manual"
"""The derivative dataset with the masks to train on and to evaluate against."""

_GENERATOR = {"Name": "bids-cascade-import", "Version": __version__}


def import_dataset(public: PublicDataset, source: Path, bids_dir: Path, *, link: bool = False) -> list[SourceVisit]:
    """Write a publisher's folder as a BIDS dataset; return the visits in it.

    Parameters
    ----------
    public : PublicDataset
        What the folder is.
    source, bids_dir : Path
        The folder, which is not changed, and the new dataset.
    link : bool
        Link to the publisher's images instead of copying them.

    Raises
    ------
    MissingInputError
        The folder is missing, has another layout, or lacks images.
    BadDataError
        An image can't be read, is no NIfTI file, or a mask is on another grid than the FLAIR image.
    OutputError, ReadWriteError
        `bids_dir` exists already, lies in the source, or can't be written.
    """
    source, bids_dir = source.absolute(), bids_dir.absolute()
    if not source.is_dir():
        raise MissingInputError(f"no such folder: {source}; give the folder that {public.name} was unpacked into")
    if bids_dir.exists() and not (bids_dir.is_dir() and not any(bids_dir.iterdir())):
        raise OutputError(f"{bids_dir} exists already; choose a new folder")
    if bids_dir.resolve().is_relative_to(source.resolve()):
        raise OutputError(f"{bids_dir} lies in the source {source}; choose a folder outside it")
    visits = public.find(source)
    _check(public, visits, source)
    _warn_of_places(visits)
    clear_leftovers(bids_dir.parent, re.compile(rf"\.{re.escape(bids_dir.name)}\.[0-9a-f]{{32}}"))
    staging = bids_dir.with_name(f".{bids_dir.name}.{uuid.uuid4().hex}")
    try:
        with hold_folder(staging):
            _write_all(public, visits, staging, link=link)
            os.replace(staging, bids_dir)
            (bids_dir / HELD).unlink()
    except OSError as error:
        raise cannot_create(bids_dir, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return visits


def _check(public: PublicDataset, visits: Sequence[SourceVisit], source: Path) -> None:
    """Refuse a source without visits, with two of one name, or with masks on other grids than their FLAIR image."""
    if not visits:
        listing = ", ".join(sorted(path.name for path in source.iterdir())[:5]) or "nothing"
        packed = any(path.name.lower().endswith(_ARCHIVES) for path in source.rglob("*"))
        advice = "; unpack the archives in it first" if packed else ""
        raise MissingInputError(
            f"{source} does not hold {public.name}: expected {public.layout}; found {listing}{advice}"
        )
    seen: dict[str, SourceVisit] = {}
    for visit in visits:
        if visit.name in seen:
            both = " and ".join(str(same_visit.images["FLAIR"].parent) for same_visit in (seen[visit.name], visit))
            raise BadDataError(f"{both} are both {visit.name} of {public.name}; move one of them out of {source}")
        seen[visit.name] = visit
        shapes = {path: read_header(path).shape for path in visit.images.values()}
        flair = visit.images["FLAIR"]
        for mask in visit.masks.values():
            if read_header(mask.path).shape != shapes[flair]:
                raise BadDataError(
                    f"{mask.path} has {read_header(mask.path).shape} voxels; expected {shapes[flair]}, as {flair}: "
                    "fetch the data set again"
                )


def _warn_of_places(visits: Sequence[SourceVisit]) -> None:
    """Warn of masks whose headers place them beside their FLAIR image: they can't be paired with it."""
    apart_mm = {}
    for visit in visits:
        box = _box_mm(visit.images["FLAIR"])
        for mask in visit.masks.values():
            apart_mm[mask.path] = float(np.abs(_box_mm(mask.path) - box).max())
    elsewhere = [path for path, apart in apart_mm.items() if apart > SAME_GRID_TOLERANCE_MM]
    if elsewhere:
        _LOGGER.warning(
            "the headers of %d of %d masks place them up to %.3g mm away from their FLAIR image, so neither evaluation "
            "nor training can use them; the first is %s",
            *(len(elsewhere), len(apart_mm), max(apart_mm.values()), elsewhere[0]),
        )


def _box_mm(path: Path) -> NDArray[np.float64]:
    """Return the corners of the box around an image's voxel centres, (2, 3), whatever their order."""
    image = read_header(path)
    corners = np.array(list(product(*((0, size - 1) for size in image.shape[:3]))))
    placed = nib.affines.apply_affine(image.affine, corners)
    return np.array([placed.min(axis=0), placed.max(axis=0)])


def _write_all(public: PublicDataset, visits: Sequence[SourceVisit], root: Path, *, link: bool) -> None:
    """Write the dataset into an empty folder."""
    for visit in visits:
        for name, image in visit.images.items():
            _take(image, _path(root, visit, name, image), link=link)
    raters = sorted({name for visit in visits for name in visit.masks})
    write_json(_raw_description(public), root / "dataset_description.json")
    write_whole_file(_readme(public, raters).encode(), root / "README.md")
    _write_participants(public, visits, root)
    for rater in raters:
        _write_masks(public, visits, root, rater, link=link)


def _write_participants(public: PublicDataset, visits: Sequence[SourceVisit], root: Path) -> None:
    rows: dict[str, dict[str, str]] = {}
    for visit in visits:
        rows.setdefault(visit.participant, {"participant_id": f"sub-{visit.participant}"}).update(visit.columns)
    columns = [name for name in public.columns if any(name in row for row in rows.values())]
    write_tsv(
        rows.values(),
        ["participant_id", *columns],
        root / "participants.tsv",
        {name: {"Description": public.columns[name]} for name in columns},
    )


def _write_masks(public: PublicDataset, visits: Sequence[SourceVisit], root: Path, rater: str, *, link: bool) -> None:
    """Write a derivative dataset with the masks of one rater, or with the reference."""
    folder = root / "derivatives" / rater
    drawn_by = public.reference if rater == MANUAL else f"{rater.replace('rater', 'rater ')} alone"
    desc = public.reference_desc if rater == MANUAL else rater
    write_json(
        {
            "Name": f"{public.name}: lesion masks, {drawn_by}",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "License": public.description["License"],
            "GeneratedBy": [{"Name": "manual segmentation"}, _GENERATOR],
            "DatasetLinks": {"raw": "../.."},
        },
        folder / "dataset_description.json",
    )
    write_whole_file(f"Lesion masks of {public.name}: {drawn_by}.\n".encode(), folder / "README.md")
    for visit in visits:
        if rater not in visit.masks:
            continue
        mask = visit.masks[rater]
        flair = _path(root, visit, "FLAIR", visit.images["FLAIR"])
        path = _path(folder, visit, f"space-orig_label-L{f'_desc-{desc}' if desc else ''}_mask", mask.path)
        path = _take_mask(mask, path, link=link)
        sidecar = {
            "Type": "Lesion",
            "Description": f"Lesion mask on the grid of the FLAIR image: {drawn_by}",
            "SpatialReference": "orig",
            "Sources": [bids_uri(flair, root)],
        }
        write_json(sidecar, path.with_name(path.name.partition(".")[0] + ".json"))


def _path(root: Path, visit: SourceVisit, name: str, image: Path) -> Path:
    extension = ".nii.gz" if image.name.endswith(".gz") else ".nii"
    return root.joinpath(*visit.name.split("_"), "anat", f"{visit.name}_{name}{extension}")


def _take(image: Path, path: Path, *, link: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if link:
        path.symlink_to(image.absolute())
    else:
        shutil.copyfile(image, path)


def _take_mask(mask: SourceMask, path: Path, *, link: bool) -> Path:
    """Copy a mask, or write the voxels with the value of lesion; return its path."""
    if mask.value is None:
        _take(mask.path, path, link=link)
        return path
    path = path.with_name(path.name.partition(".")[0] + ".nii.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_nifti(mask.path) as (image, _):
        lesion = np.asarray(image.dataobj) == mask.value
        header = image.header.copy()
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        nib.Nifti1Image(lesion.astype(np.uint8), image.affine, header).to_filename(path)
    return path


def _raw_description(public: PublicDataset) -> dict[str, Any]:
    return {
        "Name": public.name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        **public.description,
        "GeneratedBy": [_GENERATOR],
    }


def _readme(public: PublicDataset, raters: Sequence[str]) -> str:
    """Return the README: the dataset, its masks and raters, and what to cite."""
    lines = [f"# {public.name}", "", f"Made from the publisher's folder by bids-cascade-import {__version__}.", ""]
    if MANUAL in raters:
        lines += ["Lesion masks, all on the grid of the FLAIR image:", ""]
        lines += [f"- `derivatives/{MANUAL}`: {public.reference}"]
        lines += [f"- `derivatives/{rater}`: {rater} alone" for rater in raters if rater != MANUAL]
        lines += [""]
    return "\n".join(
        [*lines, f"Licence: {public.description['License']}", "", public.description["HowToAcknowledge"], ""]
    )
