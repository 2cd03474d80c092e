"""Which visits there are, and which image of each sequence is the one to use."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids.layout import BIDSFile, BIDSLayout, Query

from bids_cascade.config import SEQUENCES, Selection
from bids_cascade.dataset.layout import Unit, list_sessions, natural_key
from bids_cascade.errors import NothingSelectedError, UsageError

logger = logging.getLogger(__name__)

UNWANTED_ENTITIES = ("ceagent", "part", "chunk")
"""Images with these (contrast-enhanced, phase, cut up) are taken only if the filter for their sequence says so."""


@dataclass(frozen=True)
class ImageChoice:
    """The image of one sequence that a visit uses.

    Attributes
    ----------
    path : Path
        The image.
    reason : str
        Why this one, in a few words.
    rejected : tuple of Path
        The others there were to choose from, best first.
    """

    path: Path
    reason: str
    rejected: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Visit:
    """One participant's session (or the participant, in a dataset without sessions): the unit of work.

    Attributes
    ----------
    participant : str
        Label without ``sub-``.
    session : str or None
        Label without ``ses-``.
    images : mapping of str to ImageChoice
        By sequence, in the order asked for.
    missing : tuple of str
        Sequences asked for that have no image.
    """

    participant: str
    session: str | None
    images: Mapping[str, ImageChoice]
    missing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What derivatives begin with, such as ``sub-01_ses-1``."""
        return f"sub-{self.participant}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def slug(self) -> str:
        """The name in letters, digits and underscores, such as ``sub_01_ses_1``; as unique as the name."""
        return self.name.replace("-", "_").replace("+", "__")


@dataclass(frozen=True)
class _Candidate:
    """An image that could be chosen, with what decides (see :func:`_choose`)."""

    path: Path
    resolution: tuple[float, float]
    run: int


def find_visits(layout: BIDSLayout, sequences: Sequence[str], selection: Selection) -> list[Visit]:
    """Find for each visit one image of each sequence.

    A visit is listed if it has an image of any sequence this app knows, or, with filters, one that passes the
    filter of a sequence asked for. A participant asked for by name is listed in any case.

    Of several images that pass, the one with the finest resolution is taken (smallest voxel volume, then shortest
    longest edge), then the lowest run, then the first by name. Contrast-enhanced images, parts of complex images
    and chunks don't pass unless the filter of their sequence names that entity.

    Parameters
    ----------
    layout : BIDSLayout
        From :func:`bids_cascade.dataset.layout.open_dataset`, with the same selection.
    sequences : sequence of str
        BIDS suffixes in channel order.
    selection : Selection
        Whose filters may also hold ``"*"`` for "any value", as in fMRIPrep.

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
    found = {sequence: _find_files(layout, sequence, filters.get(sequence, {})) for sequence in sequences}
    for sequence, files in found.items():
        if filters.get(sequence) and not files:
            raise NothingSelectedError(
                f"no image in {layout.root} passes the filter {dict(filters[sequence])} for {sequence}"
            )
    others = [] if filters else [suffix for suffix in SEQUENCES if suffix not in sequences]
    every_file = [file for files in found.values() for file in files]
    every_file += [file for suffix in others for file in _find_files(layout, suffix, {})]
    units = {_unit_of(file) for file in every_file} | set(_asked_for_without_image(layout, every_file, selection))
    if not units:
        raise NothingSelectedError(f"no {' or '.join(sequences)} image among what is selected in {layout.root}")
    candidates = {sequence: _by_unit(files, filters.get(sequence, {})) for sequence, files in found.items()}
    ordered = sorted(units, key=lambda unit: (natural_key(unit[0]), natural_key(unit[1])))
    return [_make_visit(unit, candidates) for unit in ordered]


def _filters_by_sequence(selection: Selection, sequences: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the non-empty filters of the sequences asked for, by proper BIDS suffix."""
    proper = {sequence.lower(): sequence for sequence in sequences}
    known = {*proper, *(sequence.lower() for sequence in SEQUENCES)}
    for name in selection.filters:
        if name.lower() not in known:
            logger.warning("the filter for %s is ignored: there are filters for %s", name, ", ".join(sequences))
    return {
        proper[name.lower()]: wanted for name, wanted in selection.filters.items() if name.lower() in proper and wanted
    }


