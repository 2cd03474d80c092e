"""The command ``bids-cascade-model`` for model files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_cascade import __version__
from bids_cascade.cli import values
from bids_cascade.command import CommandParser, run_command
from bids_cascade.errors import OutputError, UsageError
from bids_cascade.folders import contained, make_work_dir
from bids_cascade.surroundings import say

if TYPE_CHECKING:
    from bids_cascade.cascade.model import Model

_CHOICES = (
    "candidate_level",
    "threshold",
    "peak_probability",
    "min_lesion_volume_mm3",
    "calibration",
    "prevalence_weight",
    "first_stage_weight",
    "mirrored",
)
"""Fields of the configuration that users may choose."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code.

    Parameters
    ----------
    argv : sequence of str or None
        Command line without the program's name; None takes ``sys.argv``.
    """

    def run() -> None:
        options = build_parser().parse_args(argv)
        options.run(options)

    return run_command("bids-cascade-model", run)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(prog="bids-cascade-model", description="Work with model files.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_show(commands)
    _add_join(commands)
    _add_convert(commands)
    _add_calibrate(commands)
    return parser


def _add_show(commands: argparse._SubParsersAction[CommandParser]) -> None:
    about = "print a model's card: how it was trained, how accurate it is, and how it works"
    show = commands.add_parser("show", help=about, description=f"{about[0].upper()}{about[1:]}.")
    show.add_argument(
        "model",
        nargs="?",
        type=values.model_file,
        default="default",
        metavar="FILE",
        help="model file; the packaged one if none",
    )
    show.set_defaults(run=_show)


def _add_convert(commands: argparse._SubParsersAction[CommandParser]) -> None:
    about = "convert the two networks of a nicMSlesions model to a model file"
    convert = commands.add_parser(
        "convert",
        help=about,
        description=f"{about[0].upper()}{about[1:]}; write its card, too. The converted model runs patch-wise, which "
        "takes minutes per visit.",
    )
    convert.add_argument(
        "first", type=values.path_of, metavar="FILE1", help="nets/NAME/nets/model_1.hdf5 of nicMSlesions"
    )
    convert.add_argument("second", type=values.path_of, metavar="FILE2", help="the model_2.hdf5 beside it")
    convert.add_argument(
        "--sequences",
        nargs="+",
        metavar="SEQUENCE",
        help="BIDS suffixes in channel order: T1w, third sequence, FLAIR of three; T1w, fourth, third, FLAIR of four "
        "(default: T1w FLAIR of two)",
    )
    convert.add_argument(
        "--voxel-size",
        type=values.positive,
        default=1.0,
        metavar="MM",
        help="voxel size of the scans that it was trained on, in mm (default: 1)",
    )
    convert.add_argument(
        "--name", type=values.file_name, default="nicMSlesions", help="name of the new model (default: %(default)s)"
    )
    convert.add_argument(
        "--out",
        type=values.path_of,
        default="nicmslesions.safetensors",
        metavar="FILE",
        help="new model file (default: %(default)s)",
    )
    convert.set_defaults(run=_convert)


def _add_join(commands: argparse._SubParsersAction[CommandParser]) -> None:
    about = "join several models into one whose cascades are averaged"
    join = commands.add_parser("join", help=about, description=f"{about[0].upper()}{about[1:]}; write its card, too.")
    join.add_argument(
        "models",
        nargs="+",
        type=values.path_of,
        metavar="MODEL",
        help="model files with the same sequences and voxel size",
    )
    join.add_argument("--name", type=values.file_name, required=True, help="name of the new model")
    join.add_argument("--out", required=True, type=values.path_of, metavar="FILE", help="new .safetensors file")
    group = join.add_argument_group("configuration", "taken from the first model file, unless given here")
    group.add_argument(
        "--candidate-level",
        type=values.number,
        metavar="LEVEL",
        help="FLAIR intensity above which voxels are candidates; white matter is 1",
    )
    group.add_argument(
        "--threshold", type=values.probability, metavar="P", help="probability from which a voxel is lesion"
    )
    group.add_argument(
        "--peak",
        type=values.probability,
        dest="peak_probability",
        metavar="P",
        help="lowest peak probability of a lesion",
    )
    group.add_argument(
        "--min-volume",
        type=values.not_negative,
        dest="min_lesion_volume_mm3",
        metavar="MM3",
        help="volume of the smallest lesion, in mm3",
    )
    group.add_argument(
        "--calibration",
        nargs=2,
        type=values.number,
        metavar=("SLOPE", "INTERCEPT"),
        help="calibrate the mean probability p: sigmoid(SLOPE * logit(p) + INTERCEPT)",
    )
    group.add_argument(
        "--prevalence-weight",
        type=values.not_negative,
        metavar="W",
        help="add W times the logit of the scan's estimated lesion prevalence to that sum",
    )
    group.add_argument(
        "--first-stage-weight",
        type=values.not_negative,
        metavar="W",
        help="add W times the logit of the first network's probability to that sum",
    )
    group.add_argument(
        "--mirrored",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="average the second network's results for the scan and its mirror image; takes a little longer",
    )
    join.set_defaults(run=_join)


def _add_calibrate(commands: argparse._SubParsersAction[CommandParser]) -> None:
    about = "fit a model's calibration to labelled scans that it was not trained on"
    calibrate = commands.add_parser(
        "calibrate", help=about, description=f"{about[0].upper()}{about[1:]}; write the calibrated model and its card."
    )
    calibrate.add_argument("model", type=values.path_of, metavar="MODEL", help="model file")
    calibrate.add_argument(
        "bids_dirs", nargs="+", type=values.path_of, metavar="BIDS_DIR", help="datasets with manual masks"
    )
    calibrate.add_argument(
        "--labels",
        default="manual",
        metavar="NAME",
        help="manual masks, named as --labels of bids-cascade (default: manual)",
    )
    calibrate.add_argument(
        "--participant-label",
        nargs="+",
        type=values.label,
        default=(),
        metavar="LABEL",
        help="only these participants of all datasets",
    )
    calibrate.add_argument("--name", type=values.file_name, required=True, help="name of the new model")
    calibrate.add_argument("--out", required=True, type=values.path_of, metavar="FILE", help="new .safetensors file")
    calibrate.add_argument(
        "--prevalence-weight", type=values.not_negative, metavar="W", help="as for join (default: what the model has)"
    )
    calibrate.add_argument(
        "--first-stage-weight", type=values.not_negative, metavar="W", help="as for join (default: what the model has)"
    )
    calibrate.add_argument(
        "-w", "--work-dir", type=values.path_of, default="work", metavar="DIR", help="work folder (default: ./work)"
    )
    calibrate.add_argument("--nprocs", type=values.count, default=1, metavar="N", help="processes at once (default: 1)")
    calibrate.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> None:
    """Write the calibrated model and its card, and print the calibration and how well it fits."""
    _refuse_existing(options.out)
    from bids_cascade.models.join import join_models
    from bids_cascade.models.store import load_ensemble
    from bids_cascade.training.calibrate import fit_to_visits, labelled_visits

    ensemble = load_ensemble(options.model)
    weights = {
        name: getattr(ensemble.config, name) if getattr(options, name) is None else getattr(options, name)
        for name in ("prevalence_weight", "first_stage_weight")
    }
    for bids_dir in options.bids_dirs:  # the work folder must lie in none of them
        work_dir = make_work_dir(options.work_dir, bids_dir, options.out.parent)
    try:
        with contained(work_dir):
            visits = labelled_visits(
                options.bids_dirs,
                tuple(options.participant_label),
                ensemble.config,
                options.labels,
                work_dir,
                options.nprocs,
            )
            fitted = fit_to_visits(ensemble, visits, **weights)
        calibration = round(fitted.slope, 4), round(fitted.intercept, 4)
        model = join_models([options.model], options.name, calibration=calibration, **weights)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _save(model, options.out)
    said = ", ".join(f"{name.replace('_', ' ')} {weight:g}" for name, weight in weights.items())
    say(f"calibration {calibration[0]:g} {calibration[1]:+g}, {said}; {len(visits)} visits")
    for mean, fraction in zip(fitted.curve.mean_probability, fitted.curve.lesion_fraction, strict=True):
        say(f"  mean probability {mean:.2f}: {fraction:.2f} of the voxels are lesion")


def _show(options: argparse.Namespace) -> None:
    """Print a model's card."""
    from bids_cascade.models.store import load_model
    from bids_cascade.report.card import model_card

    stored = load_model(options.model)
    say(model_card(stored).rstrip())


