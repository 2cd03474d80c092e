"""``dataset_description.json``, and whether a folder is a dataset: read before anything heavy is imported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bids_cascade.errors import BidsCascadeError, InvalidDatasetError, MissingInputError
from bids_cascade.regular_file import MAX_JSON_BYTES, open_regular, read_text

_MOST_FILES_LOOKED_AT = 200
"""Number of files to check for DICOM: scanners and archives fill folders with nothing else."""
_DICOM_PREFIX_BYTES = 128


def read_description(root: Path) -> dict[str, Any]:
    """Return the content of ``dataset_description.json``.

    Raises
    ------
    InvalidDatasetError
        `root` is no folder, or its description is missing or unreadable.
    """
    if not root.is_dir():
        raise InvalidDatasetError(f"no such folder: {root}; give the root folder of a BIDS dataset")
    path = root / "dataset_description.json"
    if not path.exists():
        raise InvalidDatasetError(
            f"{root} is not a BIDS dataset: it has no dataset_description.json{dicom_hint(root)}; give the root folder "
            'of the dataset, or write one there with at least {"Name": "...", "BIDSVersion": "1.10.0"}'
        )
    try:
        description = json.loads(read_text(path, MAX_JSON_BYTES))
    except BidsCascadeError as error:
        raise InvalidDatasetError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidDatasetError(f"{path} can't be read as JSON: {error}; correct the file") from error
    if not isinstance(description, dict):
        raise InvalidDatasetError(f"{path} holds a {type(description).__name__} instead of a JSON object")
    return description


def read_raw_description(root: Path) -> dict[str, Any]:
    """Return the content of ``dataset_description.json`` of a raw dataset.

    Raises
    ------
    InvalidDatasetError
        As :func:`read_description`, or it is a derivative dataset.
    """
    description = read_description(root)
    if description.get("DatasetType", "raw") == "derivative":
        raise InvalidDatasetError(f"{root} is a derivative dataset; give the raw dataset it was made from")
    return description


def find_derivative(derivative: str, bids_dir: Path) -> Path:
    """Return the resolved folder of a derivative dataset, given by its name under ``derivatives`` or by its path.

    Raises
    ------
    MissingInputError
        There is no such folder.
    InvalidDatasetError
        Its ``dataset_description.json`` is unreadable.
    """
    is_name = Path(derivative).parts == (derivative,) and derivative != ".."
    folders = ([bids_dir / "derivatives" / derivative] if is_name else []) + [Path(derivative)]
    for folder in folders:
        if folder.is_dir():
            if (folder / "dataset_description.json").exists():
                read_description(folder)
            return folder.resolve()
    raise MissingInputError(
        f"no derivative dataset `{derivative}`: no such folder: {' or '.join(map(str, folders))}; give its path, "
        f"or its name in {bids_dir / 'derivatives'}"
    )


def dicom_hint(folder: Path) -> str:
    """Return a hint for a folder that holds DICOM files instead of NIfTI images; otherwise nothing."""
    for path in islice(_files_below(folder), _MOST_FILES_LOOKED_AT):
        if _is_dicom(path):
            return f", but holds DICOM files ({path.relative_to(folder)}): convert them first, e.g. with dcm2niix"
    return ""


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(parent, name) for name in sorted(files))


def _is_dicom(path: Path) -> bool:
    """Return whether a file starts as DICOM files do; many of them have names without an extension."""
    try:
        with open_regular(path) as file:
            return file.read(_DICOM_PREFIX_BYTES + 4)[_DICOM_PREFIX_BYTES:] == b"DICM"
    except BidsCascadeError:
        return False
