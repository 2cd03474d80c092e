"""Makes the configuration from the options: once, here; it is passed on explicitly."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bids_cascade.config import (
    SEQUENCES,
    SYNTHETIC_SEQUENCES,
    CascadeConfig,
    HeadsConfig,
    Inputs,
    ParticipantConfig,
    RunConfig,
    Selection,
    SynthesizeConfig,
    TrainConfig,
    TrainingConfig,
)
from bids_cascade.dataset.description import find_derivative
from bids_cascade.errors import BadDataError, MissingInputError, UsageError
from bids_cascade.folders import make_work_dir
from bids_cascade.limits import allowed_processors, free_memory_gb, resolve_device
from bids_cascade.regular_file import MAX_JSON_BYTES, read_text


def located(derivative: str | None, bids_dir: Path) -> str | None:
    """Return a derivative dataset's name in `bids_dir`, or its path if it lies in the current folder; None for None.

    Raises
    ------
    MissingInputError, InvalidDatasetError
        There is no such dataset: a mistyped name is refused before anything heavy is imported.
    """
    if derivative is None:
        return None
    find_derivative(derivative, bids_dir)
    if (bids_dir / "derivatives" / derivative).is_dir():
        return derivative
    return str(Path(derivative).absolute())


def make_inputs(options: argparse.Namespace) -> Inputs:
    """Return the input and output folders, and the selected part of the dataset."""
    selection = Selection(
        participants=tuple(label.removeprefix("sub-") for label in options.participant_label),
        sessions=tuple(label.removeprefix("ses-") for label in options.session_label),
        filters=_read_filters(options.bids_filter_file),
    )
    return Inputs(
        bids_dir=options.bids_dir,
        out_dir=options.output_dir,
        selection=selection,
        database_dir=options.bids_database_dir,
        validate=not options.skip_bids_validation,
    )


def _read_filters(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        filters = json.loads(read_text(path, MAX_JSON_BYTES))
    except MissingInputError as error:
        raise MissingInputError(f"{path}: there is no such filter file; check --bids-filter-file") from error
    except BadDataError as error:
        raise UsageError(f"the filter file {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: the filter file can't be read as JSON: {error}") from error
    if not isinstance(filters, dict) or not all(isinstance(value, dict) for value in filters.values()):
        raise UsageError(f'{path}: expected a JSON object of objects, such as {{"t1w": {{"acquisition": "mprage"}}}}')
    return filters


def make_participant(options: argparse.Namespace) -> ParticipantConfig:
    """Return what the participant level computes."""
    return ParticipantConfig(
        model=options.model,
        threshold=options.threshold,
        min_lesion_volume_mm3=options.min_lesion_volume_mm3,
        skull_strip=options.skull_strip,
        seed=options.random_seed,
        half_precision=options.half_precision,
        guess_orientation=options.guess_orientation,
        longitudinal=not options.no_longitudinal,
        noise_floor=not options.no_noise_floor,
        anatomy=not options.no_anatomy,
        output_spaces=tuple(dict.fromkeys(options.output_spaces)),
        require_sequences=options.require_sequences,
    )


def make_synthesize(options: argparse.Namespace) -> SynthesizeConfig:
    """Return what the synthesize level computes."""
    return SynthesizeConfig(
        lesion_masks=tuple(options.lesion_masks),
        n_heads=options.n_heads or SynthesizeConfig.n_heads,
        protocol=options.protocol,
        lesion_free_fraction=(
            SynthesizeConfig.lesion_free_fraction
            if options.lesion_free_fraction is None
            else options.lesion_free_fraction
        ),
        seed=options.random_seed,
    )


def make_train(options: argparse.Namespace) -> TrainConfig:
    """Return what the train level computes."""
    sequences = tuple(sequence for sequence in SEQUENCES if sequence in options.sequences)
    if CascadeConfig.candidate_sequence not in sequences:
        raise UsageError(f"--sequences needs {CascadeConfig.candidate_sequence}, in which candidates are looked for")
    heads = _make_heads(options, sequences)
    if options.validation_fraction == 1 and heads is None:
        raise UsageError("--validation-fraction 1 leaves no one to train on; only with --label-maps may it be 1")
    return TrainConfig(
        labels=options.labels,
        cascade=CascadeConfig(
            sequences, optional_sequences=_optional(sequences) if options.sequence_dropout else ()
        ).with_choices(options.threshold, options.min_lesion_volume_mm3),
        training=TrainingConfig(
            max_epochs=options.max_epochs,
            second_stage_epochs=options.second_stage_epochs,
            stages=(2,) if options.second_stage_only else TrainingConfig.stages,
            crops_per_epoch=options.crops_per_epoch,
            validation_fraction=options.validation_fraction,
            learning_rate=options.learning_rate,
            synthetic_fraction=options.synthetic_fraction,
            lesion_free_fraction=options.lesion_free_fraction,
            component_power=options.component_power,
            sequence_dropout=options.sequence_dropout,
            appearance_fraction=options.appearance_fraction,
            half_precision=options.half_precision,
            seed=options.random_seed,
        ),
        heads=heads,
        start_from=options.start_from,
        features=tuple(options.features) if options.features else None,
        dense=tuple(options.dense) if options.dense else None,
        convolutions=options.convolutions,
        kept_fraction=options.kept_fraction,
        choose_threshold=options.threshold is None,
        skull_strip=options.skull_strip,
        name=options.model_name,
        guess_orientation=options.guess_orientation,
    )


def _optional(sequences: Sequence[str]) -> tuple[str, ...]:
    """Return the sequences that a scan may lack if sequences are dropped in training: all but one."""
    return tuple(sequence for sequence in sequences if sequence != CascadeConfig.candidate_sequence)


def _make_heads(options: argparse.Namespace, sequences: Sequence[str]) -> HeadsConfig | None:
    if not options.label_maps:
        return None
    if not set(sequences) <= set(SYNTHETIC_SEQUENCES):
        raise UsageError(
            f"--sequences {' '.join(sequences)}: synthetic heads have {' and '.join(SYNTHETIC_SEQUENCES)} only; leave "
            "out --label-maps or the other sequences"
        )
    if options.insertions and sequences != SYNTHETIC_SEQUENCES:
        raise UsageError(f"--sequences {' '.join(sequences)}: --insertions needs {' and '.join(SYNTHETIC_SEQUENCES)}")
    return HeadsConfig(
        tuple(options.label_maps),
        tuple(options.lesion_masks),
        options.n_heads or HeadsConfig.n_heads,
        options.random_seed,
        options.insertions,
    )


def make_run(options: argparse.Namespace, inputs: Inputs) -> RunConfig:
    """Return how the app runs; the work folder is made."""
    n_procs = options.nprocs or allowed_processors()
    return RunConfig(
        work_dir=make_work_dir(options.work_dir, inputs.bids_dir, inputs.out_dir),
        n_procs=n_procs,
        omp_nthreads=min(options.omp_nthreads or min(n_procs, 8), n_procs),
        mem_gb=options.mem_gb or free_memory_gb(),
        device=resolve_device(options.device),
        plugin_file=options.use_plugin,
        stop_on_first_crash=options.stop_on_first_crash,
        write_graph=options.write_graph,
        resource_monitor=options.resource_monitor,
        clean_work_dir=options.clean_workdir or options.work_dir is None,
    )
