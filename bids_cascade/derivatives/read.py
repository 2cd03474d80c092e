"""The results of a visit that the participant level has written, read consistently; no image is opened."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_cascade.dataset.layout import LABEL
from bids_cascade.dataset.tables import NOT_AVAILABLE, Tsv, read_object, read_tsv
from bids_cascade.derivatives.flags import flags_of, read_quality_flags
from bids_cascade.derivatives.names import derivative_path, sidecar_path, visit_record_path
from bids_cascade.errors import BadDataError, BidsCascadeError, MissingInputError, TemporaryError
from bids_cascade.visit_key import VisitKey

_ATTEMPTS = 3
_LESION_NUMBERS = ("volume_mm3", "centre_x_mm", "centre_y_mm", "centre_z_mm", "mean_probability")
_OPTIONAL_NUMBERS = ("uncertainty",)
_NUMBERS = ("lesion_volume_t1w_ml", "lesion_volume_flair_ml", "brain_volume_ml")
_STAGING = re.compile(rf"\.(sub-{LABEL}(?:_ses-{LABEL})?)\.[0-9a-f]+")


def _ending(suffix: str, extension: str, **entities: str) -> str:
    """Return the part of an output's name after the visit; pybids is asked once, not once a visit."""
    return derivative_path(Path(), VisitKey("0", None), suffix, extension, **entities).name.removeprefix("sub-0")


_STATS = _ending("stats", ".tsv", desc="lesions")
_STATS_JSON = _ending("stats", ".json", desc="lesions")
_LESIONS = {space: _ending("dseg", ".tsv", space=space, seg="lesions") for space in ("T1w", "FLAIR")}
"""On the grid of the T1w image, or of the FLAIR of a visit without one."""
_QUALITY = _ending("stats", ".tsv", desc="quality")


@dataclass(frozen=True, order=True)
class Processing:
    """All that must be equal for two visits' results to be comparable.

    Attributes
    ----------
    model_name, model_sha256 : str
    threshold : float
        Probability from which a voxel is lesion.
    min_lesion_volume_mm3 : float
    precision : str
        ``single`` or ``half``: of the networks' arithmetic.
    version : str
        Of this app.
    sequences : str
        Those that were used, joined by ``+``.
    """

    model_name: str
    model_sha256: str
    threshold: float
    min_lesion_volume_mm3: float
    precision: str
    version: str
    sequences: str = "T1w+FLAIR"


@dataclass(frozen=True)
class VisitResults:
    """The results of one visit.

    Attributes
    ----------
    stats : mapping of str to str
        Number of lesions and volumes, as text by column.
    flags : mapping of str to str
        Reasons by quality flag.
    processing : Processing
    lesions : Tsv
        A row a lesion.
    """

    stats: Mapping[str, str]
    flags: Mapping[str, str]
    processing: Processing
    lesions: Tsv

    @property
    def volumes_mm3(self) -> list[float]:
        """Volumes of the lesions, from the largest."""
        index = self.lesions.columns.index("volume_mm3")
        return [float(row[index]) for row in self.lesions.rows]

    @property
    def lesion_volume(self) -> str:
        """See :func:`lesion_volume_of`."""
        return lesion_volume_of(self.stats)


def lesion_volume_of(stats: Mapping[str, str]) -> str:
    """Return the volume of all lesions in ml, as text: on the T1w's grid, or the FLAIR's of a visit without a T1w.

    Parameters
    ----------
    stats : mapping of str to str
        The row of the table of volumes, by column.
    """
    on_t1w, on_flair = (stats.get(column, NOT_AVAILABLE) for column in _NUMBERS[:2])
    return on_flair if on_t1w == NOT_AVAILABLE else on_t1w


