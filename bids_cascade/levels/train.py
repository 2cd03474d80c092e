"""The train level: labelled visits in, a model out."""

from __future__ import annotations

from bids_cascade.config import Inputs, RunConfig, TrainConfig
from bids_cascade.derivatives.record import write_record
from bids_cascade.derivatives.root import prepare_output
from bids_cascade.outcomes import exit_code_of, format_table
from bids_cascade.surroundings import say
from bids_cascade.training.fit import check_start, train_model
from bids_cascade.training.prepare import find_labelled, prepare_visits
from bids_cascade.training.recipe import read_cross_validation, recipe_of


def run_train(inputs: Inputs, config: TrainConfig, run: RunConfig) -> int:
    """Train a cascade on every selected visit that has a manual mask; return the exit code."""
    check_start(config)
    labelled, labels = find_labelled(inputs, config)
    prepare_output(inputs.out_dir, inputs.bids_dir)
    log_dir = write_record(inputs, {"train": config, "run": run}, labelled)
    prepared, results = prepare_visits(labelled, labels, config, run, log_dir)
    say(format_table(results))
    if prepared:
        earlier = read_cross_validation(inputs.out_dir, recipe_of(prepared, config))
        train_model(prepared, inputs, config, run, inputs.out_dir / "models", earlier)
    return exit_code_of(results)
