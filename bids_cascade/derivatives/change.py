"""Comparisons of two visits: their names, and how they are written and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from bids_cascade import __version__
from bids_cascade.change.compare import Comparison, Found
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.change.tracking import KINDS, TrackedLesion, keep_numbers, least_change_mm3
from bids_cascade.change.visit import FinishedVisit
from bids_cascade.dataset.tables import NOT_AVAILABLE, read_object, read_tsv
from bids_cascade.derivatives.change_columns import LESION_COLUMNS, STATS_COLUMNS
from bids_cascade.derivatives.files import write_json, write_tsv
from bids_cascade.derivatives.flags import FLAGS_KEY, Flags, flags_of
from bids_cascade.derivatives.names import bids_uri, derivative_path, sidecar_path
from bids_cascade.derivatives.read import digest_of_tables, results_space
from bids_cascade.errors import BidsCascadeError, MissingInputError, cannot_create
from bids_cascade.imaging.grid import Grid, grid_of, resample
from bids_cascade.imaging.images import load_image, load_labels, load_mask, save_image
from bids_cascade.imaging.registration import write_itk_transform
from bids_cascade.visit_key import VisitKey
from bids_cascade.whole_file import write_whole_file

PREVIOUS, FIRST = "change", "changefromfirst"
"""``desc`` of comparisons of a visit with the previous one, and with the first one."""

OUT_OF_DATE = "comparison_out_of_date"
"""Flag of a comparison with a visit that has been processed again or removed since."""

FINGERPRINT_KEY = "Fingerprint"
_NUMBER_KEY = "HighestNumber"
_COPIES_KEY = "NoiseFloorCopies"
_DAYS_OF_YEAR = 365.25
_VOXELS = {"stable": 1, "new": 2, "gained": 3, "lost": 4, "resolved": 5}
"""Values of the image of changed voxels."""


@dataclass(frozen=True)
class Pair:
    """The compared visits, and the comparison's name.

    Attributes
    ----------
    earlier, later : VisitKey
    desc : str
        :data:`PREVIOUS` or :data:`FIRST`.
    days : int or None
        Between them.
    """

    earlier: VisitKey
    later: VisitKey
    desc: str
    days: int | None = None


@dataclass(frozen=True)
class ChangeResults:
    """The results of a comparison.

    Attributes
    ----------
    stats : mapping of str to str
        By column.
    flags : dict of str to str
        Why the visits can't be compared.
    fingerprint : str
        Of its inputs.
    has_floor : bool
        Whether the noise floor was measured, or is not needed.
    """

    stats: Mapping[str, str]
    flags: Flags
    fingerprint: str
    has_floor: bool


@dataclass(frozen=True, eq=False)
class EarlierNumbers:
    """The numbers that lesions had before a comparison.

    Attributes
    ----------
    image : (X, Y, Z) int32 array
        On the pair's grid.
    highest : int
        Highest number ever given.
    """

    image: NDArray[np.int32]
    highest: int


def stats_path(out_dir: Path, later: VisitKey, desc: str) -> Path:
    """Return the path of the table that marks a complete comparison."""
    return derivative_path(out_dir, later, "stats", ".tsv", desc=desc)


def lesions_path(out_dir: Path, later: VisitKey, desc: str, extension: str) -> Path:
    """Return the path of the lesions of a comparison, with the numbers that they keep."""
    space = results_space(out_dir, later)
    return derivative_path(out_dir, later, "dseg", extension, space=space, seg="lesions", desc=desc)


def read_change(out_dir: Path, later: VisitKey, desc: str) -> ChangeResults | None:
    """Return the results of a visit's comparison; None if there is no complete one.

    Of one that no longer fits its visits' results only a flag is returned that says so.
    """
    path = stats_path(out_dir, later, desc)
    try:
        (row,), sidecar = read_tsv(path).dicts(), read_object(sidecar_path(path))
    except (BidsCascadeError, ValueError):
        return None
    fingerprint = str(sidecar.get(FINGERPRINT_KEY, ""))
    earlier = _visit_of(str(row.get("compared_with", "")), later)
    of_tables, _, _ = fingerprint.rpartition("-")
    if of_tables and of_tables != _hash_tables(out_dir, earlier, later):
        text = (
            f"{earlier.label} or {later.label} has been processed again, or removed, since they were compared: run "
            "the longitudinal level"
        )
        left = {"compared_with": earlier.label, "comparable": "no"}
        return ChangeResults(dict.fromkeys(row, NOT_AVAILABLE) | left, {OUT_OF_DATE: text}, fingerprint, True)
    flags = flags_of(sidecar)
    return ChangeResults(row, flags, fingerprint, bool(flags or sidecar.get(_COPIES_KEY)))


def lacks_files(out_dir: Path, later: VisitKey, desc: str) -> bool:
    """Whether images, tables or the viewer of a comparison that has been made are no longer there."""
    lesions = lesions_path(out_dir, later, desc, ".nii.gz")
    images = [lesions, _voxels_path(out_dir, later, desc), _subtraction_path(out_dir, later, desc)]
    return not all(path.is_file() for path in (*images, _table_of(lesions), viewer_path(out_dir, later, desc)))


def _hash_tables(out_dir: Path, earlier: VisitKey, later: VisitKey) -> str:
    """Return a hash that identifies two visits' results; no image is read."""
    return hashlib.sha256("".join(digest_of_tables(out_dir, visit) for visit in (earlier, later)).encode()).hexdigest()


