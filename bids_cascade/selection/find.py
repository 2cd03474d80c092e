"""The selected visits, and the sequences they lack."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bids_cascade.config import CascadeConfig, Inputs, ParticipantConfig, needed_sequences
from bids_cascade.dataset.layout import list_participants, open_dataset
from bids_cascade.dataset.validation import Validation
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.outcomes import missing_outcome

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remedy:
    """What lets visits be used that lack some sequences.

    Attributes
    ----------
    sequences : tuple of str
        Those that they may lack then.
    for_visit : str
        What a visit says that lacks no other.
    for_all : str
        What a run says where no visit has one of these.
    """

    sequences: tuple[str, ...]
    for_visit: str
    for_all: str

    def add_to(self, visit: Visit) -> Visit:
        """Return a visit, with the remedy if it has one."""
        if visit.missing and set(visit.missing) <= set(self.sequences):
            return replace(visit, left_out=(*visit.left_out, self.for_visit))
        return visit


_OTHER_MODEL = "check the files' names, or use a model that was trained on the available sequences"
_NO_REMEDY = Remedy((), "", "")
_LEAVE_OUT = "leave out --require-sequences to process it all the same"


def find_for_model(
    inputs: Inputs, cascade: CascadeConfig, config: ParticipantConfig, validation: Validation | None = None
) -> list[Visit]:
    """Find the selected visits that a model is to process; see :func:`find_selected`."""
    remedy = Remedy(cascade.optional_sequences, _LEAVE_OUT, "leave out --require-sequences: the model does without")
    return find_selected(inputs, cascade.sequences, validation, optional=config.may_lack(cascade), remedy=remedy)


def find_selected(
    inputs: Inputs,
    sequences: Sequence[str],
    validation: Validation | None = None,
    *,
    optional: Sequence[str] = (),
    remedy: Remedy = _NO_REMEDY,
) -> list[Visit]:
    """Find the selected visits, complete or not, and say what is missing.

    Parameters
    ----------
    inputs : Inputs
    sequences : sequence of str
        Of the model.
    validation : Validation, optional
        Of the dataset, already under way; else one starts if the inputs are to be validated.
    optional : sequence of str
        Those of the model that a visit may lack.
    remedy : Remedy, optional
        What would let visits be used that lack sequences.
    """
    wanted, needed = needed_sequences(sequences), needed_sequences(sequences, optional)
    layout = open_dataset(inputs.bids_dir, inputs.selection, inputs.database_dir)
    visits = [remedy.add_to(visit) for visit in find_visits(layout, wanted, inputs.selection, optional)]
    if validation is None and inputs.validate:
        validation = Validation(inputs.bids_dir)
    if validation is not None:
        validation.finish()
    for visit in visits:
        if visit.missing:
            _LOGGER.warning("%s: %s", visit.name, missing_outcome(visit).message)
    if not (inputs.selection.participants or inputs.selection.sessions or inputs.selection.filters):
        silent = [name for name in list_participants(inputs.bids_dir) if name not in {v.participant for v in visits}]
        for name in silent:
            _LOGGER.warning("sub-%s: no anatomical image at all; not processed", name)
    for sequence in needed:
        if all(sequence in visit.missing for visit in visits):
            _LOGGER.error(
                "%s: none of the selected visits (%d) has a %s image; the model takes %s; %s",
                *(inputs.bids_dir, len(visits), sequence, ", ".join(needed)),
                remedy.for_all if sequence in remedy.sequences else _OTHER_MODEL,
            )
    return visits