def read_results(out_dir: Path, key: VisitKey) -> VisitResults:
    """Read a visit's results; if a run replaces them meanwhile, read them again.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    key : VisitKey
        The visit.

    Raises
    ------
    MissingInputError
        The visit has no results.
    TemporaryError
        Results are incomplete, or their parts belong to different runs: they are being written, or a run was
        interrupted.
    BadDataError, ReadWriteError
        A file has impossible content, or can't be read.
    """
    folder = out_dir / key.folder / "anat"
    for attempt in range(_ATTEMPTS):
        _require_all(folder, key.name)
        before = _state(folder / f"{key.name}{_STATS}")
        try:
            results = _read_once(folder, key.name)
        except BidsCascadeError:
            if attempt == _ATTEMPTS - 1 or _state(folder / f"{key.name}{_STATS}") == before:
                raise
        else:
            if _state(folder / f"{key.name}{_STATS}") == before:
                return results
    raise TemporaryError("its results are being replaced by another run")


def digest_of_tables(out_dir: Path, key: VisitKey) -> str:
    """Return a hash of a visit's tables and of its processing; empty if its results are not complete."""
    folder = out_dir / key.folder / "anat"
    lesions = lesions_path(out_dir, key)
    paths = (folder / f"{key.name}{_STATS}", folder / f"{key.name}{_STATS_JSON}", lesions, sidecar_path(lesions))
    try:
        return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()
    except OSError:
        return ""


def results_space(out_dir: Path, key: VisitKey) -> str:
    """Return the sequence on whose grid a visit's results are: the T1w, or the FLAIR of a visit without one."""
    folder = out_dir / key.folder / "anat"
    return _space_of({path.name for path in folder.glob(f"{key.name}_*_seg-lesions_dseg.tsv")}, key.name)


def lesions_path(out_dir: Path, key: VisitKey) -> Path:
    """Return the path of the table of a visit's lesions."""
    return out_dir / key.folder / "anat" / f"{key.name}{_LESIONS[results_space(out_dir, key)]}"


def list_results(out_dir: Path) -> set[VisitKey]:
    """Return the visits with any results, complete or not."""
    return {
        VisitKey(participant, session)
        for participant in _labels(out_dir, "sub")
        for session in list_sessions_with_results(out_dir, participant)
    }


def list_sessions_with_results(out_dir: Path, participant: str) -> set[str | None]:
    """Return a participant's sessions with any results, complete or not; None for results without session."""
    top = out_dir / f"sub-{participant}"
    sessions: set[str | None] = {None} if (top / "anat").is_dir() else set()
    return sessions | {session for session in _labels(top, "ses") if (top / f"ses-{session}/anat").is_dir()}


def list_being_written(out_dir: Path) -> set[str]:
    """Return the names of visits whose results a run is writing, or was writing when it was killed."""
    if not out_dir.is_dir():
        return set()
    return {match[1] for entry in os.scandir(out_dir) if (match := _STAGING.fullmatch(entry.name))}


def read_latest_end(out_dir: Path, key: VisitKey) -> tuple[int, str] | None:
    """Return how a visit's latest run ended, as exit code and message; None if there is no record."""
    try:
        record = _read_object(visit_record_path(out_dir, key.name))
    except BidsCascadeError:
        return None  # logs are no results: nothing depends on them
    code = record.get("exit_code")
    return (code, str(record.get("message", ""))) if isinstance(code, int) else None


def _labels(folder: Path, prefix: str) -> list[str]:
    """Return the labels of the folders ``<prefix>-<label>``; none if there are no such folders."""
    if not folder.is_dir():
        return []
    matches = (re.fullmatch(f"{prefix}-({LABEL})", entry.name) for entry in os.scandir(folder) if entry.is_dir())
    return [match[1] for match in matches if match]


def _require_all(folder: Path, name: str) -> None:
    """Raise unless all files of a complete result exist."""
    try:
        names = {file for file in os.listdir(folder) if file.startswith(f"{name}_")}
    except OSError:
        names = set()
    if not names:
        raise MissingInputError("no results; run the participant level for it")
    lesions = _LESIONS[_space_of(names, name)]
    needed = (_STATS, _STATS_JSON, lesions, sidecar_path(Path(lesions)).name)
    lacking = [ending.removeprefix("_") for ending in needed if f"{name}{ending}" not in names]
    if lacking:
        raise TemporaryError(f"half-written: {', '.join(lacking)} missing; run the participant level for it again")


def _space_of(files: Collection[str], name: str) -> str:
    """Return the sequence on whose grid a visit's results are, by the names of its files."""
    return "FLAIR" if f"{name}{_LESIONS['FLAIR']}" in files and f"{name}{_LESIONS['T1w']}" not in files else "T1w"


