"""Records of runs in the log folder: options, versions, and how each visit ended."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bids_cascade import __version__
from bids_cascade.config import Inputs
from bids_cascade.dataset.description import read_description
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.files import write_json
from bids_cascade.derivatives.names import visit_record_path
from bids_cascade.outcomes import VisitOutcome

_PACKAGES = ("antspyx", "deepbet", "nibabel", "nipype", "numpy", "pybids", "scipy", "torch")


def write_record(inputs: Inputs, options: Mapping[str, Any], visits: Sequence[Visit]) -> Path:
    """Write the exact options and versions of this run into a log folder of its own; return the folder."""
    now = datetime.now(UTC)
    folder = inputs.out_dir / "logs" / f"{now:%Y%m%dT%H%M%S}_{os.getpid()}"
    record = {
        "started": now.isoformat(timespec="seconds"),
        "command": sys.argv,
        "bids_dir": inputs.bids_dir,
        "out_dir": inputs.out_dir,
        "participants": inputs.selection.participants,
        "sessions": inputs.selection.sessions,
        "filters": {name: dict(entities) for name, entities in inputs.selection.filters.items()},
        **{name: asdict(value) if is_dataclass(value) else value for name, value in options.items()},  # type: ignore[arg-type]
        "visits": {visit.name: _images(visit) for visit in visits},
        "versions": versions(),
        "machine": {"system": platform.platform(), "processors": os.cpu_count()},
    }
    write_json(record, folder / "options.json")
    return folder


def write_visit_records(ended: Sequence[tuple[Visit, VisitOutcome]], inputs: Inputs, log_dir: Path) -> None:
    """Write for each visit how its latest run ended, for its page: ``logs/visits/<visit>.json``."""
    dataset = read_description(inputs.bids_dir).get("Name", inputs.bids_dir.name)
    for visit, result in ended:
        record = {
            "visit": visit.name,
            "participant": visit.participant,
            "session": visit.session,
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "exit_code": result.exit_code,
            "message": result.message,
            "seconds": result.seconds,
            "command": sys.argv,
            "dataset": dataset,
            **_images(visit),
            "log_folder": log_dir.relative_to(inputs.out_dir),
            "crash_reports": [path.relative_to(inputs.out_dir) for path in result.crash_reports],
            "version": __version__,
        }
        write_json(record, visit_record_path(inputs.out_dir, visit.name))


@cache
def versions() -> dict[str, str]:
    """Return the versions of all packages that the results depend on."""
    return {"bids_cascade": __version__, "python": platform.python_version()} | {
        name: version(name) for name in _PACKAGES
    }


def _images(visit: Visit) -> dict[str, Any]:
    images = {sequence: {"path": choice.path, "reason": choice.reason} for sequence, choice in visit.images.items()}
    return {"images": images, "missing": visit.missing, "absent": visit.absent}
