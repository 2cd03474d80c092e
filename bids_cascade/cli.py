"""The command line: arguments to configuration, one level, an exit code."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from bids_cascade import __version__
from bids_cascade.config import (
    SEQUENCES,
    SKULL_STRIP_MODES,
    SYNTHETIC_PROTOCOLS,
    CascadeConfig,
    Inputs,
    ParticipantConfig,
    RunConfig,
    Selection,
    SynthesizeConfig,
    TrainConfig,
    TrainingConfig,
)
from bids_cascade.errors import BidsCascadeError, MissingInputError, OutputError, UnknownLevelError, UsageError

LEVELS = ("participant", "train", "synthesize")

_LOGGER = logging.getLogger("bids_cascade")


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would exit with, so that exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        options = build_parser().parse_args(arguments)
        _set_up_logging(options.verbose)
        signal.signal(signal.SIGTERM, _stop)
        if options.analysis_level not in LEVELS:
            raise UnknownLevelError(
                f"there is no analysis level `{options.analysis_level}`; expected one of {', '.join(LEVELS)}"
            )
        return _run_level(options)
    except BidsCascadeError as error:
        print(f"bids_cascade: error: {error}", file=sys.stderr)
        _LOGGER.debug("where it came from", exc_info=True)
        return error.exit_code
    except KeyboardInterrupt:
        print("bids_cascade: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except Exception as error:  # the last resort: an unforeseen error is still one line and an exit code
        print(
            f"bids_cascade: unexpected {type(error).__name__}: {error}; please report it, with what -vv says",
            file=sys.stderr,
        )
        _LOGGER.debug("where it came from", exc_info=True)
        return BidsCascadeError.exit_code


def _stop(*_: object) -> NoReturn:
    """End as Ctrl-C does when the system or a batch scheduler asks to."""
    raise KeyboardInterrupt


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="bids-cascade",
        description="Find multiple-sclerosis lesions in brain MRI with a cascade of two 3D CNNs (a BIDS App).",
        epilog="Not a medical device. Exit codes follow the BIDS Apps execution specification.",
    )
    parser.add_argument("bids_dir", type=Path, help="root folder of the BIDS dataset; for synthesize, of label maps")
    parser.add_argument("output_dir", type=Path, help="root folder of the derivatives; made if needed")
    parser.add_argument("analysis_level", metavar="{" + ",".join(LEVELS) + "}", help="what to do")
    parser.add_argument("--version", action="version", version=f"bids_cascade {__version__}")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv for debugging")
    _add_selection(parser.add_argument_group("what to process"))
    _add_segmentation(parser.add_argument_group("what to compute"))
    _add_training(parser.add_argument_group("train level"))
    _add_synthesis(parser.add_argument_group("synthesize level"))
    _add_running(parser.add_argument_group("how to run; changes no result"))
    return parser


def _add_selection(group: Any) -> None:
    group.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="with or without sub-",
    )
    group.add_argument(
        "--session-label", "--session_label", nargs="+", default=[], metavar="LABEL", help="with or without ses-"
    )
    group.add_argument("--bids-filter-file", type=Path, metavar="FILE", help="JSON: by sequence, the entities to match")
    group.add_argument("--skip-bids-validation", action="store_true", help="don't run bids-validator on the input")
    group.add_argument(
        "--bids-database-dir", type=Path, metavar="DIR", help="where to keep pybids's index of the input"
    )


def _add_segmentation(group: Any) -> None:
    group.add_argument("--model", type=Path, metavar="FILE", help="model file (default: the packaged one)")
    group.add_argument(
        "--threshold",
        type=_fraction,
        metavar="P",
        help="probability from which a voxel is lesion (default: the model's)",
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
        "--random-seed", type=_seed, default=0, metavar="N", help="seed of all that is random (default: 0)"
    )


def _add_training(group: Any) -> None:
    default = TrainingConfig()
    group.add_argument(
        "--labels",
        metavar="DERIVATIVE",
        help="dataset of manual lesion masks: a path, or a name under bids_dir/derivatives",
    )
    group.add_argument(
        "--sequences", nargs="+", choices=SEQUENCES, default=["T1w", "FLAIR"], help="channels (default: T1w FLAIR)"
    )
    group.add_argument("--model-name", default="cascade", metavar="NAME", help="name of the model (default: cascade)")
    group.add_argument(
        "--max-epochs", type=_count, default=default.max_epochs, metavar="N", help="(default: %(default)s)"
    )
    group.add_argument("--patience", type=_count, default=default.patience, metavar="N", help="(default: %(default)s)")
    group.add_argument(
        "--max-samples-per-epoch", type=_count, metavar="N", help="draw so many patches an epoch (default: all)"
    )


def _add_synthesis(group: Any) -> None:
    default = SynthesizeConfig(())
    group.add_argument(
        "--lesion-masks",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="lesion masks in MNI space, or folders of them; bids_dir then is a folder of label maps",
    )
    group.add_argument("--n-heads", type=_count, default=default.n_heads, metavar="N", help="(default: %(default)s)")
    group.add_argument(
        "--protocol",
        choices=SYNTHETIC_PROTOCOLS,
        default=default.protocol,
        help="scans of all kinds, 3D ones, or thick slices (default: %(default)s)",
    )
    group.add_argument(
        "--lesion-free-share",
        type=_share,
        default=default.lesion_free_share,
        metavar="SHARE",
        help="of the heads, from 0 to 1 (default: %(default)s)",
    )


def _add_running(group: Any) -> None:
    group.add_argument("-w", "--work-dir", type=Path, metavar="DIR", help="intermediate results, to resume from")
    group.add_argument("--clean-workdir", action="store_true", help="delete the work folder when all went well")
    group.add_argument(
        "--nprocs", "--n-cpus", type=_count, metavar="N", help="processors to use (default: all allowed)"
    )
    group.add_argument("--omp-nthreads", type=_count, metavar="N", help="threads of one process (default: up to 8)")
    group.add_argument("--mem-gb", type=_positive, metavar="GB", help="memory to use (default: 90 %% of what is free)")
    group.add_argument("--device", default="auto", metavar="{auto,cpu,cuda,cuda:N}", help="where the networks run")
    group.add_argument("--stop-on-first-crash", action="store_true", help="don't go on with the other participants")
    group.add_argument("--write-graph", action="store_true", help="draw the workflow into the log folder")
    group.add_argument("--use-plugin", type=Path, metavar="FILE", help="nipype plugin and its arguments, as YAML")
    group.add_argument("--resource-monitor", action="store_true", help="record each step's memory and processor use")


def _run_level(options: argparse.Namespace) -> int:
    """Make the configuration and hand over; what is heavy is imported only here."""
    if options.analysis_level == "synthesize":
        return _run_synthesize(options)
    inputs = _make_inputs(options)
    if options.analysis_level == "train" and not options.labels:
        raise UsageError("train needs --labels: the dataset of manual lesion masks to learn from")
    run = _make_run(options, inputs)
    _quieten_libraries(run.work_dir)
    if options.analysis_level == "train":
        train_config = _make_train(options)
        from bids_cascade.levels.train import run_train

        return run_train(inputs, train_config, run)
    from bids_cascade.levels.participant import run_participant

    config = ParticipantConfig(
        model=options.model,
        threshold=options.threshold,
        min_lesion_volume_mm3=options.min_lesion_volume_mm3,
        skull_strip=options.skull_strip,
        seed=options.random_seed,
    )
    return run_participant(inputs, config, run)


def _run_synthesize(options: argparse.Namespace) -> int:
    """Run the one level whose input is no dataset and that needs no work folder."""
    if not options.lesion_masks:
        raise UsageError("synthesize needs --lesion-masks: the masks whose lesions the heads get")
    config = SynthesizeConfig(
        lesion_masks=tuple(path.absolute() for path in options.lesion_masks),
        n_heads=options.n_heads,
        protocol=options.protocol,
        lesion_free_share=options.lesion_free_share,
        seed=options.random_seed,
    )
    from bids_cascade.levels.synthesize import run_synthesize

    n_procs = options.nprocs or _allowed_processors()
    return run_synthesize(options.bids_dir.absolute(), options.output_dir.absolute(), config, n_procs)


def _make_inputs(options: argparse.Namespace) -> Inputs:
    selection = Selection(
        participants=tuple(label.removeprefix("sub-") for label in options.participant_label),
        sessions=tuple(label.removeprefix("ses-") for label in options.session_label),
        filters=_read_filters(options.bids_filter_file),
    )
    return Inputs(
        bids_dir=options.bids_dir.absolute(),
        out_dir=options.output_dir.absolute(),
        selection=selection,
        database_dir=options.bids_database_dir,
        validate=not options.skip_bids_validation,
    )


def _read_filters(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        filters = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: there is no such filter file") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: the filter file can't be read as JSON: {error}") from error
    if not isinstance(filters, dict) or not all(isinstance(value, dict) for value in filters.values()):
        raise UsageError(f'{path}: expected a JSON object of objects, such as {{"t1w": {{"acquisition": "mprage"}}}}')
    return filters


def _make_train(options: argparse.Namespace) -> TrainConfig:
    sequences = tuple(sequence for sequence in SEQUENCES if sequence in options.sequences)
    if CascadeConfig.candidate_sequence not in sequences:
        raise UsageError(f"--sequences needs {CascadeConfig.candidate_sequence}, in which candidates are looked for")
    return TrainConfig(
        labels=options.labels,
        cascade=CascadeConfig(sequences).with_choices(options.threshold, options.min_lesion_volume_mm3),
        training=TrainingConfig(
            max_epochs=options.max_epochs,
            patience=options.patience,
            max_samples_per_epoch=options.max_samples_per_epoch,
            seed=options.random_seed,
        ),
        skull_strip=options.skull_strip,
        name=options.model_name,
    )


def _make_run(options: argparse.Namespace, inputs: Inputs) -> RunConfig:
    n_procs = options.nprocs or _allowed_processors()
    return RunConfig(
        work_dir=_make_work_dir(options.work_dir, inputs),
        n_procs=n_procs,
        omp_nthreads=min(options.omp_nthreads or min(n_procs, 8), n_procs),
        mem_gb=options.mem_gb or _free_memory_gb(),
        device=_resolve_device(options.device),
        plugin_file=options.use_plugin,
        stop_on_first_crash=options.stop_on_first_crash,
        write_graph=options.write_graph,
        resource_monitor=options.resource_monitor,
        clean_work_dir=options.clean_workdir,
    )


def _make_work_dir(asked_for: Path | None, inputs: Inputs) -> Path:
    """Make the work folder: the one asked for, or one in the temporary folder that a second run finds again."""
    if asked_for is None:
        import hashlib

        key = hashlib.sha256(f"{inputs.bids_dir.absolute()}\n{inputs.out_dir.absolute()}".encode()).hexdigest()[:12]
        asked_for = Path(tempfile.gettempdir()) / f"bids_cascade_{os.getuid()}_{key}"
    work_dir = asked_for.absolute()
    if work_dir.is_relative_to(inputs.bids_dir.absolute()) and inputs.bids_dir.is_dir():
        raise UsageError(f"the work folder {work_dir} lies inside the input dataset; choose another with -w")
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work_dir):
            pass
    except OSError as error:
        raise OutputError(
            f"can't write to the work folder {work_dir}: {error.strerror}; choose another with -w"
        ) from error
    return work_dir


def _allowed_processors() -> int:
    """Return how many processors this process may use: its affinity, or Slurm's word if that is less."""
    allowed = len(os.sched_getaffinity(0))
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(allowed, int(slurm)) if slurm.isdigit() and int(slurm) > 0 else allowed


