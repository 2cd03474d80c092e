"""Names and paths of derivatives."""

from __future__ import annotations

import os
from pathlib import Path

from bids.layout.writing import build_path

from bids_cascade.visit_key import VisitKey

_STEM = "sub-{subject}[/ses-{session}]/anat/sub-{subject}[_ses-{session}]"
_IMAGE = "{extension<.nii.gz|.json>}"
_PATTERNS = (
    _STEM + "[_space-{space}][_res-{res}][_desc-{desc}]_{suffix<T1w|FLAIR|T2w|PDw>}" + _IMAGE,
    _STEM + "[_space-{space}][_res-{res}][_label-{label}][_desc-{desc}]_{suffix<mask|probseg>}" + _IMAGE,
    _STEM + "[_space-{space}]_seg-{seg}[_res-{res}][_desc-{desc}]_{suffix<dseg>}{extension<.nii.gz|.json|.tsv>}",
    _STEM + "_from-{from}_to-{to}_mode-{mode}_{suffix<xfm>}{extension<.txt|.mat|.h5|.json>}",
    _STEM + "_label-{label}_{suffix<roi>}" + _IMAGE,
    _STEM + "_desc-{desc}_{suffix<stats>}{extension<.tsv|.json>}",
    "sub-{subject}/figures/sub-{subject}[_ses-{session}]_desc-{desc}_{suffix<T1w|FLAIR|T2w|PDw|dseg>}"
    "{extension<.svg|.html>}",
)


def derivative_path(out_dir: Path, visit: VisitKey, suffix: str, extension: str, **entities: str) -> Path:
    """Return the path of one of the app's outputs; nothing is created.

    Parameters
    ----------
    out_dir : Path
        Root of the derivative dataset.
    visit : VisitKey
        Visit of the output.
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
    >>> derivative_path(Path("out"), VisitKey("01", "1"), "mask", ".nii.gz", space="T1w", label="L").as_posix()
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
    # Paths are made absolute without resolving links, which datalad datasets hold instead of files.
    absolute = Path(os.path.abspath(path))
    for folder in (Path(os.path.abspath(root)), root.resolve()):
        if absolute.is_relative_to(folder):
            return f"bids:{dataset}:{absolute.relative_to(folder).as_posix()}"
    raise ValueError(f"{path} is not inside the dataset {root}")


def visit_folders(out_dir: Path, visit: VisitKey) -> list[Path]:
    """Return the folders of a visit's outputs, the participant's first."""
    anat = derivative_path(out_dir, visit, "T1w", ".nii.gz", desc="preproc").parent
    figures = derivative_path(out_dir, visit, "dseg", ".svg", desc="sizes").parent
    return [figures.parent, *([anat.parent] if visit.session else []), anat, figures]
