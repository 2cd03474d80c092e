"""The selected visits, and the sequences they lack."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bids_cascade.config import Inputs, needed_sequences
from bids_cascade.dataset.layout import list_participants, open_dataset
from bids_cascade.dataset.validation import Validation
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.outcomes import missing_outcome

_LOGGER = logging.getLogger(__name__)


def find_selected(
    inputs: Inputs,
    sequences: Sequence[str],
    validation: Validation | None = None,
    *,
    optional: Sequence[str] = (),
    remedy: str = "choose another with --model, or train one for the available sequences",
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
    remedy : str
        What to do where no visit has a sequence that is needed.
    """
    wanted, needed = needed_sequences(sequences), needed_sequences(sequences, optional)
    layout = open_dataset(inputs.bids_dir, inputs.selection, inputs.database_dir)
    visits = find_visits(layout, wanted, inputs.selection, optional)
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
                "%s: none of the %d selected visits has a %s image; the model takes %s; %s",
                *(inputs.bids_dir, len(visits), sequence, ", ".join(needed), remedy),
            )
    return visits
