"""What derivatives are called, and how they and their dataset are written: whole or not at all."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bids.layout.writing import build_path

from bids_cascade import __version__
from bids_cascade.dataset.description import read_description
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import InvalidDatasetError, OutputError, cannot_create
from bids_cascade.whole_file import clear_leftovers, write_whole_file

logger = logging.getLogger(__name__)

BIDS_VERSION = "1.10.0"
GENERATOR = "bids_cascade"

_STEM = "sub-{subject}[/ses-{session}]/anat/sub-{subject}[_ses-{session}]"
_IMAGE = "{extension<.nii.gz|.json>}"
_PATTERNS = (
    _STEM + "[_space-{space}][_res-{res}][_desc-{desc}]_{suffix<T1w|FLAIR|T2w|PDw>}" + _IMAGE,
    _STEM + "[_space-{space}][_res-{res}][_label-{label}][_desc-{desc}]_{suffix<mask|probseg>}" + _IMAGE,
    _STEM + "[_space-{space}]_seg-{seg}[_res-{res}][_desc-{desc}]_{suffix<dseg>}{extension<.nii.gz|.json|.tsv>}",
    _STEM + "_from-{from}_to-{to}_mode-{mode}_{suffix<xfm>}{extension<.txt|.mat|.h5|.json>}",
    _STEM + "_desc-{desc}_{suffix<stats>}{extension<.tsv|.json>}",
    "sub-{subject}/figures/sub-{subject}[_ses-{session}]_desc-{desc}_{suffix<T1w|FLAIR|T2w|PDw|dseg>}"
    "{extension<.svg|.html>}",
)
_BLANKS = str.maketrans("\t\n\r", "   ")
_BIDSIGNORE = (
    "*.html",
    "logs/",
    "work",
    "figures",
    "*_xfm.*",
    "*_stats.tsv",
    "*_stats.json",
    "group_*",
    "models",
    "cross-validation",
)


def derivative_path(out_dir: Path, visit: Visit, suffix: str, extension: str, **entities: str) -> Path:
    """Return the path of one of the app's outputs; nothing is created.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    visit : Visit
        Whose output.
    suffix, extension : str
        Such as ``mask`` and ``.nii.gz``.
    **entities : str
        Short BIDS names: ``space``, ``res``, ``seg``, ``label``, ``desc``, ``from_``, ``to``, ``mode``.

    Raises
    ------
    ValueError
        This app has no output of that name.

    Examples
    --------
    >>> derivative_path(Path("out"), Visit("01", "1", {}), "mask", ".nii.gz", space="T1w", label="L").as_posix()
    'out/sub-01/ses-1/anat/sub-01_ses-1_space-T1w_label-L_mask.nii.gz'
    """
    asked_for = {"suffix": suffix, "extension": extension}
    asked_for |= {name.removesuffix("_"): value for name, value in entities.items()}
    path = build_path({"subject": visit.participant, "session": visit.session} | asked_for, _PATTERNS, strict=True)
    if path is None:
        raise ValueError(f"no derivative has this combination of entities: {asked_for}")
    return out_dir / str(path)


def visit_record_path(out_dir: Path, visit_name: str) -> Path:
    """Return the path of the record of how a visit's latest run ended."""
    return out_dir / "logs" / "visits" / f"{visit_name}.json"


def sidecar_path(path: Path) -> Path:
    """Return the path of the JSON sidecar of an image, transform or table."""
    return path.with_name(path.name.removesuffix(".gz").rpartition(".")[0] + ".json")


def bids_uri(path: Path, root: Path, dataset: str = "raw") -> str:
    """Return a BIDS URI such as ``bids:raw:sub-01/anat/sub-01_T1w.nii.gz``.

    Parameters
    ----------
    path : Path
        A file of the dataset.
    root : Path
        Root of the dataset that holds it.
    dataset : str
        Its name in ``DatasetLinks``; empty for the dataset the URI is written into.

    Raises
    ------
    ValueError
        `path` is not inside `root`.
    """
    # Names are made absolute without following links, which datalad datasets hold instead of files.
    absolute = Path(os.path.abspath(path))
    for folder in (Path(os.path.abspath(root)), root.resolve()):
        if absolute.is_relative_to(folder):
            return f"bids:{dataset}:{absolute.relative_to(folder).as_posix()}"
    raise ValueError(f"{path} is not inside the dataset {root}")


