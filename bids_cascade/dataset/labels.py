"""Manual lesion masks in a derivative dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bids.layout import BIDSFile

from bids_cascade.dataset.layout import index_anat, read_description
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import MissingInputError

LESION_LABELS = ("L", "lesion")
"""Values of the ``label`` entity that mean lesion; the first is BIDS' own."""

_SPACES = ("orig", None, "T1w", "FLAIR")


def find_labels(labels: str, bids_dir: Path, visits: Iterable[Visit]) -> dict[str, Path]:
    """Find the lesion mask of each visit.

    Of several masks, that in ``space-orig`` is taken, then one without a ``space``, then ``space-T1w``, then
    ``space-FLAIR``, then the first by name.

    Parameters
    ----------
    labels : str
        Name of a dataset in ``bids_dir/derivatives``, or else the path of a derivative dataset.
    bids_dir : Path
        Root of the raw dataset.
    visits : iterable of Visit
        Whose labels to look for.

    Returns
    -------
    dict of str to Path
        By :attr:`Visit.name`, in the order of `visits`; those without a mask are left out.

    Raises
    ------
    MissingInputError
        No such dataset, or no mask of any of the visits in it.
    InvalidDatasetError
        Its ``dataset_description.json`` is unreadable.
    """
    root = _find_root(labels, bids_dir)
    asked_for = list(visits)
    participants = tuple(dict.fromkeys(visit.participant for visit in asked_for))
    layout = index_anat(root, participants, is_derivative=True)
    files = layout.get(suffix="mask", label=list(LESION_LABELS), extension=[".nii", ".nii.gz"])
    found = {}
    for visit in asked_for:
        own = [file for file in files if _belongs_to(file, visit)]
        if own:
            found[visit.name] = Path(min(own, key=_preference).path)
    if not found:
        raise MissingInputError(
            f"no lesion mask (label-L or label-lesion, suffix mask, in sub-*/[ses-*/]anat) in {root} "
            f"for any of the {len(asked_for)} visits"
        )
    return found


def _find_root(labels: str, bids_dir: Path) -> Path:
    """Return the resolved folder of the derivative dataset."""
    is_name = Path(labels).parts == (labels,) and labels != ".."
    folders = ([bids_dir / "derivatives" / labels] if is_name else []) + [Path(labels)]
    for folder in folders:
        if folder.is_dir():
            if (folder / "dataset_description.json").exists():
                read_description(folder)
            return folder.resolve()
    raise MissingInputError(f"no labels: no such folder: {' or '.join(map(str, folders))}")


def _belongs_to(file: BIDSFile, visit: Visit) -> bool:
    """Return whether a BIDSFile is of this visit by its folder and by its name."""
    unit = (file.entities["subject"], file.entities.get("session"))
    return unit == (visit.participant, visit.session) and file.filename.startswith(f"{visit.name}_")


def _preference(file: BIDSFile) -> tuple[int, str]:
    """Return a key that sorts a visit's masks, best first."""
    space = file.entities.get("space")
    return (_SPACES.index(space) if space in _SPACES else len(_SPACES), file.filename)
