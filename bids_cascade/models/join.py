"""Makes one model of the cascades of several model files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.config import CascadeConfig
from bids_cascade.errors import BadDataError
from bids_cascade.models.store import StoredModel, load_ensemble, load_model

_MUST_AGREE = ("sequences", "voxel_size_mm", "normalisation")
"""The inputs of an ensemble's cascades, which can't be chosen."""


def join_models(paths: Sequence[Path], name: str, **chosen: Any) -> Model:
    """Return the model that averages the cascades of all files.

    Its configuration is that of the first file, except for the chosen fields; its provenance keeps each file's own, and
    those fields of its configuration that differ.

    Parameters
    ----------
    paths : sequence of Path
        At least one.
    name : str
    **chosen
        Fields of :class:`bids_cascade.config.CascadeConfig`.

    Raises
    ------
    BadDataError
        When a file is no model, or is of other sequences or another voxel size than the first.
    MissingInputError, ReadWriteError
        When a file is not there, or can't be read.
    ValueError
        When a chosen value is out of range.
    """
    stored = [load_model(path) for path in paths]
    for model in stored[1:]:
        _check_agreement(stored[0], model)
    config = replace(stored[0].header.cascade, **chosen)
    members = tuple(
        replace(cascade, config=config) for model in stored for cascade in load_ensemble(model.path).members
    )
    licences = dict.fromkeys(model.header.licence or "not stated" for model in stored)
    provenance = {"members": [member for model in stored for member in _members_of(model, config)]}
    return Model(Ensemble(members), name, "; ".join(licences), provenance)


def _check_agreement(first: StoredModel, other: StoredModel) -> None:
    for field in _MUST_AGREE:
        expected, actual = getattr(first.header.cascade, field), getattr(other.header.cascade, field)
        if actual != expected:
            raise BadDataError(
                f"{other.path}: its {field} is {actual}; expected {expected}, as in {first.path}: join models that "
                "have the same grid and sequences"
            )


def _members_of(stored: StoredModel, config: CascadeConfig) -> list[dict[str, Any]]:
    """Return a file's provenance; of a joined file, that of its parts."""
    header = stored.header
    joined = asdict(config)
    changed = {field: value for field, value in asdict(header.cascade).items() if value != joined[field]}
    if "members" in header.provenance:
        return [{**member, "changed": {**changed, **member["changed"]}} for member in header.provenance["members"]]
    own = {"name": header.name, "sha256": stored.sha256, "licence": header.licence}
    return [{**own, "changed": changed, "provenance": dict(header.provenance)}]
