"""The parser of the command line."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from bids_cascade import __version__
from bids_cascade.cli import values
from bids_cascade.config import (
    SEQUENCES,
    SKULL_STRIP_MODES,
    SYNTHETIC_PROTOCOLS,
    HeadsConfig,
    SynthesizeConfig,
    TrainConfig,
    TrainingConfig,
)
from bids_cascade.errors import UsageError

LEVELS = ("participant", "group", "train", "evaluate", "synthesize")


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would exit with, so that exit codes are decided in one place."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see --help")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = _Parser(
        prog="bids-cascade",
        description="Find multiple-sclerosis lesions in brain MRI with a cascade of two 3D CNNs (a BIDS App).",
        epilog="Not a medical device. Exit codes follow the BIDS Apps execution specification.",
    )
    parser.add_argument(
        "bids_dir", type=values.path_of, help="root folder of the BIDS dataset; for synthesize, of label maps"
    )
    parser.add_argument("output_dir", type=values.path_of, help="root folder of the derivatives; made if needed")
    parser.add_argument("analysis_level", metavar="{" + ",".join(LEVELS) + "}", help="what to do")
    parser.add_argument("--version", action="version", version=f"bids_cascade {__version__}")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; -vv for debugging")
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
        type=values.label,
        default=[],
        metavar="LABEL",
        help="with or without sub-",
    )
    group.add_argument(
        *("--session-label", "--session_label"),
        nargs="+",
        type=values.label,
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
        type=values.path_of,
        metavar="FILE",
        help="JSON: by sequence, the entities to match; .bidsignore sets no image aside",
    )
    group.add_argument("--skip-bids-validation", action="store_true", help="don't run bids-validator on the input")
    group.add_argument(
        "--bids-database-dir", type=values.path_of, metavar="DIR", help="where to keep pybids's index of the input"
    )


def _add_segmentation(group: Any) -> None:
    group.add_argument("--model", type=values.path_of, metavar="FILE", help="model file (default: the packaged one)")
    group.add_argument(
        "--threshold",
        type=values.probability,
        metavar="P",
        help="probability from which a voxel is lesion (default: the model's; when training, chosen)",
    )
    group.add_argument(
        "--min-lesion-volume-mm3",
        type=values.not_negative,
        metavar="V",
        help="drop smaller lesions (default: the model's)",
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
        "--random-seed", type=values.seed, default=0, metavar="N", help="seed of all that is random (default: 0)"
    )


def _add_evaluation(group: Any) -> None:
    group.add_argument(
        "--labels",
        type=values.derivative,
        metavar="DERIVATIVE",
        help="dataset of manual lesion masks: a path, or a name under bids_dir/derivatives",
    )
    group.add_argument(
        "--predictions",
        type=values.derivative,
        metavar="DERIVATIVE",
        help="evaluate: dataset of predicted lesion masks, named in the same way (default: output_dir)",
    )


def _add_training(group: Any) -> None:
    default = TrainingConfig()
    group.add_argument(
        "--sequences", nargs="+", choices=SEQUENCES, default=["T1w", "FLAIR"], help="channels (default: T1w FLAIR)"
    )
    group.add_argument(
        "--model-name",
        type=values.file_name,
        default="cascade",
        metavar="NAME",
        help="name of the model (default: cascade)",
    )
    group.add_argument(
        "--max-epochs", type=values.count, default=default.max_epochs, metavar="N", help="(default: %(default)s)"
    )
    group.add_argument(
        "--crops-per-epoch",
        type=values.count,
        default=default.crops_per_epoch,
        metavar="N",
        help="draw so many crops an epoch (default: %(default)s)",
    )
    group.add_argument(
        "--validation-share",
        type=values.share,
        default=default.validation_fraction,
        metavar="SHARE",
        help="of the participants, held out to choose the threshold (default: %(default)s)",
    )
    group.add_argument(
        "--learning-rate",
        type=values.positive,
        default=default.learning_rate,
        metavar="R",
        help="the highest of a training (default: %(default)s)",
    )
    group.add_argument(
        "--start-from",
        type=values.model_file,
        metavar="MODEL",
        help="begin with the weights of this model file, or of the packaged one: default; needs fewer epochs",
    )
    group.add_argument(
        "--kept-share",
        type=values.share,
        default=TrainConfig.kept_share,
        metavar="SHARE",
        help="with --start-from: how much of that model's weights the average with the trained ones keeps "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--label-maps",
        nargs="+",
        type=values.path_of,
        default=[],
        metavar="PATH",
        help="with --lesion-masks: train on synthetic heads of these label maps, too (files or folders)",
    )
    group.add_argument(
        "--synthetic-share",
        type=values.share,
        default=default.synthetic_share,
        metavar="SHARE",
        help="of the crops, those of synthetic heads where there are labelled visits, too (default: %(default)s)",
    )
    group.add_argument(
        "--insertions",
        type=values.seed,
        default=HeadsConfig.n_insertions,
        metavar="N",
        help="with a collection of single lesions (NPZ) among --lesion-masks: train on N copies of each labelled scan "
        "with such lesions put into it, too (default: %(default)s)",
    )
    group.add_argument(
        "--component-power",
        type=values.share,
        default=default.component_power,
        metavar="P",
        help="a lesion voxel weighs its lesion's size to the power of minus P: 0 makes all voxels count the same, "
        "1 all lesions (default: %(default)s)",
    )
    group.add_argument(
        "--cross-validate",
        type=values.n_folds,
        metavar="{loo,K}",
        help="leave out each participant in turn (loo), or each of K parts of them, and evaluate what is left out",
    )
    group.add_argument(
        "--fold",
        type=values.count,
        metavar="I",
        help="work on this fold only, from 1; without --fold, all are gathered",
    )


def _add_synthesis(group: Any) -> None:
    default = SynthesizeConfig(())
    group.add_argument(
        "--lesion-masks",
        nargs="+",
        type=values.path_of,
        default=[],
        metavar="PATH",
        help="lesion masks in MNI space, or folders of them, for synthetic heads; when synthesizing, bids_dir is a "
        "folder of label maps",
    )
    group.add_argument(
        "--n-heads",
        type=values.count,
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
        type=values.share,
        metavar="SHARE",
        help=f"of the heads, those without any lesion (default: {default.lesion_free_share}); to train on: of the "
        "heads' crops (default: some 2 in 100)",
    )


def _add_running(group: Any) -> None:
    group.add_argument(
        "-w", "--work-dir", type=values.path_of, metavar="DIR", help="intermediate results, to resume from"
    )
    group.add_argument(
        "--clean-workdir",
        action="store_true",
        help="participant level: delete what finished visits have left in the work folder",
    )
    group.add_argument(
        "--nprocs", "--n-cpus", type=values.count, metavar="N", help="processors to use (default: all allowed)"
    )
    group.add_argument(
        "--omp-nthreads", type=values.count, metavar="N", help="threads of one process (default: up to 8)"
    )
    group.add_argument(
        "--mem-gb", type=values.positive, metavar="GB", help="memory to use (default: 90 %% of what is free)"
    )
    group.add_argument("--device", default="auto", metavar="{auto,cpu,cuda,cuda:N}", help="where the networks run")
    group.add_argument("--stop-on-first-crash", action="store_true", help="don't go on with the other participants")
    group.add_argument("--write-graph", action="store_true", help="draw the workflow into the log folder")
    group.add_argument(
        "--use-plugin", type=values.path_of, metavar="FILE", help="nipype plugin and its arguments, as YAML"
    )
    group.add_argument("--resource-monitor", action="store_true", help="record each step's memory and processor use")
