"""The only table of levels and options: the source of the parser, its check, ``--help``, the docs and Boutiques."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

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

LEVELS = {
    "participant": "segment the lesions of every visit that has the sequences the model needs",
    "longitudinal": "compare the finished visits of each participant, as the participant level does at its end",
    "group": "summarise the results in output_dir as tables and a page; nothing is recomputed",
    "train": "train a model from scans with lesion masks, or adapt one",
    "evaluate": "compare lesion masks with reference masks",
    "synthesize": "make synthetic heads with known lesions from label maps",
}
EXAMPLES = (
    "bids-cascade data/ out/ participant --participant-label 01 02 --work-dir work/",
    "bids-cascade data/ out/ longitudinal",
    "bids-cascade data/ out/ group",
    "bids-cascade data/ out/ train --labels manual --start-from default --max-epochs 5 --learning-rate 0.0005",
    "bids-cascade data/ out/ evaluate --labels manual",
    "bids-cascade label-maps/ heads/ synthesize --lesion-masks masks/",
)


@dataclass(frozen=True)
class Option:
    """An option, and the levels that use it.

    Attributes
    ----------
    names : tuple of str
        The first is used in messages; the others are aliases, among them fMRIPrep's.
    levels : tuple of str
        The levels that use it; the others refuse it.
    help : str
    settings : dict
        Further arguments for argparse.
    required : tuple of str
        The levels that require it.
    needs : str
        Name of the option without which it has no effect, at levels that have that option.
    """

    names: tuple[str, ...]
    levels: tuple[str, ...]
    help: str
    settings: dict[str, Any]
    required: tuple[str, ...] = ()
    needs: str = ""

    @property
    def dest(self) -> str:
        """Argparse's name of the value."""
        long = next(name for name in self.names if name.startswith("--"))
        return str(self.settings.get("dest", long[2:].replace("-", "_")))

    @property
    def help_with_levels(self) -> str:
        """The help text, and the levels that use the option if some do not."""
        return self.help if set(self.levels) == set(LEVELS) else f"{self.help} [{', '.join(self.levels)}]"


def _option(
    *names: str, levels: tuple[str, ...], help: str, required: tuple[str, ...] = (), needs: str = "", **settings: Any
) -> Option:
    return Option(names, levels, help, settings, required, needs)


def options_of(level: str) -> list[Option]:
    """Return the options that a level uses."""
    return [option for options in OPTIONS.values() for option in options if level in option.levels]


def check_options(level: str, given: Collection[str]) -> None:
    """Refuse options that the level does not use or that have no effect without another one, and missing ones.

    Parameters
    ----------
    level : str
        One of ``LEVELS``.
    given : collection of str
        The ``dest`` of each option on the command line.

    Raises
    ------
    UsageError
    """
    # Of two options for one value, such as --mem-gb and --mem, the first is named.
    by_dest = {option.dest: option for options in reversed(OPTIONS.values()) for option in reversed(options)}
    foreign = [option for name, option in reversed(by_dest.items()) if name in given and level not in option.levels]
    if foreign:
        named = ", ".join(f"{option.names[0]} ({', '.join(option.levels)})" for option in foreign)
        raise UsageError(f"the {level} level has no {named}; leave it out; see bids-cascade {level} --help")
    names = {option.names[0]: option.dest for option in options_of(level)}
    for option in options_of(level):
        if level in option.required and option.dest not in given:
            raise UsageError(f"{level} needs {option.names[0]}; see bids-cascade {level} --help")
        if option.dest in given and option.needs in names and names[option.needs] not in given:
            raise UsageError(f"{option.names[0]} needs {option.needs}, without which it does nothing")


_TRAINING = TrainingConfig()
_PARTICIPANT = ("participant",)
_TRAIN = ("train",)
_SYNTHESIZE = ("synthesize",)
_DATASET = ("participant", "longitudinal", "group", "train", "evaluate")
_IMAGES = ("participant", "train", "evaluate")
_SEGMENT = ("participant", "train")
_ALL = tuple(LEVELS)