def _free_memory_gb() -> float:
    """Return 90 % of the memory that is free, or of what the control group leaves if that is less."""
    import psutil

    free: float = psutil.virtual_memory().available
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            limit_bytes, used_bytes = (int(Path("/sys/fs/cgroup", name).read_text()) for name in (limit, used))
        except (OSError, ValueError):
            continue
        free = min(free, limit_bytes - used_bytes)
    return 0.9 * free / 1e9


def _resolve_device(asked_for: str) -> str:
    """Return ``cpu``, ``cuda`` or ``cuda:N``: nipype must know before the graph is built."""
    kind, _, number = asked_for.partition(":")
    if asked_for not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdigit()):
        raise UsageError(f"--device {asked_for}: expected auto, cpu, cuda or cuda:N")
    if asked_for == "cpu" or (asked_for == "auto" and not _has_nvidia_driver()):
        return "cpu"
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked_for == "auto":
        return "cuda" if count else "cpu"
    if int(number or 0) >= count:
        raise UsageError(f"--device {asked_for}: torch finds {count} CUDA devices here; use --device cpu or auto")
    return asked_for


def _has_nvidia_driver() -> bool:
    return any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/dxg"))


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


def _quieten_libraries(work_dir: Path) -> None:
    """Keep libraries from talking to the network and from writing into the home folder."""
    for name in ("NO_ET", "NIPYPE_NO_ET"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("MPLCONFIGDIR", str(work_dir / "bids_cascade_matplotlib"))
