"""The command ``bids-cascade-demo``: makes phantoms with known lesions, segments them and scores the result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_cascade import __version__
from bids_cascade.command import CommandParser, run_command
from bids_cascade.errors import cannot_create
from bids_cascade.surroundings import say

BIDS_VERSION = "1.10.0"
TRUTH = "truth"
"""Name of the derivative dataset, under the phantom dataset, that holds the known lesions."""


@dataclass(frozen=True)
class Score:
    """The accuracy of one participant's segmentation, on the grid of the T1w.

    A known lesion is found if at least one of its voxels is segmented; a segmented lesion is false if none of its
    voxels belongs to a known one.
    """

    participant: str
    n_known: int
    n_found: int
    n_false: int
    known_ml: float
    segmented_ml: float
    dice: float


def main(argv: Sequence[str] | None = None) -> int:
    """Write the phantom dataset, segment it, and print how many of the known lesions were found.

    Parameters
    ----------
    argv : sequence of str or None
        Command line without the program's name; None takes ``sys.argv``.

    Returns
    -------
    int
        0, or the exit code of the app's participant level.
    """
    return run_command("bids-cascade-demo", lambda: _run(*_parse(argv)))


def _run(options: argparse.Namespace, app_options: Sequence[str]) -> int:
    dataset, results = options.output_dir / "dataset", options.output_dir / "results"
    say(f"Writing phantoms with known lesions to {dataset} ({options.participants})")
    try:
        participants = write_phantom_dataset(dataset, options.participants, options.seed)
    except OSError as error:
        raise cannot_create(error.filename or dataset, error) from error
    # The phantom has no anatomy that an atlas could label.
    arguments = [dataset, results, "participant", "--no-anatomy", "--work-dir", options.output_dir / "work"]
    command = [*map(str, arguments), *app_options]
    say(" ".join(["Running bids-cascade", *command]))
    # Imported late, so that --help is quick.
    from bids_cascade.cli import main as run_app

    exit_code = run_app(command)
    if exit_code == 0:
        done = [label for label in participants if (results / _mask_name(label, "T1w")).is_file()]
        print_scores([score_participant(dataset, results, label) for label in done])
        say(f"Results: {results}\nPhantoms: {dataset} (known lesions: {dataset / 'derivatives' / TRUTH})")
    return exit_code


def _parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Return the demo's own options, and the others, which are the app's."""
    parser = CommandParser(
        prog="bids-cascade-demo",
        usage="%(prog)s output_dir [--participants N] [--seed N] [options of bids-cascade]",
        description="Make phantom brains with known lesions, segment them, and report how many lesions were found.",
        epilog="All other options, such as --model or --nprocs, are passed to bids-cascade.",
        allow_abbrev=False,
    )
    parser.add_argument("output_dir", type=Path, help="folder for the phantoms, the results and the work files")
    parser.add_argument(
        "--participants", type=_count, default=2, metavar="N", help="number of phantoms to make (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="random seed of the phantoms (default: %(default)s)"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser.parse_known_args(argv)


def _count(text: str) -> int:
    """Return a number from 1 to 99."""
    if not (text.isdecimal() and 1 <= int(text) <= 99):
        message = f"expected a number from 1 to 99, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def write_phantom_dataset(folder: Path, n_participants: int = 2, seed: int = 1, **phantom_options: Any) -> list[str]:
    """Write phantoms as a raw BIDS dataset, with the known lesions as a derivative dataset inside it.

    Parameters
    ----------
    folder : Path
        Root of the dataset; made if absent. Files of an earlier run are replaced by equal ones.
    n_participants : int
        Participants ``01``, ``02``, ...; each with one visit without session.
    seed : int
        Seed of the first participant; the next ones count up from it.
    **phantom_options
        Options of :func:`bids_cascade.demo.phantom.make_phantom`.

    Returns
    -------
    list of str
        The participants' labels, without ``sub-``.

    Raises
    ------
    OSError
        The folder can't be written.
    """
    from bids_cascade.demo.phantom import make_phantom

    participants = [f"{i + 1:02d}" for i in range(n_participants)]
    truth = folder / "derivatives" / TRUTH
    _write_description(folder, participants, seed)
    _write_truth_description(truth)
    for i, participant in enumerate(participants):
        phantom = make_phantom(seed + i, **phantom_options)
        anat = _made(folder / f"sub-{participant}" / "anat")
        phantom.t1w.to_filename(anat / f"sub-{participant}_T1w.nii.gz")
        phantom.flair.to_filename(anat / f"sub-{participant}_FLAIR.nii.gz")
        for sequence, mask in (("T1w", phantom.t1w_lesions), ("FLAIR", phantom.flair_lesions)):
            path = _truth_path(folder, participant, sequence)
            mask.to_filename(_made(path.parent) / path.name)
            raw = f"bids:raw:sub-{participant}/anat/sub-{participant}_{sequence}.nii.gz"
            sidecar = {"Type": "Lesion", "SpatialReference": raw, "Sources": [raw]}
            _write_json(sidecar, path.with_name(path.name.replace(".nii.gz", ".json")))
    return participants


def score_participant(dataset: Path, results: Path, participant: str) -> Score:
    """Compare the app's lesion mask of one participant with the known lesions.

    Parameters
    ----------
    dataset, results : Path
        Phantom dataset, and output folder of the participant level.
    participant : str
        Label without ``sub-``.

    Returns
    -------
    Score
    """
    import nibabel as nib
    import numpy as np

    from bids_cascade.evaluation.metrics import lesion_wise
    from bids_cascade.lesions.overlap import dice

    known_image = nib.Nifti1Image.from_filename(_truth_path(dataset, participant, "T1w"))
    segmented_image = nib.Nifti1Image.from_filename(results / _mask_name(participant, "T1w"))
    known, segmented = (np.asarray(image.dataobj) > 0 for image in (known_image, segmented_image))
    lesions = lesion_wise(known, segmented)
    voxel_ml = abs(float(np.linalg.det(known_image.affine[:3, :3]))) / 1000
    return Score(
        participant=participant,
        n_known=lesions.n_reference,
        n_found=lesions.n_found,
        n_false=lesions.n_predicted - lesions.n_right,
        known_ml=float(known.sum() * voxel_ml),
        segmented_ml=float(segmented.sum() * voxel_ml),
        dice=dice(known, segmented),
    )


def print_scores(scores: Sequence[Score]) -> None:
    """Print one line for each participant."""
    lines = ["", "Known lesions found (phantoms: this says nothing about accuracy on patients)"]
    lines.append(f"{'participant':<12}{'lesions found':>15}{'false':>7}{'known ml':>10}{'found ml':>10}{'Dice':>7}")
    for score in scores:
        detected = f"{score.n_found} of {score.n_known}"
        volumes = f"{score.known_ml:>10.2f}{score.segmented_ml:>10.2f}"
        lines.append(f"{'sub-' + score.participant:<12}{detected:>15}{score.n_false:>7}{volumes}{score.dice:>7.2f}")
    say("\n".join([*lines, ""]))


def _truth_path(dataset: Path, participant: str, sequence: str) -> Path:
    """Return where the known lesions of a participant are, on the grid of one of the scans."""
    return dataset / "derivatives" / TRUTH / _mask_name(participant, sequence)


def _mask_name(participant: str, sequence: str) -> Path:
    """Return the path of a lesion mask inside a derivative dataset."""
    return Path(f"sub-{participant}") / "anat" / f"sub-{participant}_space-{sequence}_label-L_mask.nii.gz"


def _write_description(folder: Path, participants: Sequence[str], seed: int) -> None:
    """Write the files at the root of the raw dataset."""
    description = {
        "Name": "Phantom brains with known lesions",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["bids_cascade"],
        "GeneratedBy": [{"Name": "bids_cascade demo", "Version": __version__}],
        "SourceDatasets": [{"DOI": "doi:10.1016/j.neuroimage.2010.07.033"}],
    }
    _write_json(description, _made(folder) / "dataset_description.json")
    readme = (
        "Simulated images of invented patients, made by bids-cascade-demo from the MNI152 template (Fonov 2011).\n"
        "Head, lesions, bias fields, noise and motion are simulated; the lesions are known exactly and are in\n"
        f"derivatives/{TRUTH}. No person was scanned.\n"
    )
    (folder / "README").write_text(readme, encoding="utf-8")
    rows = [f"sub-{participant}\t{seed + i}" for i, participant in enumerate(participants)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tseed", *rows, ""]), encoding="utf-8")
    columns = {"seed": {"Description": "Seed from which the phantom was computed"}}
    _write_json(columns, folder / "participants.json")


def _write_truth_description(truth: Path) -> None:
    """Write the description and the README of the derivative dataset with the known lesions."""
    description = {
        "Name": "Known lesions of the phantom brains",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "bids_cascade demo", "Version": __version__}],
        "DatasetLinks": {"raw": "../.."},
    }
    _write_json(description, _made(truth) / "dataset_description.json")
    readme = (
        "The known lesions (label-L_mask) of the phantoms in ../.., which were computed with them; see their README.\n"
    )
    (truth / "README").write_text(readme, encoding="utf-8")


def _made(folder: Path) -> Path:
    """Return a folder, created if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write_json(content: dict[str, Any], path: Path) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