OPTIONS: dict[str, tuple[Option, ...]] = {
    "what to process": (
        _option(
            *("--participant-label", "--participant_label"),
            levels=_DATASET,
            nargs="+",
            type=values.label,
            default=[],
            metavar="LABEL",
            help="participants to process, with or without sub-",
        ),
        _option(
            *("--session-label", "--session_label"),
            levels=("participant", "group", "train", "evaluate"),
            nargs="+",
            type=values.label,
            default=[],
            metavar="LABEL",
            help="sessions to process, with or without ses-",
        ),
        _option(
            "--list-participants",
            levels=_PARTICIPANT,
            choices=("all", "unfinished"),
            help="print the labels of all participants that can be processed, or only of those without results of this "
            "model and these thresholds",
        ),
        _option(
            "--bids-filter-file",
            levels=_IMAGES,
            type=values.path_of,
            metavar="FILE",
            help="JSON file of the BIDS entities to match, by sequence; .bidsignore excludes no image",
        ),
        _option(
            *("--skip-bids-validation", "--skip_bids_validation"),
            levels=_DATASET,
            action="store_true",
            help="don't run bids-validator on the input; the group and longitudinal levels never do",
        ),
        _option(
            "--bids-database-dir",
            levels=_IMAGES,
            type=values.path_of,
            metavar="DIR",
            help="folder in which pybids keeps its index of the input, for later runs",
        ),
    ),
    "what to compute": (
        _option(
            "--group-by",
            levels=("group",),
            metavar="COLUMN",
            help="column of participants.tsv: also map the lesion frequency for each of its values",
        ),
        _option(
            "--model",
            levels=("participant", "longitudinal"),
            type=values.model_file,
            metavar="FILE",
            help="model file, or default: the packaged one (default: default)",
        ),
        _option(
            "--threshold",
            levels=_SEGMENT,
            type=values.probability,
            metavar="P",
            help="probability from which a voxel is lesion (default: the model's; chosen when training)",
        ),
        _option(
            "--min-lesion-volume-mm3",
            levels=_SEGMENT,
            type=values.not_negative,
            metavar="V",
            help="drop smaller lesions (default: the model's)",
        ),
        _option(
            "--skull-strip",
            levels=_SEGMENT,
            choices=SKULL_STRIP_MODES,
            default="auto",
            help="auto: unless the T1w image, or the FLAIR where there is none, is skull-stripped; skip: never, its "
            "non-zero voxels are the brain; force: always",
        ),
        _option(
            "--require-sequences",
            levels=_PARTICIPANT,
            action="store_true",
            help="refuse visits without all of the model's sequences, even if it can do without some of them",
        ),
        _option(
            "--guess-orientation",
            levels=_SEGMENT,
            action="store_true",
            help="accept images with neither sform nor qform, whose left and right may be swapped; they are flagged",
        ),
        _option(
            "--no-longitudinal",
            levels=_PARTICIPANT,
            action="store_true",
            help="don't compare each visit with the participant's previous and first ones",
        ),
        _option(
            "--no-noise-floor",
            levels=("participant", "longitudinal"),
            action="store_true",
            help="don't measure how much change would be reported if nothing had changed: comparisons then take half "
            "the time",
        ),
        _option(
            "--no-anatomy",
            levels=_PARTICIPANT,
            action="store_true",
            help="leave out the regions of lesions, the filled T1w image and the mask in the template's space",
        ),
        _option(
            *("--output-spaces", "--output-space"),
            levels=_PARTICIPANT,
            nargs="+",
            type=values.template,
            default=[],
            metavar="TEMPLATE",
            help="also resample all images to these templates: MNI152NLin2009aSym, or TemplateFlow templates in "
            "TEMPLATEFLOW_HOME; nothing is downloaded",
        ),
        _option(
            "--half-precision",
            levels=_SEGMENT,
            action="store_true",
            help="half precision for the networks: faster on a GPU or a processor with bfloat16; a few voxels change",
        ),
        _option(
            "--random-seed",
            levels=("participant", "longitudinal", "train", "evaluate", "synthesize"),
            type=values.seed,
            default=0,
            metavar="N",
            help="random seed (default: 0)",
        ),
    ),
    "masks to learn from or to compare": (
        _option(
            "--labels",
            levels=("train", "evaluate"),
            required=("train", "evaluate"),
            type=values.derivative,
            metavar="DERIVATIVE",
            help="dataset of manual lesion masks: a path, or a name under bids_dir/derivatives",
        ),
        _option(
            "--predictions",
            levels=("evaluate",),
            type=values.derivative,
            metavar="DERIVATIVE",
            help="dataset of predicted lesion masks, named in the same way (default: output_dir)",
        ),
    ),
    "training": (
        _option(
            "--sequences",
            levels=_TRAIN,
            nargs="+",
            choices=SEQUENCES,
            default=["T1w", "FLAIR"],
            help="channels of the model (default: T1w FLAIR)",
        ),
        _option(
            "--model-name",
            levels=_TRAIN,
            type=values.file_name,
            default="cascade",
            metavar="NAME",
            help="name of the model (default: cascade)",
        ),
        _option(
            "--max-epochs",
            levels=_TRAIN,
            type=values.count,
            default=_TRAINING.max_epochs,
            metavar="N",
            help="epochs of each stage (default: %(default)s)",
        ),
        _option(
            "--second-stage-epochs",
            levels=_TRAIN,
            type=values.count,
            metavar="N",
            help="epochs of stage 2 (default: as for stage 1)",
        ),
        _option(
            "--crops-per-epoch",
            levels=_TRAIN,
            type=values.count,
            default=_TRAINING.crops_per_epoch,
            metavar="N",
            help="crops drawn per epoch (default: %(default)s)",
        ),
        _option(
            "--validation-fraction",
            levels=_TRAIN,
            type=values.fraction,
            default=_TRAINING.validation_fraction,
            metavar="FRACTION",
            help="fraction of the participants held out to choose the threshold (default: %(default)s)",
        ),
        _option(
            "--learning-rate",
            levels=_TRAIN,
            type=values.positive,
            default=_TRAINING.learning_rate,
            metavar="R",
            help="highest learning rate (default: %(default)s)",
        ),
        _option(
            "--start-from",
            levels=_TRAIN,
            type=values.model_file,
            metavar="MODEL",
            help="model file to start from, or default: the packaged one; needs fewer epochs",
        ),
        _option(
            "--second-stage-only",
            levels=_TRAIN,
            needs="--start-from",
            action="store_true",
            help="train stage 2 only, and keep stage 1 of the model to start from",
        ),
        _option(
            "--features",
            levels=_TRAIN,
            nargs=2,
            type=values.count,
            metavar=("N1", "N2"),
            help="features of the trained networks' two blocks (default: those of the model to start from, else 32 "
            "64); a smaller model is grown",
        ),
        _option(
            "--dense",
            levels=_TRAIN,
            nargs="+",
            type=values.count,
            metavar="N",
            help="widths of the trained networks' hidden dense layers (default: those of the model to start from, else "
            "256)",
        ),
        _option(
            "--convolutions",
            levels=_TRAIN,
            type=values.count,
            metavar="N",
            help="convolutions of each of the trained networks' blocks; the more, the larger the surroundings that "
            "decide about a voxel (default: as many as in the model to start from, else 1)",
        ),
        _option(
            "--kept-fraction",
            levels=_TRAIN,
            needs="--start-from",
            type=values.fraction,
            default=TrainConfig.kept_fraction,
            metavar="FRACTION",
            help="weight of the starting model in the average with the trained one (default: %(default)s)",
        ),
        _option(
            "--label-maps",
            levels=_TRAIN,
            needs="--lesion-masks",
            nargs="+",
            type=values.path_of,
            default=[],
            metavar="PATH",
            help="label maps (files or folders): also train on synthetic heads made from them; needs --lesion-masks",
        ),
        _option(
            "--synthetic-fraction",
            levels=_TRAIN,
            needs="--label-maps",
            type=values.fraction,
            default=_TRAINING.synthetic_fraction,
            metavar="FRACTION",
            help="fraction of crops from synthetic heads when there are also labelled visits (default: %(default)s)",
        ),
        _option(
            "--insertions",
            levels=_TRAIN,
            needs="--label-maps",
            type=values.seed,
            default=HeadsConfig.n_insertions,
            metavar="N",
            help="also train on N copies of each labelled scan with single lesions inserted; needs a collection of "
            "them (NPZ) among --lesion-masks (default: %(default)s)",
        ),
        _option(
            "--component-power",
            levels=_TRAIN,
            type=values.fraction,
            default=_TRAINING.component_power,
            metavar="P",
            help="weight lesion voxels by their lesion's size to the power -P: 0 weights all voxels equally, 1 all "
            "lesions (default: %(default)s)",
        ),
        _option(
            "--sequence-dropout",
            levels=_TRAIN,
            type=values.fraction,
            default=_TRAINING.sequence_dropout,
            metavar="P",
            help="fraction of the crops shown without some sequences, drawn at random, but never without FLAIR: the "
            "model then also works on scans that lack them (default: %(default)s)",
        ),
        _option(
            "--appearance-fraction",
            levels=_TRAIN,
            type=values.fraction,
            default=_TRAINING.appearance_fraction,
            metavar="P",
            help="fraction of the crops whose contrast, field, noise and sharpness are varied, for scanners and "
            "protocols that the training data lack (default: %(default)s)",
        ),
        _option(
            "--cross-validate",
            levels=_TRAIN,
            type=values.n_folds,
            metavar="{loo,K}",
            help="leave-one-out (loo) or K-fold cross-validation over participants",
        ),
        _option(
            "--fold",
            levels=_TRAIN,
            needs="--cross-validate",
            type=values.count,
            metavar="I",
            help="run only this fold, counted from 1; without --fold, all folds are run and their results gathered",
        ),
    ),
    "synthetic heads": (
        _option(
            "--lesion-masks",
            levels=("train", "synthesize"),
            required=_SYNTHESIZE,
            needs="--label-maps",
            nargs="+",
            type=values.path_of,
            default=[],
            metavar="PATH",
            help="lesion masks in MNI space, or folders of them, for synthetic heads; when synthesizing, bids_dir is a "
            "folder of label maps",
        ),
        _option(
            "--n-heads",
            levels=("train", "synthesize"),
            needs="--label-maps",
            type=values.count,
            metavar="N",
            help=f"number of heads to make (default: {SynthesizeConfig.n_heads}; when training: {HeadsConfig.n_heads})",
        ),
        _option(
            "--protocol",
            levels=_SYNTHESIZE,
            choices=SYNTHETIC_PROTOCOLS,
            default=SynthesizeConfig.protocol,
            help="acquisition of the scans: all kinds, 3D, or thick slices (default: %(default)s)",
        ),
        _option(
            "--lesion-free-fraction",
            levels=("train", "synthesize"),
            needs="--label-maps",
            type=values.fraction,
            metavar="FRACTION",
            help=f"fraction of heads without lesions (default: {SynthesizeConfig.lesion_free_fraction}); in training, "
            "of their crops (default: about 0.02)",
        ),
    ),
    "how to run; changes no results, but the number of threads changes a training": (
        _option("-v", "--verbose", levels=_ALL, action="count", default=0, help="log each step; -vv for debugging"),
        _option(
            *("--work-dir", "-w"),
            levels=_IMAGES,
            type=values.path_of,
            metavar="DIR",
            help="keep intermediate results here (default: in a temporary folder, and only until a visit is finished)",
        ),
        _option(
            "--clean-workdir",
            levels=_PARTICIPANT,
            action="store_true",
            help="with --work-dir: delete a visit's intermediate results as soon as it is finished",
        ),
        _option(
            *("--nprocs", "--nthreads", "--n-cpus", "--n_cpus"),
            levels=("participant", "longitudinal", "train", "synthesize"),
            type=values.count,
            metavar="N",
            help="processors to use (default: all allowed)",
        ),
        _option(
            "--omp-nthreads",
            levels=_SEGMENT,
            type=values.count,
            metavar="N",
            help="threads of one process (default: up to 8)",
        ),
        _option(
            "--mem-gb",
            levels=_SEGMENT,
            type=values.positive,
            metavar="GB",
            help="memory to use, in GB (default: 90 %% of what is free)",
        ),
        _option(
            *("--mem", "--mem-mb", "--mem_mb"),
            levels=_SEGMENT,
            dest="mem_gb",
            type=values.gb_of_mb,
            metavar="MB",
            help="like --mem-gb, but in MB or with a unit such as 16G, as in fMRIPrep",
        ),
        _option(
            "--device",
            levels=_SEGMENT,
            default="auto",
            metavar="{auto,cpu,cuda,cuda:N}",
            help="where the networks run (default: auto)",
        ),
        _option(
            "--stop-on-first-crash",
            levels=_SEGMENT,
            action="store_true",
            help="stop at the first failure instead of processing the other participants",
        ),
        _option("--write-graph", levels=_SEGMENT, action="store_true", help="draw the workflow into the log folder"),
        _option(
            *("--use-plugin", "--nipype-plugin-file"),
            levels=_SEGMENT,
            type=values.path_of,
            metavar="FILE",
            help="nipype plugin and its arguments, as YAML",
        ),
        _option(
            "--resource-monitor",
            levels=_SEGMENT,
            action="store_true",
            help="record each step's memory and processor use",
        ),
    ),
}
