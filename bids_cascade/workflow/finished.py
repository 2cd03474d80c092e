"""Receipts of finished visits, by which a rerun passes over them although their intermediate results are deleted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bids_cascade.dataset.tables import read_object
from bids_cascade.derivatives.files import write_json
from bids_cascade.derivatives.names import visit_folders
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.derivatives.written import has_outputs
from bids_cascade.errors import BidsCascadeError
from bids_cascade.workflow.visit import Preprocessing


def remember_finished(plan: OutputPlan, preprocessing: Preprocessing, work_dir: Path) -> None:
    """Write into the work folder what a visit's results were made from, and which files they are.

    Parameters
    ----------
    plan : OutputPlan
        Of a visit whose results and figures are all there.
    preprocessing : Preprocessing
    work_dir : Path

    Raises
    ------
    OutputError, ReadWriteError
        The file can't be written.
    """
    write_json(_receipt(plan, preprocessing), _path(plan, work_dir))


def is_finished(plan: OutputPlan, preprocessing: Preprocessing, work_dir: Path) -> bool:
    """Return whether a visit's files are as a run with the same images and options has left them."""
    try:
        return has_outputs(plan) and read_object(_path(plan, work_dir)) == _receipt(plan, preprocessing)
    except (BidsCascadeError, OSError):
        return False


def _path(plan: OutputPlan, work_dir: Path) -> Path:
    return work_dir / "finished" / f"{plan.visit.slug}.json"


def _receipt(plan: OutputPlan, preprocessing: Preprocessing) -> dict[str, Any]:
    """Return a hash of images and options, and when each of the visit's files was written."""
    options = {name: value for name, value in asdict(preprocessing).items() if name != "omp_nthreads"}
    digest = hashlib.sha256(json.dumps([asdict(plan), options], default=str, sort_keys=True).encode())
    for choice in plan.visit.images.values():
        with choice.path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return {"made_from": digest.hexdigest(), "files": {path.name: _written(path) for path in _files(plan)}}


def _files(plan: OutputPlan) -> list[Path]:
    *_, anat, figures = visit_folders(plan.out_dir, plan.visit)
    return [*sorted(anat.glob(f"{plan.visit.name}_*")), *sorted(figures.glob(f"{plan.visit.name}_desc-*"))]


def _written(path: Path) -> int:
    """Return when a file was written, in ns; 0 for quality measures, into which a later visit may put a flag."""
    return 0 if "_desc-quality_" in path.name else path.stat().st_mtime_ns