def _find_files(layout: BIDSLayout, suffix: str, wanted: Mapping[str, Any]) -> list[BIDSFile]:
    """Return the BIDSImageFiles with a suffix that pass a filter and whose names agree with their folders."""
    unknown = sorted(set(wanted) - set(layout.get_entities()))
    if unknown:
        raise UsageError(
            f"the filter for {suffix} names {', '.join(unknown)}; pybids has {', '.join(layout.get_entities())}"
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
    participant, session = _unit_of(file)
    rest = file.filename.removeprefix(Visit(participant, session, {}).name)
    return rest.startswith("_") and (session is not None or not rest.startswith("_ses-"))


def _unit_of(file: BIDSFile) -> Unit:
    """Return a BIDSFile's participant and session."""
    return file.entities["subject"], file.entities.get("session")


def _asked_for_without_image(layout: BIDSLayout, files: Iterable[BIDSFile], selection: Selection) -> list[Unit]:
    """Return the visits of participants asked for by name that have no image at all."""
    with_image = {_unit_of(file)[0] for file in files}
    units: list[Unit] = []
    for participant in selection.participants:
        if participant not in with_image:
            existing = list_sessions(Path(layout.root), participant)
            sessions = selection.sessions or existing or (None,)
            units += [(participant, session) for session in sessions]
    return units


def _by_unit(files: Iterable[BIDSFile], wanted: Mapping[str, Any]) -> dict[Unit, list[BIDSFile]]:
    """Sort BIDSImageFiles by visit, leaving out those with unwanted entities that the filter doesn't name."""
    unwanted = [entity for entity in UNWANTED_ENTITIES if entity not in wanted]
    by_unit: dict[Unit, list[BIDSFile]] = {}
    for file in files:
        if not any(entity in file.entities for entity in unwanted):
            by_unit.setdefault(_unit_of(file), []).append(file)
    return by_unit


def _make_visit(unit: Unit, candidates: Mapping[str, Mapping[Unit, list[BIDSFile]]]) -> Visit:
    """Choose the images of one visit."""
    images = {sequence: _choose(by_unit[unit]) for sequence, by_unit in candidates.items() if unit in by_unit}
    missing = tuple(sequence for sequence in candidates if sequence not in images)
    visit = Visit(*unit, images=images, missing=missing)
    for sequence, choice in images.items():
        level = logging.INFO if choice.rejected else logging.DEBUG
        logger.log(level, "%s: %s is %s (%s)", visit.name, sequence, choice.path.name, choice.reason)
    return visit


def _choose(files: Sequence[BIDSFile]) -> ImageChoice:
    """Choose by resolution, then run, then name; headers are read only if there is a choice."""
    if len(files) == 1:
        return ImageChoice(Path(files[0].path), "the only one")
    candidates = [_Candidate(Path(file.path), _resolution(file), int(file.entities.get("run", 0))) for file in files]
    candidates.sort(key=lambda candidate: (candidate.resolution, candidate.run, candidate.path.name))
    best, *rest = candidates
    return ImageChoice(best.path, _reason(best, rest), tuple(candidate.path for candidate in rest))


def _resolution(file: BIDSFile) -> tuple[float, float]:
    """Return voxel volume in mm^3 and longest voxel edge in mm, rounded; infinite for what is no 3D image."""
    try:
        header = file.get_image().header
        shape, zooms = header.get_data_shape(), [float(zoom) for zoom in header.get_zooms()[:3]]
    except (ValueError, OSError):
        return math.inf, math.inf
    if len(shape) < 3 or any(length > 1 for length in shape[3:]) or not all(0 < zoom < math.inf for zoom in zooms):
        return math.inf, math.inf
    return round(math.prod(zooms), 3), round(max(zooms), 3)


def _reason(best: _Candidate, rest: Sequence[_Candidate]) -> str:
    """Say what set the best candidate apart."""
    equally_fine = [other for other in rest if other.resolution == best.resolution]
    if not equally_fine:
        return f"finest resolution of {len(rest) + 1}: voxels of {best.resolution[0]:g} mm^3"
    if all(other.run > best.run for other in equally_fine):
        return f"lowest run of {len(equally_fine) + 1} with equal resolution"
    return f"first by name of {len(equally_fine) + 1} with equal resolution"
