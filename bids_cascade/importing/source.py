"""The content of a publisher's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_cascade.errors import MissingInputError

EXTENSIONS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class SourceMask:
    """A manual lesion mask.

    Attributes
    ----------
    path : Path
    value : int or None
        The value that is lesion; None for all but 0.
    """

    path: Path
    value: int | None = None


@dataclass(frozen=True)
class SourceVisit:
    """One patient's scans at one date.

    Attributes
    ----------
    participant, session : str, str or None
        Labels; None if nobody was scanned twice.
    images : mapping of str to Path
        By the end of the file's name in BIDS, such as ``FLAIR`` or ``ce-gadolinium_T1w``.
    masks : mapping of str to SourceMask
        By derivative dataset: ``manual``, which is the reference, and ``rater1`` and so on, one of each.
    columns : mapping of str to str
        Of ``participants.tsv``.
    """

    participant: str
    session: str | None
    images: Mapping[str, Path]
    masks: Mapping[str, SourceMask] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The beginning of its files' names."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")


@dataclass(frozen=True)
class PublicDataset:
    """A data set that can be imported.

    Attributes
    ----------
    name : str
        Full name.
    layout : str
        Description of the expected files.
    find : callable
        Returns the visits in a folder, none if it has another layout.
    reference : str
        Who drew the masks of ``derivatives/manual``.
    reference_desc : str
        Value of their ``desc`` entity, empty for none.
    description : mapping
        For ``dataset_description.json``: licence, authors, what to cite.
    columns : mapping of str to str
        Descriptions of the columns of ``participants.tsv``.
    """

    name: str
    layout: str
    find: Callable[[Path], list[SourceVisit]]
    reference: str
    reference_desc: str
    description: Mapping[str, Any]
    columns: Mapping[str, str] = field(default_factory=dict)


def find_images(root: Path) -> Iterator[Path]:
    """Yield all NIfTI files below a folder in the order of their names, except hidden ones.

    If a file exists compressed and uncompressed, the compressed one is yielded.
    """
    paths = sorted(path for path in root.rglob("*.nii*") if path.name.endswith(EXTENSIONS))
    known = set(paths)
    for path in paths:
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts)
        if not hidden and path.with_name(f"{path.name}.gz") not in known:
            yield path


def beside(folder: Path, *stems: str) -> Path | None:
    """Return the first existing image with one of these names in a folder, ignoring case."""
    files = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True)} if folder.is_dir() else {}
    for stem in stems:
        for extension in EXTENSIONS:
            if f"{stem}{extension}".lower() in files:
                return files[f"{stem}{extension}".lower()]
    return None


def gather(
    folder: Path, names: Mapping[str, tuple[str, ...]], needed: tuple[str, ...] = ("T1w", "FLAIR")
) -> dict[str, Path]:
    """Return the images in a folder by their BIDS name, given the stems that each may have there.

    Raises
    ------
    MissingInputError
        A required image is missing.
    """
    images = {name: path for name, stems in names.items() if (path := beside(folder, *stems)) is not None}
    for name in needed:
        if name not in images:
            raise MissingInputError(
                f"{folder}: its {name} image is not there: expected {' or '.join(names[name])} (.nii.gz or .nii); "
                "unpack or fetch the data set again"
            )
    return images


def label_of(*parts: str) -> str:
    """Return a BIDS label of the letters and digits in some names.

    >>> label_of("Amsterdam", "Philips_VU .PETMR_01.", "161")
    'AmsterdamPhilipsVUPETMR01161'
    """
    return "".join(character for part in parts for character in part if character.isascii() and character.isalnum())