def _state(path: Path) -> tuple[int, int] | None:
    """Return a file's state, which changes when it is replaced."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read_once(folder: Path, name: str) -> VisitResults:
    stats = read_tsv(folder / f"{name}{_STATS}")
    if len(stats.lines) != 1:
        raise BadDataError(f"{name}{_STATS} has {len(stats.lines)} rows; expected 1")
    stats_sidecar = _read_object(folder / f"{name}{_STATS_JSON}")
    path = folder / f"{name}{_LESIONS[_space_of(os.listdir(folder), name)]}"
    lesions, lesions_sidecar = read_tsv(path), _read_object(sidecar_path(path))
    quality_flags = read_quality_flags(folder / f"{name}{_QUALITY}") or {}
    processing = _processing(lesions_sidecar, sidecar_path(path).name)
    version = {"GeneratedByVersion": lesions_sidecar.get("GeneratedByVersion")}
    if _processing({**version, **stats_sidecar}, f"{name}{_STATS_JSON}") != processing:
        raise TemporaryError("half-written: its volumes and its lesions come from different models or options")
    results = VisitResults(
        stats=stats.dicts()[0],
        flags=flags_of(stats_sidecar) | quality_flags,
        processing=processing,
        lesions=lesions,
    )
    _check(results, name, path.name)
    return results


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except MissingInputError as error:
        raise TemporaryError(f"half-written: {path.name} missing; run the participant level for it again") from error


def _processing(sidecar: Mapping[str, Any], name: str) -> Processing:
    try:
        return Processing(
            model_name=str(sidecar["ModelName"]),
            model_sha256=str(sidecar["ModelSHA256"]),
            threshold=float(sidecar["Threshold"]),
            min_lesion_volume_mm3=float(sidecar["MinLesionVolume"]),
            precision=str(sidecar.get("Precision", "single")),
            version=str(sidecar["GeneratedByVersion"]),
            sequences="+".join(sidecar.get("SequencesUsed", ("T1w", "FLAIR"))),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadDataError(f"{name} does not say which model and options made it: {error!r}") from error


def _check(results: VisitResults, name: str, lesions: str) -> None:
    """Raise unless the volumes are numbers and agree with the file of the table of lesions: both are of one run."""
    try:
        n_lesions = int(results.stats["n_lesions"])
        numbers = {column: results.stats[column] for column in _NUMBERS}
        values = {column: float(cell) for column, cell in numbers.items() if cell != NOT_AVAILABLE}
        total_mm3 = math.fsum(results.volumes_mm3)
    except (KeyError, ValueError) as error:
        raise BadDataError(f"{name}{_STATS} or {lesions}: not the columns and numbers expected: {error}") from error
    if not _are_numbers(results.lesions) or not all(volume > 0 for volume in results.volumes_mm3):
        raise BadDataError(f"{lesions}: a cell is not a number, or a volume not above 0")
    total = results.stats[_NUMBERS["_space-FLAIR_" in lesions]]
    if not all(math.isfinite(value) and value >= 0 for value in values.values()) or total == NOT_AVAILABLE:
        raise BadDataError(f"{name}{_STATS}: a volume is missing, negative or infinite")
    # Both tables are written with six significant digits.
    if n_lesions != len(results.lesions.lines) or not math.isclose(
        float(total) * 1000, total_mm3, rel_tol=1e-4, abs_tol=0.1
    ):
        raise TemporaryError(
            f"half-written: {n_lesions} lesions of {float(total):g} ml in its table of volumes, but "
            f"{len(results.lesions.lines)} of {total_mm3 / 1000:.6g} ml in its table of lesions"
        )


def _are_numbers(lesions: Tsv) -> bool:
    """Return whether all numeric cells of a table of lesions are finite."""
    try:
        names = [*_LESION_NUMBERS, *(name for name in _OPTIONAL_NUMBERS if name in lesions.columns)]
        indices = [lesions.columns.index(name) for name in names]
        return all(math.isfinite(float(row[index])) for row in lesions.rows for index in indices)
    except ValueError:
        return False
