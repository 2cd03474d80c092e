"""Datasets that a model was trained on: written by training, copied to sidecars, checked by an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_cascade.dataset.description import read_description
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import BidsCascadeError
from bids_cascade.imaging.fingerprint import hash_voxels

_LOGGER = logging.getLogger(__name__)

Source = Mapping[str, Any]
"""A dataset that a model was trained on, or whose threshold was chosen on: ``Dataset``, its name; ``Participants``,
their labels; ``ImageSHA256``, the :func:`hash_voxels` of their images, which earlier models lack."""


def describe_source(bids_dir: Path, visits: Iterable[Visit], sequences: Sequence[str]) -> Source:
    """Return the record that a model keeps of its training visits."""
    used = list(visits)
    images = {choice.path for visit in used for sequence, choice in visit.images.items() if sequence in sequences}
    return {
        "Dataset": dataset_name(bids_dir),
        "Participants": sorted({visit.participant for visit in used}),
        "ImageSHA256": sorted(hash_voxels(path) for path in images),
    }


def sources_of(provenance: Mapping[str, Any]) -> list[Source] | None:
    """Return the datasets that a model and its starting models were trained on; None if the header doesn't say.

    A joined model was trained on the datasets of all its parts; None if one of them doesn't say.

    Parameters
    ----------
    provenance : mapping
        Of the model's header.
    """
    if isinstance(provenance.get("members"), list):
        sources: list[Source] = []
        for member in provenance["members"]:
            of_member = sources_of(member["provenance"])
            if of_member is None:
                return None
            sources += [source for source in of_member if source not in sources]
        return sources
    if isinstance(provenance.get("learnt_from"), list):
        return list(provenance["learnt_from"])
    if "dataset" not in provenance:
        return None
    labels = _texts(provenance.get("training_subjects")) | _texts(provenance.get("validation_subjects"))
    return [{"Dataset": provenance["dataset"], "Participants": sorted(labels)}]


def has_learnt_from(visit: Visit, dataset: str, sources: object) -> str | None:
    """Return whether a model was trained on a visit, as one of the levels of ``learnt_from``; None if unknown.

    Parameters
    ----------
    visit : Visit
    dataset : str
        Name of its data set.
    sources : object
        ``ModelLearntFrom`` of a mask's sidecar; None if missing.
    """
    if not isinstance(sources, list):
        return None
    readable = [source for source in sources if isinstance(source, Mapping)]
    known = {digest for source in readable for digest in _texts(source.get("ImageSHA256"))}
    if known and not known.isdisjoint(_hashes(visit)):
        return "visit"
    named = any(
        source.get("Dataset") == dataset and visit.participant in _texts(source.get("Participants"))
        for source in readable
    )
    return "participant" if named else "no"


def dataset_name(bids_dir: Path) -> str:
    """Return a dataset's name by its description, or its folder's name."""
    return str(read_description(bids_dir).get("Name", bids_dir.name))


def _texts(values: object) -> set[str]:
    return {value for value in values if isinstance(value, str)} if isinstance(values, list) else set()


def _hashes(visit: Visit) -> set[str]:
    """Return the hashes of a visit's images; unreadable ones are left out."""
    hashes = set()
    for choice in visit.images.values():
        try:
            hashes.add(hash_voxels(choice.path))
        except BidsCascadeError as error:
            _LOGGER.debug("%s: not compared with the model's training data: %s", visit.name, error)
    return hashes
