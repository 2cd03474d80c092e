"""The visits of a dataset, and the image of each sequence to use."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids.layout import BIDSFile, BIDSLayout, Query

from bids_cascade.config import SEQUENCES, Selection
from bids_cascade.dataset.bidsignore import warn_of_bidsignore
from bids_cascade.dataset.choice import ImageChoice, choose_image
from bids_cascade.dataset.description import dicom_hint
from bids_cascade.dataset.layout import list_sessions
from bids_cascade.errors import NothingSelectedError, UsageError
from bids_cascade.visit_key import VisitKey

logger = logging.getLogger(__name__)

UNWANTED_ENTITIES = {"ceagent": "ce", "part": "part", "chunk": "chunk"}
"""Images with these (contrast-enhanced, phase, cut up), by pybids' name and in file names, are taken only if the filter
for their sequence says so; ``part-mag`` is the ordinary image."""

_STAND_INS = {"T1w": "UNIT1", "FLAIR": "T2w"}
"""Images that a visit may have instead of a sequence: the first is as good, the second is not."""


@dataclass(frozen=True)
class Visit(VisitKey):
    """A visit with its images: the unit of work.

    Attributes
    ----------
    images : mapping of str to ImageChoice
        By sequence, in the requested order.
    missing : tuple of str
        Required sequences without an image.
    absent : tuple of str
        Optional sequences without an image.
    left_out : tuple of str
        Unused images of those sequences, why they were left out, and how to select them.
    """

    images: Mapping[str, ImageChoice]
    missing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def find_visits(
    layout: BIDSLayout, sequences: Sequence[str], selection: Selection, optional: Sequence[str] = ()
) -> list[Visit]:
    """Find for each visit one image of each sequence.

    A visit is listed if it has an image of any sequence this app knows, or, with filters, one that passes the
    filter of a sequence asked for. A participant asked for by name is listed in any case.

    Of several images that pass, one is chosen, see :func:`bids_cascade.dataset.choice.choose_image`. Contrast-enhanced
    images, parts of complex images but their magnitude, and chunks don't pass unless the filter of their sequence names
    that entity.

    Parameters
    ----------
    layout : BIDSLayout
        From :func:`bids_cascade.dataset.layout.open_dataset`, with the same selection.
    sequences : sequence of str
        BIDS suffixes in channel order.
    selection : Selection
        Whose filters may also hold ``"*"`` for "any value", as in fMRIPrep.
    optional : sequence of str
        Sequences that a visit may lack.

    Returns
    -------
    list of Visit
        Complete and incomplete ones in natural order of participant and session.

    Raises
    ------
    NothingSelectedError
        No visit at all, or a filter that no image passes.
    UsageError
        A filter names what is no BIDS entity.
    """
    filters = _filters_by_sequence(selection, sequences)
    files_of = {sequence: _find_files(layout, sequence, filters.get(sequence, {})) for sequence in sequences}
    for sequence, files in files_of.items():
        if filters.get(sequence) and not files:
            raise NothingSelectedError(
                f"no image in {layout.root} passes the filter {dict(filters[sequence])} for {sequence}; "
                "compare the --bids-filter-file with the files' names"
            )
    others = [] if filters else [suffix for suffix in SEQUENCES if suffix not in sequences]
    every_file = [file for files in files_of.values() for file in files]
    every_file += [file for suffix in others for file in _find_files(layout, suffix, {})]
    keys = {_key_of(file) for file in every_file} | set(_asked_for_without_image(layout, every_file, selection))
    if not keys:
        hint = dicom_hint(Path(layout.root))
        raise NothingSelectedError(
            f"no {' or '.join(sequences)} image among those selected in {layout.root}{hint}; expected "
            f"sub-*/[ses-*/]anat/sub-*[_ses-*]_{sequences[0]}.nii.gz and the like"
        )
    candidates = {sequence: _by_visit(files) for sequence, files in files_of.items()}
    stand_ins = _find_stand_ins(layout, sequences)
    ordered = sorted(keys, key=lambda key: key.order)
    visits = [_make_visit(key, candidates, filters, optional, stand_ins) for key in ordered]
    warn_of_bidsignore(Path(layout.root), (choice.path for visit in visits for choice in visit.images.values()))
    return visits


def _filters_by_sequence(selection: Selection, sequences: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the non-empty filters of the sequences asked for, by proper BIDS suffix."""
    proper = {sequence.lower(): sequence for sequence in sequences}
    known = {*proper, *(sequence.lower() for sequence in SEQUENCES)}
    for name in selection.filters:
        if name.lower() not in known:
            logger.warning("the filter for %s is ignored: expected a filter for %s", name, ", ".join(sequences))
    return {
        proper[name.lower()]: wanted for name, wanted in selection.filters.items() if name.lower() in proper and wanted
    }


