"""Lesion masks in a derivative dataset: the manual ones, or the predicted ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from bids.layout import BIDSFile

from bids_cascade.dataset.description import find_derivative
from bids_cascade.dataset.layout import index_anat
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import MissingInputError
from bids_cascade.visit_key import VisitKey

LESION_LABELS = ("L", "lesion")
"""Values of the ``label`` entity that mean lesion; the first is BIDS' own."""

_SPACES = ("orig", None, "T1w", "FLAIR")


def find_labels(labels: str, bids_dir: Path, visits: Iterable[Visit]) -> dict[str, Path]:
    """Find the lesion mask of each visit: the first of its :func:`find_lesion_masks`."""
    return {name: masks[0] for name, masks in find_lesion_masks(labels, bids_dir, visits).items()}


def find_lesion_masks(derivative: str, bids_dir: Path, visits: Iterable[Visit]) -> dict[str, list[Path]]:
    """Find all lesion masks of each visit, in whatever space.

    Parameters
    ----------
    derivative : str
        Name of a dataset in ``bids_dir/derivatives``, or else the path of a derivative dataset.
    bids_dir : Path
        Root of the raw dataset.
    visits : iterable of Visit
        Visits whose masks to find.

    Returns
    -------
    dict of str to list of Path
        By :attr:`Visit.name`, in the order of `visits`; those without a mask are left out. A visit's masks are in
        order of preference: ``space-orig``, without a ``space``, ``space-T1w``, ``space-FLAIR``, others by name.

    Raises
    ------
    MissingInputError
        No such dataset, or no mask of any of the visits in it.
    InvalidDatasetError
        Its ``dataset_description.json`` is unreadable.
    """
    root = find_derivative(derivative, bids_dir)
    asked_for = list(visits)
    participants = tuple(dict.fromkeys(visit.participant for visit in asked_for))
    layout = index_anat(root, participants, is_derivative=True)
    files = layout.get(suffix="mask", label=list(LESION_LABELS), extension=[".nii", ".nii.gz"])
    masks = {}
    for visit in asked_for:
        own = [file for file in files if _belongs_to(file, visit)]
        if own:
            masks[visit.name] = [Path(file.path) for file in sorted(own, key=_preference)]
    if not masks:
        raise MissingInputError(
            f"no lesion mask (label-L or label-lesion, suffix mask, in sub-*/[ses-*/]anat) in {root} "
            f"for any of the {len(asked_for)} visits; give the derivative dataset that has them"
        )
    return masks


def space_of(mask: Path) -> str | None:
    """Return the ``space`` entity of a file's name.

    >>> space_of(Path("sub-01_space-FLAIR_label-L_mask.nii.gz"))
    'FLAIR'
    """
    match = re.search(r"_space-([0-9a-zA-Z+]+)_", mask.name)
    return match.group(1) if match else None


def _belongs_to(file: BIDSFile, visit: Visit) -> bool:
    """Return whether a BIDSFile is of this visit by its folder and by its name."""
    key = VisitKey(file.entities["subject"], file.entities.get("session"))
    return key == visit.key and file.filename.startswith(f"{visit.name}_")


def _preference(file: BIDSFile) -> tuple[int, str]:
    """Return a key that sorts a visit's masks, best first."""
    space = file.entities.get("space")
    return (_SPACES.index(space) if space in _SPACES else len(_SPACES), file.filename)