def _convert(options: argparse.Namespace) -> None:
    """Write the converted model and its card, and print how it runs."""
    _refuse_existing(options.out)
    from bids_cascade.models.nicmslesions import convert_nicmslesions

    try:
        model = convert_nicmslesions(
            (options.first, options.second),
            options.name,
            sequences=options.sequences,
            voxel_size_mm=options.voxel_size,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    _save(model, options.out)
    say(f"sequences, in channel order: {', '.join(model.ensemble.config.sequences)}")
    say("It runs patch-wise, minutes per visit: padded convolutions can't be evaluated on a whole scan at once")


def _join(options: argparse.Namespace) -> None:
    """Write the joined model and its card, and print its configuration and its source."""
    _refuse_existing(options.out)
    # Imported late, so that --help is quick.
    from bids_cascade.models.join import join_models

    chosen = {name: value for name in _CHOICES if (value := getattr(options, name)) is not None}
    if "calibration" in chosen:
        chosen["calibration"] = tuple(chosen["calibration"])
    try:
        model = join_models(options.models, options.name, **chosen)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _save(model, options.out)
    for member in model.provenance["members"]:
        for field, value in member["changed"].items():
            now = getattr(model.ensemble.config, field)
            say(f"{field} of {member['name']}: was {value}, is now {now}")


def _refuse_existing(out: Path) -> None:
    """Raise if a new model or its card would replace a file, or one another."""
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a file name that ends with .safetensors")
    for path in (out, _card_of(out)):
        if path.exists():
            raise OutputError(f"{path}: the file exists already; choose another name or remove it")


def _save(model: Model, out: Path) -> None:
    """Write a new model and its card, and print their paths."""
    from bids_cascade.models.store import save_model
    from bids_cascade.report.card import model_card
    from bids_cascade.whole_file import write_whole_file

    stored, card = save_model(model, out), _card_of(out)
    write_whole_file(model_card(stored).encode(), card)
    n = len(model.ensemble.members)
    cascades = "1 cascade" if n == 1 else f"{n} cascades"
    say(f"model: {stored.path} (SHA-256 {stored.sha256}), {cascades}; card: {card}")


def _card_of(model: Path) -> Path:
    return model.with_suffix(".md")


if __name__ == "__main__":
    sys.exit(main())
