"""The participants to process, as a list for a job array."""

from __future__ import annotations

from bids_cascade.config import Inputs, ParticipantConfig
from bids_cascade.models.store import PACKAGED_MODEL, load_model
from bids_cascade.selection.find import find_for_model


def list_participants(inputs: Inputs, config: ParticipantConfig, unfinished: bool) -> list[str]:
    """Return the labels of the participants with at least one complete visit; nothing is written.

    Parameters
    ----------
    inputs : Inputs
    config : ParticipantConfig
    unfinished : bool
        Leave out those with complete results of this model and these thresholds.
    """
    model = load_model(config.model or PACKAGED_MODEL)
    cascade = model.header.cascade
    visits = find_for_model(inputs, cascade, config)
    wanted = [visit for visit in visits if not visit.missing]
    if unfinished:
        # Imported only where needed: it takes time.
        from bids_cascade.derivatives.plan import plan_outputs
        from bids_cascade.derivatives.written import has_outputs

        wanted = [visit for visit in wanted if not has_outputs(plan_outputs(visit, inputs, config, model))]
    return list(dict.fromkeys(visit.participant for visit in wanted))
