"""The command line: arguments to configuration, one level, an exit code."""

from __future__ import annotations

import argparse
import json
import logging
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bids_cascade import __version__
from bids_cascade.config import (
    SEQUENCES,
    SKULL_STRIP_MODES,
    SYNTHETIC_PROTOCOLS,
    SYNTHETIC_SEQUENCES,
    CascadeConfig,
    CrossValidationConfig,
    EvaluateConfig,
    HeadsConfig,
    Inputs,
    ParticipantConfig,
    RunConfig,
    Selection,
    SynthesizeConfig,
    TrainConfig,
    TrainingConfig,
)
from bids_cascade.dataset.validation import Validation
from bids_cascade.errors import (
    OK,
    BadDataError,
    BidsCascadeError,
    MissingInputError,
    ReadWriteError,
    UnknownLevelError,
    UsageError,
)
from bids_cascade.folders import contained, make_work_dir
from bids_cascade.limits import allowed_processors, free_memory_gb, resolve_device
from bids_cascade.regular_file import MAX_JSON_BYTES, read_text
from bids_cascade.surroundings import complain, leave_out_current_folder, open_streams, release_streams, say
from bids_cascade.workflow.workers import importing, prepare_workers

LEVELS = ("participant", "group", "train", "evaluate", "synthesize")