def fingerprint_of(out_dir: Path, pair: Pair, thresholds: ChangeThresholds, *others: str) -> str:
    """Return hashes of a comparison's inputs: both visits' tables; images, limits, version and earlier numbers.

    Raises
    ------
    MissingInputError
        When a file is not there.
    """
    digest = hashlib.sha256(repr((__version__, thresholds, pair, others)).encode())
    for visit in (pair.earlier, pair.later):
        for path in _inputs(out_dir, visit).values():
            try:
                digest.update(hashlib.sha256(path.read_bytes()).digest())
            except OSError as error:
                raise MissingInputError(f"{path}: can't be read: {error.strerror}; process the visit again") from error
    return f"{_hash_tables(out_dir, pair.earlier, pair.later)}-{digest.hexdigest()}"


def read_finished(out_dir: Path, visit: VisitKey) -> FinishedVisit:
    """Read the images of a finished visit.

    Raises
    ------
    MissingInputError, BadDataError
        When one is missing, or can't be read.
    """
    paths = _inputs(out_dir, visit)
    scans = {name: load_image(path) for name, path in paths.items() if name in ("T1w", "FLAIR")}
    brain, mask = load_mask(paths["brain"]), load_mask(paths["mask"])
    return FinishedVisit(scans, brain, load_labels(paths["probability"]), mask)


def _inputs(out_dir: Path, visit: VisitKey) -> dict[str, Path]:
    """Return the images of a visit, first the one whose grid the others have."""
    path, space = partial(derivative_path, out_dir, visit), results_space(out_dir, visit)
    scans = {space: path(space, ".nii.gz", desc="preproc")}
    if space != "FLAIR":
        scans["FLAIR"] = path("FLAIR", ".nii.gz", space=space, desc="preproc")
    return {
        **scans,
        "brain": path("mask", ".nii.gz", desc="brain"),
        "probability": path("probseg", ".nii.gz", space=space, label="L"),
        "mask": path("mask", ".nii.gz", space=space, label="L"),
    }


def earlier_numbers(out_dir: Path, pair: Pair, comparison: Comparison, previous: Pair | None) -> EarlierNumbers:
    """Return the numbers that lesions had before: in the comparison before this one, or in the first visit's table."""
    if previous is None:
        space = results_space(out_dir, pair.earlier)
        path = derivative_path(out_dir, pair.earlier, "dseg", ".nii.gz", space=space, seg="lesions")
        to_own = comparison.space.half_to_earlier
    else:
        path = lesions_path(out_dir, previous.later, previous.desc, ".nii.gz")
        to_own = comparison.space.half_to_earlier if previous.later == pair.earlier else comparison.space.half_to_later
    try:
        image = resample(load_labels(path), comparison.grid, 0, to_own)
        numbers = np.asarray(np.rint(image.dataobj), np.int32)
    except MissingInputError:
        numbers = np.zeros(comparison.grid.shape, np.int32)
    return EarlierNumbers(numbers, max(_highest_number(out_dir, previous), int(numbers.max(initial=0))))


def _highest_number(out_dir: Path, pair: Pair | None) -> int:
    """Return the highest number of any lesion up to a comparison; 0 if there is none."""
    if pair is None:
        return 0
    try:
        number = read_object(sidecar_path(stats_path(out_dir, pair.later, pair.desc))).get(_NUMBER_KEY, 0)
    except BidsCascadeError:
        return 0
    return number if isinstance(number, int) else 0


def write_refused(
    out_dir: Path, pair: Pair, flags: Flags, fingerprint: str, measured: Comparison | None = None
) -> None:
    """Write why two visits can't be compared; files of an earlier comparison are removed."""
    remove_change(out_dir, pair.later, pair.desc)
    row = {"compared_with": pair.earlier.label, "comparable": "no", "days": pair.days}
    if measured is not None:
        row |= _registration(measured)
    sidecar = {
        **STATS_COLUMNS,
        FLAGS_KEY: flags,
        FINGERPRINT_KEY: fingerprint,
        "Sources": _sources(out_dir, pair),
    }
    write_tsv([row], list(STATS_COLUMNS), stats_path(out_dir, pair.later, pair.desc), sidecar)