def _find_files(layout: BIDSLayout, suffix: str, wanted: Mapping[str, Any]) -> list[BIDSFile]:
    """Return the BIDSImageFiles with a suffix that pass a filter and whose names agree with their folders."""
    unknown = sorted(set(wanted) - set(layout.get_entities()))
    if unknown:
        raise UsageError(
            f"the filter for {suffix} names {', '.join(unknown)}; correct it: pybids has "
            f"{', '.join(layout.get_entities())}"
        )
    query = {"suffix": suffix, "datatype": "anat", "extension": [".nii", ".nii.gz"]}
    query |= {entity: Query.REQUIRED if value == "*" else value for entity, value in wanted.items()}
    files = layout.get(**query)
    for file in files:
        if not _agrees_with_folder(file):
            logger.warning("%s is ignored: its name belongs to another participant or session", file.path)
    return [file for file in files if _agrees_with_folder(file)]


def _agrees_with_folder(file: BIDSFile) -> bool:
    """Return whether a file's name begins with the participant and session of the folder it is in."""
    key = _key_of(file)
    rest = file.filename.removeprefix(key.name)
    return rest.startswith("_") and (key.session is not None or not rest.startswith("_ses-"))


def _key_of(file: BIDSFile) -> VisitKey:
    """Return a BIDSFile's participant and session."""
    return VisitKey(file.entities["subject"], file.entities.get("session"))


def _asked_for_without_image(layout: BIDSLayout, files: Iterable[BIDSFile], selection: Selection) -> list[VisitKey]:
    """Return the visits of explicitly selected participants that have no image at all."""
    with_image = {_key_of(file).participant for file in files}
    keys: list[VisitKey] = []
    for participant in selection.participants:
        if participant not in with_image:
            existing = list_sessions(Path(layout.root), participant)
            sessions = selection.sessions or existing or (None,)
            keys += [VisitKey(participant, session) for session in sessions]
    return keys


def _by_visit(files: Iterable[BIDSFile]) -> dict[VisitKey, list[BIDSFile]]:
    """Sort BIDSImageFiles by visit."""
    by_visit: dict[VisitKey, list[BIDSFile]] = {}
    for file in files:
        by_visit.setdefault(_key_of(file), []).append(file)
    return by_visit


def _unwanted(file: BIDSFile, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return the unwanted entities of a BIDSImageFile that the filter doesn't name, with their values."""
    special = {entity: str(file.entities[entity]) for entity in UNWANTED_ENTITIES if entity in file.entities}
    return {
        entity: value
        for entity, value in special.items()
        if entity not in wanted and (entity, value) != ("part", "mag")
    }


def _find_stand_ins(layout: BIDSLayout, sequences: Sequence[str]) -> dict[str, dict[VisitKey, list[BIDSFile]]]:
    """Return by sequence the images of each visit that could be mistaken for it."""
    suffixes = {name: suffix for name, suffix in _STAND_INS.items() if name in sequences and suffix not in sequences}
    return {name: _by_visit(_find_files(layout, suffix, {})) for name, suffix in suffixes.items()}


def _make_visit(
    key: VisitKey,
    files: Mapping[str, Mapping[VisitKey, list[BIDSFile]]],
    filters: Mapping[str, Mapping[str, Any]],
    optional: Sequence[str],
    stand_ins: Mapping[str, Mapping[VisitKey, list[BIDSFile]]],
) -> Visit:
    """Choose the images of one visit; record the sequences of which it has only unwanted ones."""
    images: dict[str, ImageChoice] = {}
    left_out: list[str] = []
    for sequence, by_visit in files.items():
        own = {file: _unwanted(file, filters.get(sequence, {})) for file in by_visit.get(key, [])}
        candidates = [file for file, unwanted in own.items() if not unwanted]
        if candidates:
            images[sequence] = choose_image(candidates)
        else:
            left_out += [_say_left_out(sequence, file, unwanted) for file, unwanted in own.items()]
            left_out += [_say_stand_in(sequence, file) for file in stand_ins.get(sequence, {}).get(key, [])]
            if wanted := filters.get(sequence):
                left_out.append(f"the --bids-filter-file takes none but {json.dumps({sequence: wanted})}")
    lacking = [sequence for sequence in files if sequence not in images]
    visit = Visit(
        key.participant,
        key.session,
        images=images,
        missing=tuple(sequence for sequence in lacking if sequence not in optional),
        absent=tuple(sequence for sequence in lacking if sequence in optional),
        left_out=tuple(left_out),
    )
    for sequence, choice in images.items():
        level = logging.INFO if choice.rejected else logging.DEBUG
        logger.log(level, "%s: %s is %s (%s)", visit.name, sequence, choice.path.name, choice.reason)
    return visit


def _say_left_out(sequence: str, file: BIDSFile, unwanted: Mapping[str, str]) -> str:
    entities = "_".join(f"{UNWANTED_ENTITIES[entity]}-{value}" for entity, value in unwanted.items())
    asking = json.dumps({sequence: dict(unwanted)})
    return f"there is {file.filename}, left out because of {entities}; a --bids-filter-file with {asking} takes it"


def _say_stand_in(sequence: str, file: BIDSFile) -> str:
    """Return which image a visit has instead of a sequence, and whether that can replace it."""
    if sequence == "FLAIR":
        return f"there is {file.filename}, which can't replace it: in a T2w, fluid is as bright as lesions"
    asking = json.dumps({sequence: {"suffix": [sequence, file.entities["suffix"]]}})
    return f"there is {file.filename}, of MP2RAGE; a --bids-filter-file with {asking} takes it for the {sequence}"
