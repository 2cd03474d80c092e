"""The command line: arguments to configuration, one level, an exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from bids_cascade.cli.configuration import (
    located,
    make_inputs,
    make_participant,
    make_run,
    make_synthesize,
    make_train,
)
from bids_cascade.cli.parser import parse
from bids_cascade.command import run_command
from bids_cascade.config import CrossValidationConfig, EvaluateConfig, Inputs, RunConfig
from bids_cascade.dataset.description import read_raw_description
from bids_cascade.dataset.validation import Validation
from bids_cascade.errors import OK
from bids_cascade.folders import contained
from bids_cascade.limits import allowed_processors
from bids_cascade.progress_bar import BarHandler
from bids_cascade.surroundings import say, share_source_tree
from bids_cascade.workflow.workers import importing, prepare_workers

_LOGGER = logging.getLogger("bids_cascade")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app; return its exit code."""
    share_source_tree()
    return run_command("bids_cascade", lambda: _run(list(sys.argv[1:] if argv is None else argv)), debugging="-vv")


def _run(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    _set_up_logging(options.verbose)
    return _run_level(options)


def _run_level(options: argparse.Namespace) -> int:
    """Make the configuration and run the level; heavy imports come only here."""
    if options.analysis_level == "synthesize":
        return _run_synthesize(options)
    inputs = make_inputs(options)
    read_raw_description(inputs.bids_dir)  # a mistyped folder is refused before anything is made, started or imported
    if options.list_participants:
        return _print_participants(options, inputs)
    _LOGGER.info("output folder: %s", inputs.out_dir.absolute())
    if options.analysis_level == "group":
        from bids_cascade.levels.group import run_group

        return run_group(inputs, options.group_by)
    if options.analysis_level == "longitudinal":
        from bids_cascade.levels.longitudinal import run_longitudinal

        n_procs = options.nprocs or allowed_processors()
        return run_longitudinal(inputs, n_procs, options.random_seed, options.model, not options.no_noise_floor)
    options.labels = located(options.labels, inputs.bids_dir)
    options.predictions = located(options.predictions, inputs.bids_dir)
    run = make_run(options, inputs)
    with contained(run.work_dir):
        if options.analysis_level == "evaluate":
            from bids_cascade.levels.evaluate import run_evaluate

            return run_evaluate(inputs, EvaluateConfig(options.labels, options.predictions, options.random_seed))
        _LOGGER.info("work folder: %s", run.work_dir)
        prepare_workers()
        if options.analysis_level == "train":
            return _run_train(options, inputs, run)
        return _run_participant(options, inputs, run)


def _run_participant(options: argparse.Namespace, inputs: Inputs, run: RunConfig) -> int:
    """Segment; the dataset is validated while heavy modules are imported."""
    validation = Validation(inputs.bids_dir) if inputs.validate else None
    try:
        with importing():
            from bids_cascade.levels.participant import run_participant
        return run_participant(inputs, make_participant(options), run, validation)
    finally:
        if validation is not None:
            validation.stop()


def _run_train(options: argparse.Namespace, inputs: Inputs, run: RunConfig) -> int:
    """Train once, or by cross-validation."""
    config = make_train(options)
    if options.cross_validate is None:
        from bids_cascade.levels.train import run_train

        return run_train(inputs, config, run)
    from bids_cascade.levels.cross_validation import run_cross_validation

    return run_cross_validation(
        inputs, config, CrossValidationConfig(options.cross_validate or None, options.fold), run
    )


def _print_participants(options: argparse.Namespace, inputs: Inputs) -> int:
    """Print the labels of the participants to process, one a line, for a job array; nothing is written."""
    from bids_cascade.levels.listing import list_participants

    labels = list_participants(inputs, make_participant(options), options.list_participants == "unfinished")
    if labels:
        say("\n".join(labels))
    return OK


def _run_synthesize(options: argparse.Namespace) -> int:
    """Run the only level whose input is no dataset and that needs no work folder."""
    from bids_cascade.levels.synthesize import run_synthesize

    _LOGGER.info("output folder: %s", options.output_dir.absolute())
    n_procs = options.nprocs or allowed_processors()
    return run_synthesize(options.bids_dir, options.output_dir, make_synthesize(options), n_procs)


def _set_up_logging(verbosity: int) -> None:
    level = logging.DEBUG if verbosity > 1 else logging.INFO
    handler = BarHandler(sys.stderr)
    handler.addFilter(_Once())
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[handler],
        force=True,
    )
    _LOGGER.setLevel(level)
    _LOGGER.getChild("steps").setLevel(logging.INFO if verbosity else logging.WARNING)


class _Once(logging.Filter):
    """Passes each warning once, however many parts of the app raise it."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        message = record.getMessage()
        if message in self._said:
            return False
        self._said.add(message)
        return True
