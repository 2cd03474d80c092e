"""The participant level: raw images in, lesion masks out."""

from __future__ import annotations

from bids_cascade.anatomy.template import load_template
from bids_cascade.config import Inputs, ParticipantConfig, RunConfig
from bids_cascade.dataset.validation import Validation
from bids_cascade.models.patch_wise import warn_of_patches
from bids_cascade.models.store import PACKAGED_MODEL, load_model
from bids_cascade.outcomes import exit_code_of, format_table
from bids_cascade.segmentation.visits import segment_visits
from bids_cascade.selection.find import find_for_model
from bids_cascade.surroundings import say


def run_participant(
    inputs: Inputs, config: ParticipantConfig, run: RunConfig, validation: Validation | None = None
) -> int:
    """Segment every selected visit that has the sequences the model needs; return the exit code.

    Parameters
    ----------
    inputs : Inputs
    config : ParticipantConfig
    run : RunConfig
    validation : Validation, optional
        Of the dataset, if it has already begun.
    """
    model = load_model(config.model or PACKAGED_MODEL)
    for name in config.output_spaces:
        load_template(name)  # a faulty template is refused before hours of work
    visits = find_for_model(inputs, model.header.cascade, config, validation)
    if model.header.patch_wise:
        warn_of_patches(model, run)
    outcomes = segment_visits(visits, inputs, config, run, model)
    say(format_table(outcomes))
    return exit_code_of(outcomes)