def write_change(
    out_dir: Path,
    pair: Pair,
    comparison: Comparison,
    before: EarlierNumbers,
    make_page: Callable[[dict[int, int]], str],
    fingerprint: str,
) -> None:
    """Write a comparison; its table of numbers is written last and marks it as complete.

    Parameters
    ----------
    out_dir : Path
    pair : Pair
    comparison : Comparison
        Without flags.
    before : EarlierNumbers
    make_page : callable
        Returns the viewer, given the number that each lesion keeps, by its number in the result.
    fingerprint : str

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be written.
    """
    result = comparison.result
    if result is None or comparison.flags:
        raise ValueError("a pair that can't be compared has no change to write")
    thresholds = ChangeThresholds()
    remove_change(out_dir, pair.later, pair.desc)
    labels, kept = keep_numbers(result.labels, before.image, before.highest)
    later_to_earlier = np.asarray(np.linalg.inv(comparison.space.earlier_to_later), np.float64)
    write_itk_transform(later_to_earlier, _transform_path(out_dir, pair))
    rows = sorted(
        (_lesion_row(lesion, kept[lesion.number], comparison) for lesion in result.lesions),
        key=lambda row: row["index"],
    )
    _write_images(out_dir, pair, comparison, labels, rows)
    write_whole_file(make_page(kept).encode(), viewer_path(out_dir, pair.later, pair.desc))
    sidecar = {
        **STATS_COLUMNS,
        FLAGS_KEY: {},
        FINGERPRINT_KEY: fingerprint,
        _NUMBER_KEY: max(before.highest, *kept.values(), 0),
        "Thresholds": asdict(thresholds),
        _COPIES_KEY: result.floor.n_copies if result.floor else 0,
        "Sources": _sources(out_dir, pair),
        "GeneratedByVersion": __version__,
    }
    row = _stats_row(pair, comparison, result, thresholds)
    write_tsv([row], list(STATS_COLUMNS), stats_path(out_dir, pair.later, pair.desc), sidecar)


def _write_images(
    out_dir: Path, pair: Pair, comparison: Comparison, labels: NDArray[np.int32], rows: list[dict[str, Any]]
) -> None:
    """Write lesions, changed voxels and the subtraction image on the grid of the later visit's results."""
    result = comparison.result
    if result is None:
        return
    reference = next(iter(_inputs(out_dir, pair.later).values()))
    grid = grid_of(load_image(reference))
    common = {"Sources": _sources(out_dir, pair), "SpatialReference": bids_uri(reference, out_dir, "")}

    def write(target: Path, values: NDArray[Any], order: int, text: str, **columns: Any) -> None:
        write_json({"Description": text, **columns, **common}, sidecar_path(target))
        save_image(_bring(values, order, comparison, grid), grid.affine, target, values.dtype)

    target = lesions_path(out_dir, pair.later, pair.desc, ".nii.gz")
    write_tsv(rows, ["index", "name", *LESION_COLUMNS], _table_of(target))
    text = "Lesions of both visits, each with the number that it keeps over all visits"
    write(target, labels, 0, text, **LESION_COLUMNS)
    target = _voxels_path(out_dir, pair.later, pair.desc)
    kinds = [{"index": number, "name": name} for name, number in _VOXELS.items()]
    write_tsv(kinds, ["index", "name"], _table_of(target))
    write(target, _voxel_kinds(result), 0, "What has changed, voxel by voxel")
    target = _subtraction_path(out_dir, pair.later, pair.desc)
    text = "FLAIR of the later less that of the earlier visit, matched half-way between them; white matter is 1"
    write(target, result.difference, 1, text, SkullStripped=True)


def _bring(values: NDArray[Any], order: int, comparison: Comparison, grid: Grid) -> NDArray[Any]:
    """Resample values of the half-way grid onto the later visit's grid."""
    image = nib.Nifti1Image(values, comparison.grid.affine, dtype=values.dtype)
    to_half = np.asarray(np.linalg.inv(comparison.space.half_to_later), np.float64)
    return np.asarray(resample(image, grid, order, to_half).dataobj)


def _voxel_kinds(result: Found) -> NDArray[np.uint8]:
    kinds = np.zeros(result.labels.shape, np.uint8)
    kinds[result.labels > 0] = _VOXELS["stable"]
    kinds[result.change.gained] = _VOXELS["gained"]
    kinds[result.change.lost] = _VOXELS["lost"]
    for kind in ("new", "resolved"):
        whole = [lesion.number for lesion in result.lesions if lesion.kind == kind]
        kinds[np.isin(result.labels, whole)] = _VOXELS[kind]
    return kinds