_LOGGER = logging.getLogger("bids_cascade")


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would exit with, so that exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app; return its exit code."""
    leave_out_current_folder()
    open_streams()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except BidsCascadeError as error:
        complain(f"bids_cascade: error: {error}")
        _LOGGER.debug("where it came from", exc_info=True)
        return error.exit_code
    except KeyboardInterrupt:
        complain("bids_cascade: interrupted; run the same command again to go on")
        return 130
    except OSError as error:
        complain(f"bids_cascade: error: reading or writing broke off: {error}")
        _LOGGER.debug("where it came from", exc_info=True)
        return ReadWriteError.exit_code
    except Exception as error:  # the last resort: an unforeseen error is still one line and an exit code
        complain(f"bids_cascade: unexpected {type(error).__name__}: {error}; please report it, with what -vv says")
        _LOGGER.debug("where it came from", exc_info=True)
        return BidsCascadeError.exit_code
    finally:
        release_streams()


def _run(arguments: Sequence[str]) -> int:
    options = build_parser().parse_args(arguments)
    _set_up_logging(options.verbose)
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _stop)
    if options.analysis_level not in LEVELS:
        raise UnknownLevelError(
            f"there is no analysis level `{options.analysis_level}`; expected one of {', '.join(LEVELS)}"
        )
    return _run_level(options)


def _stop(*_: object) -> NoReturn:
    """End as Ctrl-C does when the system, a batch scheduler or a terminal that closes asks to."""
    raise KeyboardInterrupt


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="bids-cascade",
        description="Find multiple-sclerosis lesions in brain MRI with a cascade of two 3D CNNs (a BIDS App).",
        epilog="Not a medical device. Exit codes follow the BIDS Apps execution specification.",
    )
    parser.add_argument("bids_dir", type=_path, help="root folder of the BIDS dataset; for synthesize, of label maps")
    parser.add_argument("output_dir", type=_path, help="root folder of the derivatives; made if needed")
    parser.add_argument("analysis_level", metavar="{" + ",".join(LEVELS) + "}", help="what to do")
    parser.add_argument("--version", action="version", version=f"bids_cascade {__version__}")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="name each step; -vv for debugging")
    _add_selection(parser.add_argument_group("what to process"))
    _add_segmentation(parser.add_argument_group("what to compute"))
    _add_evaluation(parser.add_argument_group("train and evaluate levels"))
    _add_training(parser.add_argument_group("train level"))
    _add_synthesis(parser.add_argument_group("synthesize level"))
    _add_running(parser.add_argument_group("how to run; changes no result but, by its threads, a training"))
    return parser


def _add_selection(group: Any) -> None:
    group.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        type=_label,
        default=[],
        metavar="LABEL",
        help="with or without sub-",
    )
    group.add_argument(
        *("--session-label", "--session_label"),
        nargs="+",
        type=_label,
        default=[],
        metavar="LABEL",
        help="with or without ses-",
    )
    group.add_argument(
        "--list-participants",
        choices=("all", "unfinished"),
        help="only print the labels of the participants that can be processed, or of those not yet processed so",
    )
    group.add_argument(
        "--bids-filter-file",
        type=_path,
        metavar="FILE",
        help="JSON: by sequence, the entities to match; .bidsignore sets no image aside",
    )
    group.add_argument("--skip-bids-validation", action="store_true", help="don't run bids-validator on the input")
    group.add_argument(
        "--bids-database-dir", type=_path, metavar="DIR", help="where to keep pybids's index of the input"
    )


def _add_segmentation(group: Any) -> None:
    group.add_argument("--model", type=_path, metavar="FILE", help="model file (default: the packaged one)")
    group.add_argument(
        "--threshold",
        type=_fraction,
        metavar="P",
        help="probability from which a voxel is lesion (default: the model's; when training, chosen)",
    )
    group.add_argument(
        "--min-lesion-volume-mm3", type=_not_negative, metavar="V", help="drop smaller lesions (default: the model's)"
    )
    group.add_argument(
        "--skull-strip",
        choices=SKULL_STRIP_MODES,
        default="auto",
        help="auto: unless the T1w image is stripped already; skip: its non-zero voxels are brain; force: in any case",
    )
    group.add_argument(
        "--guess-orientation",
        action="store_true",
        help="take images with neither sform nor qform, whose left and right may be exchanged; they are flagged",
    )
    group.add_argument(
        "--half-precision",
        action="store_true",
        help="networks in half precision: faster on a GPU or a processor with bfloat16; a few voxels change",
    )
    group.add_argument(
        "--random-seed", type=_seed, default=0, metavar="N", help="seed of all that is random (default: 0)"
    )


def _add_evaluation(group: Any) -> None:
    group.add_argument(
        "--labels",
        type=_derivative,
        metavar="DERIVATIVE",
        help="dataset of manual lesion masks: a path, or a name under bids_dir/derivatives",
    )
    group.add_argument(
        "--predictions",
        type=_derivative,
        metavar="DERIVATIVE",
        help="evaluate: dataset of predicted lesion masks, named in the same way (default: output_dir)",
    )


def _add_training(group: Any) -> None:
    default = TrainingConfig()
    group.add_argument(
        "--sequences", nargs="+", choices=SEQUENCES, default=["T1w", "FLAIR"], help="channels (default: T1w FLAIR)"
    )
    group.add_argument(
        "--model-name", type=_name, default="cascade", metavar="NAME", help="name of the model (default: cascade)"
    )
    group.add_argument(
        "--max-epochs", type=_count, default=default.max_epochs, metavar="N", help="(default: %(default)s)"
    )
    group.add_argument(
        "--crops-per-epoch",
        type=_count,
        default=default.crops_per_epoch,
        metavar="N",
        help="draw so many crops an epoch (default: %(default)s)",
    )
    group.add_argument(
        "--validation-share",
        type=_share,
        default=default.validation_fraction,
        metavar="SHARE",
        help="of the participants, held out to choose the threshold (default: %(default)s)",
    )
    group.add_argument(
        "--learning-rate",
        type=_positive,
        default=default.learning_rate,
        metavar="R",
        help="the highest of a training (default: %(default)s)",
    )
    group.add_argument(
        "--start-from",
        type=_model,
        metavar="MODEL",
        help="begin with the weights of this model file, or of the packaged one: default; needs fewer epochs",
    )
    group.add_argument(
        "--kept-share",
        type=_share,
        default=TrainConfig.kept_share,
        metavar="SHARE",
        help="with --start-from: how much of that model's weights the average with the trained ones keeps "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--label-maps",
        nargs="+",
        type=_path,
        default=[],
        metavar="PATH",
        help="with --lesion-masks: train on synthetic heads of these label maps, too (files or folders)",
    )
    group.add_argument(
        "--synthetic-share",
        type=_share,
        default=default.synthetic_share,
        metavar="SHARE",
        help="of the crops, those of synthetic heads where there are labelled visits, too (default: %(default)s)",
    )
    group.add_argument(
        "--insertions",
        type=_seed,
        default=HeadsConfig.n_insertions,
        metavar="N",
        help="with a collection of single lesions (NPZ) among --lesion-masks: train on N copies of each labelled scan "
        "with such lesions put into it, too (default: %(default)s)",
    )
    group.add_argument(
        "--component-power",
        type=_share,
        default=default.component_power,
        metavar="P",
        help="a lesion voxel weighs its lesion's size to the power of minus P: 0 makes all voxels count the same, "
        "1 all lesions (default: %(default)s)",
    )
    group.add_argument(
        "--cross-validate",
        type=_folds,
        metavar="{loo,K}",
        help="leave out each participant in turn (loo), or each of K parts of them, and evaluate what is left out",
    )
    group.add_argument(
        "--fold", type=_count, metavar="I", help="work on this fold only, from 1; without --fold, all are gathered"
    )


def _add_synthesis(group: Any) -> None:
    default = SynthesizeConfig(())
    group.add_argument(
        "--lesion-masks",
        nargs="+",
        type=_path,
        default=[],
        metavar="PATH",
        help="lesion masks in MNI space, or folders of them, for synthetic heads; when synthesizing, bids_dir is a "
        "folder of label maps",
    )
    group.add_argument(
        "--n-heads",
        type=_count,
        metavar="N",
        help=f"synthetic heads to make (default: {default.n_heads}; to train on: {HeadsConfig.n_heads})",
    )
    group.add_argument(
        "--protocol",
        choices=SYNTHETIC_PROTOCOLS,
        default=default.protocol,
        help="scans of all kinds, 3D ones, or thick slices (default: %(default)s)",
    )
    group.add_argument(
        "--lesion-free-share",
        type=_share,
        metavar="SHARE",
        help=f"of the heads, those without any lesion (default: {default.lesion_free_share}); to train on: of the "
        "heads' crops (default: some 2 in 100)",
    )


def _add_running(group: Any) -> None:
    group.add_argument("-w", "--work-dir", type=_path, metavar="DIR", help="intermediate results, to resume from")
    group.add_argument(
        "--clean-workdir",
        action="store_true",
        help="participant level: delete what finished visits have left in the work folder",
    )
    group.add_argument(
        "--nprocs", "--n-cpus", type=_count, metavar="N", help="processors to use (default: all allowed)"
    )
    group.add_argument("--omp-nthreads", type=_count, metavar="N", help="threads of one process (default: up to 8)")
    group.add_argument("--mem-gb", type=_positive, metavar="GB", help="memory to use (default: 90 %% of what is free)")
    group.add_argument("--device", default="auto", metavar="{auto,cpu,cuda,cuda:N}", help="where the networks run")
    group.add_argument("--stop-on-first-crash", action="store_true", help="don't go on with the other participants")
    group.add_argument("--write-graph", action="store_true", help="draw the workflow into the log folder")
    group.add_argument("--use-plugin", type=_path, metavar="FILE", help="nipype plugin and its arguments, as YAML")
    group.add_argument("--resource-monitor", action="store_true", help="record each step's memory and processor use")


def _run_level(options: argparse.Namespace) -> int:
    """Make the configuration and hand over; what is heavy is imported only here."""
    if options.analysis_level == "synthesize":
        return _run_synthesize(options)
    inputs = _make_inputs(options)
    if options.list_participants:
        return _print_participants(options, inputs)
    if options.analysis_level == "group":
        from bids_cascade.levels.group import run_group

        return run_group(inputs)
    if options.analysis_level in ("train", "evaluate") and not options.labels:
        raise UsageError(f"{options.analysis_level} needs --labels: the dataset of manual lesion masks")
    if options.fold is not None and options.cross_validate is None:
        raise UsageError("--fold needs --cross-validate: it says which of its folds to work on")
    options.labels = _located(options.labels, inputs.bids_dir)
    options.predictions = _located(options.predictions, inputs.bids_dir)
    run = _make_run(options, inputs)
    with contained(run.work_dir):
        if options.analysis_level == "evaluate":
            from bids_cascade.levels.evaluate import run_evaluate

            return run_evaluate(inputs, EvaluateConfig(options.labels, options.predictions, options.random_seed))
        prepare_workers()
        if options.analysis_level == "train":
            return _run_train(options, inputs, run)
        return _run_participant(options, inputs, run)


def _run_participant(options: argparse.Namespace, inputs: Inputs, run: RunConfig) -> int:
    """Segment, and let the dataset be validated while that which is needed is imported."""
    validation = Validation(inputs.bids_dir) if inputs.validate else None
    try:
        with importing():
            from bids_cascade.levels.participant import run_participant
        return run_participant(inputs, _make_participant(options), run, validation)
    finally:
        if validation is not None:
            validation.stop()


def _run_train(options: argparse.Namespace, inputs: Inputs, run: RunConfig) -> int:
    """Train once, or by cross-validation."""
    config = _make_train(options)
    if options.cross_validate is None:
        from bids_cascade.levels.train import run_train

        return run_train(inputs, config, run)
    from bids_cascade.levels.cross_validation import run_cross_validation

    return run_cross_validation(
        inputs, config, CrossValidationConfig(options.cross_validate or None, options.fold), run
    )


def _print_participants(options: argparse.Namespace, inputs: Inputs) -> int:
    """Print the labels of those there is to process, one a line, for a job array; nothing is written."""
    if options.analysis_level != "participant":
        raise UsageError("--list-participants goes with the participant level")
    from bids_cascade.levels.listing import list_participants

    labels = list_participants(inputs, _make_participant(options), options.list_participants == "unfinished")
    if labels:
        say("\n".join(labels))
    return OK


def _make_participant(options: argparse.Namespace) -> ParticipantConfig:
    return ParticipantConfig(
        model=options.model,
        threshold=options.threshold,
        min_lesion_volume_mm3=options.min_lesion_volume_mm3,
        skull_strip=options.skull_strip,
        seed=options.random_seed,
        half_precision=options.half_precision,
        guess_orientation=options.guess_orientation,
    )


def _run_synthesize(options: argparse.Namespace) -> int:
    """Run the one level whose input is no dataset and that needs no work folder."""
    if not options.lesion_masks:
        raise UsageError("synthesize needs --lesion-masks: the masks whose lesions the heads get")
    config = SynthesizeConfig(
        lesion_masks=tuple(options.lesion_masks),
        n_heads=options.n_heads or SynthesizeConfig.n_heads,
        protocol=options.protocol,
        lesion_free_share=(
            SynthesizeConfig.lesion_free_share if options.lesion_free_share is None else options.lesion_free_share
        ),
        seed=options.random_seed,
    )
    from bids_cascade.levels.synthesize import run_synthesize

    n_procs = options.nprocs or allowed_processors()
    return run_synthesize(options.bids_dir, options.output_dir, config, n_procs)


def _make_inputs(options: argparse.Namespace) -> Inputs:
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
        raise MissingInputError(f"{path}: there is no such filter file") from error
    except BadDataError as error:
        raise UsageError(f"the filter file {error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: the filter file can't be read as JSON: {error}") from error
    if not isinstance(filters, dict) or not all(isinstance(value, dict) for value in filters.values()):
        raise UsageError(f'{path}: expected a JSON object of objects, such as {{"t1w": {{"acquisition": "mprage"}}}}')
    return filters


def _make_train(options: argparse.Namespace) -> TrainConfig:
    sequences = tuple(sequence for sequence in SEQUENCES if sequence in options.sequences)
    if CascadeConfig.candidate_sequence not in sequences:
        raise UsageError(f"--sequences needs {CascadeConfig.candidate_sequence}, in which candidates are looked for")
    heads = _make_heads(options, sequences)
    if options.kept_share and options.start_from is None:
        raise UsageError("--kept-share needs --start-from: the model of whose weights it is a share")
    if options.validation_share == 1 and heads is None:
        raise UsageError("--validation-share 1 leaves no one to train on; only with --label-maps may it be 1")
    return TrainConfig(
        labels=options.labels,
        cascade=CascadeConfig(sequences).with_choices(options.threshold, options.min_lesion_volume_mm3),
        training=TrainingConfig(
            max_epochs=options.max_epochs,
            crops_per_epoch=options.crops_per_epoch,
            validation_fraction=options.validation_share,
            learning_rate=options.learning_rate,
            synthetic_share=options.synthetic_share,
            lesion_free_share=options.lesion_free_share,
            component_power=options.component_power,
            half_precision=options.half_precision,
            seed=options.random_seed,
        ),
        heads=heads,
        start_from=options.start_from,
        kept_share=options.kept_share,
        choose_threshold=options.threshold is None,
        skull_strip=options.skull_strip,
        name=options.model_name,
        guess_orientation=options.guess_orientation,
    )


def _make_heads(options: argparse.Namespace, sequences: Sequence[str]) -> HeadsConfig | None:
    if not options.label_maps and not options.lesion_masks:
        return None
    if not options.label_maps or not options.lesion_masks:
        raise UsageError("synthetic heads need both --label-maps and --lesion-masks")
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


def _make_run(options: argparse.Namespace, inputs: Inputs) -> RunConfig:
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
        clean_work_dir=options.clean_workdir,
    )


def _path(text: str) -> Path:
    """Return an absolute path: the app leaves the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found nothing")
    try:
        return Path(text).absolute()
    except FileNotFoundError as error:
        raise argparse.ArgumentTypeError(f"`{text}` has no meaning: the current folder is gone") from error