def write_json(obj: Mapping[str, Any], path: Path) -> None:
    """Write a JSON file, whole or not at all; paths become strings, numpy values plain ones, NaN and infinity null.

    Raises
    ------
    OutputError, ReadWriteError
        See :func:`bids_cascade.whole_file.write_whole_file`.
    """
    text = json.dumps(_plain(obj), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole_file(text.encode(), path)


def write_tsv(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    path: Path,
    descriptions: Mapping[str, Any] | None = None,
) -> None:
    """Write a table, whole or not at all, and its sidecar if `descriptions` is given.

    Parameters
    ----------
    rows : iterable of mapping
        By column; None, NaN or infinity is written as ``n/a``, a float with at most 6 significant digits.
    columns : sequence of str
        In the order to write; other keys of a row are left out.
    path : Path
        The ``.tsv`` file.
    descriptions : mapping, optional
        Content of the sidecar. Leave it out for a table that shares its sidecar with an image.

    Raises
    ------
    OutputError, ReadWriteError
        See :func:`bids_cascade.whole_file.write_whole_file`.
    """
    lines = ["\t".join(columns), *("\t".join(_cell(row.get(column)) for column in columns) for row in rows)]
    write_whole_file(("\n".join(lines) + "\n").encode(), path)
    if descriptions is not None:
        write_json(descriptions, sidecar_path(path))


def prepare_output(out_dir: Path, bids_dir: Path) -> None:
    """Make the root of the derivative dataset: its description, ``.bidsignore`` and ``logs/``.

    Several jobs may do this at once. What killed ones have left half-written goes.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset; may exist if this app has made it.
    bids_dir : Path
        Root of the raw dataset.

    Raises
    ------
    OutputError
        `out_dir` can't be written to, holds another tool's derivatives, or is the raw dataset or a folder in it
        other than ``derivatives/<name>``, or holds the raw dataset.
    ReadWriteError
        The disk is full.
    """
    out, raw = out_dir.resolve(), bids_dir.resolve()
    inside = out.is_relative_to(raw) and raw / "derivatives" not in out.parents
    if inside or raw.is_relative_to(out):
        raise OutputError(
            f"the output folder {out_dir} is the input dataset, or lies inside or around it; "
            f"choose another, such as {bids_dir / 'derivatives' / GENERATOR}"
        )
    if out.exists() and not out.is_dir():
        raise OutputError(f"the output folder {out_dir} is a file; choose another")
    _refuse_foreign_dataset(out)
    try:
        _write_if_changed(out / "dataset_description.json", _description_text(out, raw))
        _write_if_changed(out / ".bidsignore", _bidsignore_text(out / ".bidsignore"))
        (out / "logs").mkdir(exist_ok=True)
        _clear_all_leftovers(out)
    except OSError as error:
        raise cannot_create(f"what the output folder {out_dir} needs", error) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise OutputError(f"can't write to the output folder {out_dir}: no permission; choose another")


def visit_folders(out_dir: Path, visit: Visit) -> list[Path]:
    """Return the folders that a visit's outputs are in, from the participant's on."""
    anat = derivative_path(out_dir, visit, "T1w", ".nii.gz", desc="preproc").parent
    figures = derivative_path(out_dir, visit, "dseg", ".svg", desc="sizes").parent
    return [figures.parent, *([anat.parent] if visit.session else []), anat, figures]


def _clear_all_leftovers(out: Path) -> None:
    """Remove what killed runs were writing, but for what is in the folders of visits."""
    for folder in (out, out / "logs", out / "logs" / "visits", out / "models"):
        clear_leftovers(folder)


def _refuse_foreign_dataset(out: Path) -> None:
    """Raise OutputError if the folder is a dataset that another tool made."""
    if not (out / "dataset_description.json").exists():
        return
    try:
        description = read_description(out)
    except InvalidDatasetError as error:
        raise OutputError(f"the output folder already holds a dataset, and {error}") from error
    generators = description.get("GeneratedBy")
    names = [tool.get("Name") for tool in generators if isinstance(tool, dict)] if isinstance(generators, list) else []
    if GENERATOR not in names:
        made_by = ", ".join(map(str, names)) or "something else"
        raise OutputError(f"the output folder {out} holds a dataset made by {made_by}; choose another folder")


def _description_text(out: Path, raw: Path) -> str:
    """Return the text of ``dataset_description.json``."""
    # Inside the raw dataset a relative link survives moving both; elsewhere only an absolute one says where it was.
    link = Path(os.path.relpath(raw, out)).as_posix() if out.is_relative_to(raw) else raw.as_uri()
    source = {"URL": link}
    doi = _read_doi(raw)
    if doi:
        source["DOI"] = doi
    description = {
        "Name": "Multiple-sclerosis lesions by bids_cascade",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
        "SourceDatasets": [source],
        "DatasetLinks": {"raw": link},
    }
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def _read_doi(raw: Path) -> str | None:
    """Return the raw dataset's DOI if it has one."""
    try:
        doi = read_description(raw).get("DatasetDOI")
    except InvalidDatasetError:
        return None
    return doi if isinstance(doi, str) else None


def _bidsignore_text(path: Path) -> str:
    """Return what is in ``.bidsignore`` with the app's own lines added."""
    there = path.read_bytes().decode(errors="surrogateescape").splitlines() if path.is_file() else []
    return "\n".join([*there, *(line for line in _BIDSIGNORE if line not in there)]) + "\n"


def _write_if_changed(path: Path, text: str) -> None:
    """Write a text file whole unless it already holds that text."""
    content = text.encode(errors="surrogateescape")  # what others have written there is kept as it is
    if path.is_file() and path.read_bytes() == content:
        return
    write_whole_file(content, path)


def _plain(value: object) -> object:
    """Return a value, with all it contains, as JSON knows it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: object) -> str:
    """Return one cell of a table; what would end it, in a message or a name, becomes a blank."""
    if isinstance(value, str):
        return value.translate(_BLANKS)
    plain = _plain(value)
    if plain is None:
        return "n/a"
    return f"{plain:.6g}" if isinstance(plain, float) else str(plain).translate(_BLANKS)