def _lesion_row(lesion: TrackedLesion, number: int, comparison: Comparison) -> dict[str, Any]:
    x, y, z = (comparison.space.half_to_later @ [*lesion.centre_mm, 1])[:3].tolist()
    return {
        "index": number,
        "name": f"lesion{number}",
        "kind": lesion.kind,
        "before_mm3": lesion.before_mm3,
        "after_mm3": lesion.after_mm3,
        "change_mm3": lesion.change_mm3,
        "change_percent": lesion.change_percent,
        "z": lesion.z,
        "flair_difference": lesion.contrast,
        "probability_difference": lesion.probability_step,
        "topology": lesion.topology,
        "centre_x_mm": x,
        "centre_y_mm": y,
        "centre_z_mm": z,
    }


def _stats_row(pair: Pair, comparison: Comparison, result: Found, thresholds: ChangeThresholds) -> dict[str, Any]:
    lesions, floor = result.lesions, result.floor
    counts = {f"n_{kind}": sum(lesion.kind == kind for lesion in lesions) for kind in KINDS}
    volumes = {
        f"{kind}_ml": abs(sum(lesion.change_mm3 for lesion in lesions if lesion.kind == kind)) / 1000
        for kind in KINDS
        if kind != "stable"
    }
    before, after = (sum(getattr(lesion, f"{name}_mm3") for lesion in lesions) / 1000 for name in ("before", "after"))
    years = pair.days / _DAYS_OF_YEAR if pair.days else None
    return {
        "compared_with": pair.earlier.label,
        "comparable": "yes",
        **counts,
        "n_merged": sum(lesion.topology == "merged" for lesion in lesions),
        "n_split": sum(lesion.topology == "split" for lesion in lesions),
        **volumes,
        "before_ml": before,
        "after_ml": after,
        "change_ml": after - before,
        "change_sd_ml": floor and floor.volume_sd_ml,
        "days": pair.days,
        "new_per_year": counts["n_new"] / years if years else None,
        "change_ml_per_year": (after - before) / years if years else None,
        "false_new": floor and floor.calls["new"],
        "false_others": floor and sum(count for kind, count in floor.calls.items() if kind != "new"),
        "false_ml": floor and floor.false_ml,
        **{f"least_growth_{size}_mm3": least_change_mm3(size, result.growth_sd, thresholds) for size in (30, 300)},
        "white_matter_noise": result.noise.white_sd,
        "edge_noise_mm": result.noise.shift_mm,
        **_registration(comparison),
    }


def _registration(comparison: Comparison) -> dict[str, Any]:
    return {
        "correlation": comparison.correlation,
        "inconsistency_mm": comparison.space.inconsistency_mm,
        "overlap": comparison.overlap,
    }


def _visit_of(label: str, other: VisitKey) -> VisitKey:
    """Return another visit of the same participant by its session."""
    return VisitKey(other.participant, label.removeprefix("ses-") if label.startswith("ses-") else None)


def _sources(out_dir: Path, pair: Pair) -> list[str]:
    visits = (pair.earlier, pair.later)
    return [bids_uri(path, out_dir, "") for visit in visits for path in _inputs(out_dir, visit).values()]


def _voxels_path(out_dir: Path, later: VisitKey, desc: str) -> Path:
    space = results_space(out_dir, later)
    return derivative_path(out_dir, later, "dseg", ".nii.gz", space=space, seg="voxels", desc=desc)


def _subtraction_path(out_dir: Path, later: VisitKey, desc: str) -> Path:
    return derivative_path(out_dir, later, "FLAIR", ".nii.gz", space=results_space(out_dir, later), desc=desc)


def _transform_path(out_dir: Path, pair: Pair) -> Path:
    space = results_space(out_dir, pair.later)
    entities = {"from_": f"ses{pair.earlier.session}", "to": space, "mode": "image"}
    return derivative_path(out_dir, pair.later, "xfm", ".txt", **entities)


def remove_change(out_dir: Path, later: VisitKey, desc: str) -> None:
    """Remove a comparison's files, first the table that marks it as complete; its transform, still valid, is kept.

    Raises
    ------
    OutputError, ReadWriteError
        When a file can't be removed.
    """
    first = stats_path(out_dir, later, desc)
    # In every space: the visit may have had a T1w image when they were made.
    for path in [first, viewer_path(out_dir, later, desc), *first.parent.glob(f"{later.name}_*desc-{desc}_*")]:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_create(path, error) from error


def _table_of(image: Path) -> Path:
    return image.with_name(image.name.removesuffix(".nii.gz") + ".tsv")


def viewer_path(out_dir: Path, later: VisitKey, desc: str) -> Path:
    """Return the path of the viewer of a comparison."""
    return derivative_path(out_dir, later, "FLAIR", ".html", desc=f"{desc}viewer")
