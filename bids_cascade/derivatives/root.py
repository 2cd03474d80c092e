"""The root of the derivative dataset: its description, README, ``.bidsignore`` and logs."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from bids_cascade import __version__
from bids_cascade.dataset.description import read_description
from bids_cascade.errors import InvalidDatasetError, OutputError, cannot_create
from bids_cascade.whole_file import clear_leftovers, write_whole_file

BIDS_VERSION = "1.10.0"
GENERATOR = "bids_cascade"

_BIDSIGNORE = (
    "*.html",
    "logs/",
    "work",
    "figures",
    "*_xfm.*",
    "*_roi.*",
    "*_stats.tsv",
    "*_stats.json",
    "group_*",
    "lookup",
    "models",
    "cross-validation",
)

_README = """# Multiple-sclerosis lesions, found by bids_cascade

Made by a computer, from the images of the dataset that dataset_description.json names. Every mask is a draft that must
be checked by someone who reads brain MRI. Research software, not a medical device.

- `sub-<label>.html`: a page for each participant, with figures, a viewer, quality flags and the methods
- `group.html`, `group_*.tsv`: all visits, once the group level has run
- `sub-<label>/[ses-<label>/]anat/`: lesion masks (`label-L_mask`), probability maps (`label-L_probseg`), numbered
  lesions (`seg-lesions_dseg`, with a table), the brain mask, and the images without their bias fields
- `logs/`: options, versions, seconds by step, and crash reports

The JSON file beside each image and table says how it was made and what its columns mean.
"""


def prepare_output(out_dir: Path, bids_dir: Path) -> None:
    """Make the root of the derivative dataset: its description, README, ``.bidsignore`` and ``logs/``.

    An existing README, whoever wrote it, is kept.

    Several jobs may do this at once. Half-written files of killed jobs are removed.

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
        if not any(out.glob("README*")):
            write_whole_file(_README.encode(), out / "README.md")
        (out / "logs").mkdir(exist_ok=True)
        _clear_all_leftovers(out)
    except OSError as error:
        raise cannot_create(f"what the output folder {out_dir} needs", error) from error
    if not os.access(out, os.W_OK | os.X_OK):
        reason = os.strerror(errno.EROFS if os.statvfs(out).f_flag & os.ST_RDONLY else errno.EACCES)
        raise OutputError(f"can't write to the output folder {out_dir}: {reason}; choose another")


def _clear_all_leftovers(out: Path) -> None:
    """Remove half-written files of killed runs, except in the folders of visits."""
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
    # Within the raw dataset, a relative link survives moving both; elsewhere only an absolute one is clear.
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
    """Return the content of ``.bidsignore`` with the app's own lines added."""
    lines = path.read_bytes().decode(errors="surrogateescape").splitlines() if path.is_file() else []
    return "\n".join([*lines, *(line for line in _BIDSIGNORE if line not in lines)]) + "\n"


def _write_if_changed(path: Path, text: str) -> None:
    """Write a text file atomically unless it already holds that text."""
    content = text.encode(errors="surrogateescape")  # lines of others are kept as they are
    if path.is_file() and path.read_bytes() == content:
        return
    write_whole_file(content, path)