def _model(text: str) -> Path:
    """Return the path of a model file; the packaged one is called default."""
    if text != "default":
        return _path(text)
    from bids_cascade.models.store import PACKAGED_MODEL

    return PACKAGED_MODEL


def _derivative(text: str) -> str:
    """Return the name of a derivative dataset, or its path, absolute."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected the name or path of a derivative dataset, found nothing")
    is_name = Path(text).parts == (text,) and text != ".."
    return text if is_name else str(_path(text))


def _located(derivative: str | None, bids_dir: Path) -> str | None:
    """Return the path of a derivative dataset that is named as if in the dataset, but lies in the current folder."""
    if derivative is None or (bids_dir / "derivatives" / derivative).is_dir() or not Path(derivative).is_dir():
        return derivative
    return str(Path(derivative).absolute())


def _label(text: str) -> str:
    """Return what may follow ``sub-`` or ``ses-``."""
    if not re.fullmatch(r"[0-9a-zA-Z+]+", text.removeprefix("sub-").removeprefix("ses-")):
        raise argparse.ArgumentTypeError(f"expected a label of letters, digits and +, found `{text}`")
    return text


def _name(text: str) -> str:
    """Return what can be the name of a file."""
    if not re.fullmatch(r"[0-9a-zA-Z][\w.+-]{0,99}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"expected a name of at most 100 letters, digits and _.+-, the first a letter or digit, found `{text}`"
        )
    return text


def _fraction(text: str) -> float:
    return _number(text, lambda value: 0 < value <= 1, "a probability above 0 and at most 1")


def _share(text: str) -> float:
    return _number(text, lambda value: 0 <= value <= 1, "a share from 0 to 1")


def _not_negative(text: str) -> float:
    return _number(text, lambda value: value >= 0, "a number that is not negative")


def _positive(text: str) -> float:
    return _number(text, lambda value: value > 0, "a number above 0")


def _count(text: str) -> int:
    return int(_number(text, lambda value: value >= 1 and value == int(value), "a whole number above 0"))


def _folds(text: str) -> int:
    """Return how many folds; 0 for as many as there are subjects."""
    if text == "loo":
        return 0
    return int(_number(text, lambda value: value >= 2 and value == int(value), "loo or a whole number above 1"))


def _seed(text: str) -> int:
    return int(
        _number(text, lambda value: 0 <= value < 2**31 and value == int(value), "a whole number from 0 to 2^31-1")
    )


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (abs(value) < float("inf") and fits(value)):
        raise argparse.ArgumentTypeError(f"expected {expected}, found `{text}`")
    return value


def _set_up_logging(verbosity: int) -> None:
    level = logging.DEBUG if verbosity > 1 else logging.INFO
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )
    _LOGGER.setLevel(level)
    _LOGGER.getChild("steps").setLevel(logging.INFO if verbosity else logging.WARNING)
    logging.getLogger().handlers[0].addFilter(_Once())


class _Once(logging.Filter):
    """Lets a warning through once, however many parts of the app come across its reason."""

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
