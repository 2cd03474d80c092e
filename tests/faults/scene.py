"""Where a fault happens: a coarse phantom, the app as its own processes, and what is left of them."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil

from bids_cascade.anatomy.registration import coarse
from bids_cascade.imaging.grid import grid_of, resample
from bids_cascade.imaging.images import save_image

_MARK = "BIDS_CASCADE_FAULTS"
_LONGEST_S = 7200
REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY.parent / "shared" / "data"
"""Real scans, where there are any."""


def is_wanted(name: str) -> bool:
    """Return whether a case is among those that the variable ``FAULTS_ONLY``, a regular expression, asks for."""
    return re.search(os.environ.get("FAULTS_ONLY", ""), name) is not None


@dataclass(frozen=True)
class Row:
    """One line of the table: what was tried, what came of it, and whether that is what was promised."""

    part: str
    tried: str
    happened: str
    kept: bool


@dataclass(frozen=True)
class End:
    """How a run of the app ended; processor time and memory are those of all its processes."""

    code: int
    said: str
    complained: str
    seconds: float = 0.0
    processor_s: float = 0.0
    peak_gb: float = 0.0

    @property
    def errors(self) -> list[str]:
        """The lines that say what went wrong."""
        lines = [*self.said.splitlines(), *self.complained.splitlines()]
        return [line for line in lines if "FAILED:" in line or line.startswith("bids_cascade: error")]

    @property
    def has_traceback(self) -> bool:
        return "Traceback" in self.said + self.complained


@dataclass
class Scene:
    """A folder in which the app is run on a dataset: a given one, or one of phantoms that is made there.

    Attributes
    ----------
    before : tuple of str
        A command that runs the app's.
    validate : bool
        Let the dataset be validated, too.
    level : str
        Other levels than the participant level have no work folder.
    """

    folder: Path
    dataset: Path = Path()
    before: tuple[str, ...] = ()
    validate: bool = False
    level: str = "participant"
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        from bids_cascade.demo.cli import write_phantom_dataset

        self.temporary = self.folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        if self.dataset == Path():
            self.dataset = self.folder / "dataset"
            if not self.dataset.exists():
                coarse = {"t1w_voxel_mm": (2.5, 2.5, 2.5), "flair_voxel_mm": (2.5, 2.5, 5.0)}
                write_phantom_dataset(self.dataset, 1, **coarse)

    def start(self, out: Path, work: Path, *options: str, temporary: Path | None = None) -> subprocess.Popen[str]:
        """Start the app in a process group of its own."""
        command = [*self.before, sys.executable, str(REPOSITORY / "run.py"), str(self.dataset), str(out)]
        command += [self.level, *([] if self.validate else ["--skip-bids-validation"]), *options]
        if self.level == "participant":
            command += ["-w", str(work), "--mem-gb", "4"]  # what else the machine does decides nothing
        environment = {**os.environ, _MARK: self.mark, "TMPDIR": str(temporary or self.temporary)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)

    def run(self, out: Path, work: Path, *options: str, temporary: Path | None = None) -> End:
        """Run the app to its end."""
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = self.start(out, work, *options, temporary=temporary)
        try:
            said, complained = process.communicate(timeout=_LONGEST_S)
        finally:
            process.kill()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor_s = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        seconds = time.monotonic() - began
        return End(process.returncode, said, complained, seconds, processor_s, used.ru_maxrss * 1024 / 1e9)

    def processes(self) -> list[psutil.Process]:
        """Return the living processes that runs here have started."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def orphans(self, patience_s: float = 10) -> list[str]:
        """Return the names of those that are still there after a while."""
        deadline = time.monotonic() + patience_s
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [" ".join(process.cmdline()[:3]) for process in left]


def leftovers(*folders: Path) -> list[str]:
    """Return what writers leave that did not come to their end."""
    found: list[str] = []
    for folder in folders:
        for path in folder.rglob("*"):
            name = path.name
            is_temporary = name.startswith(("tmp_", "pymp-", "bids_cascade_")) and name != "bids_cascade_cache"
            is_hidden = name.startswith(".") and name != ".bidsignore"
            if is_temporary or is_hidden:
                found.append(str(path))
    return found


def coarse_patient(dataset: Path, sessions: tuple[str, ...]) -> None:
    """Make a dataset of a real patient's visits, in voxels of 2.5 mm: a brain whose anatomy the atlas knows."""
    source = DATA / "mslesseg"
    dataset.mkdir(parents=True)
    shutil.copy(source / "dataset_description.json", dataset)
    for session in sessions:
        for path in (source / "sub-P14" / f"ses-{session}" / "anat").glob("*_[TF][1L]*.nii.gz"):
            image = nib.load(path)
            small = coarse(image, 2.5)
            brain = coarse(nib.Nifti1Image((image.get_fdata() != 0).astype(np.float32), image.affine), 2.5)
            target = dataset / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            save_image(np.where(brain.get_fdata() > 0.5, small.get_fdata(), 0), small.affine, target, np.float32)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of a participant's results by their names."""
    return {path.name: path.read_bytes() for path in sorted((folder / "sub-01" / "anat").iterdir())}


def copy_participant(target: Path, label: str, source: Path) -> Path:
    """Copy the only participant of a dataset into another under a new label; return the new folder."""
    (participant,) = source.glob("sub-*")
    for path in participant.rglob("*"):
        if path.is_file():
            copy = target / f"sub-{label}" / path.relative_to(participant)
            copy = copy.with_name(copy.name.replace(f"{participant.name}_", f"sub-{label}_"))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    shutil.copy(source / "dataset_description.json", target)
    return target / f"sub-{label}"


def mask_of(out: Path, label: str) -> Path | None:
    """Return a participant's lesion mask on the grid of the T1w image; None where there is none."""
    return next((out / f"sub-{label}").glob("**/anat/*_space-T1w_label-L_mask.nii.gz"), None)


def dice_of(one: Path, other: Path) -> float:
    """Return the overlap of two masks as RAS+, whatever the order that each stores its axes in.

    Of equal extents, voxels are compared one by one, wherever they lie; else the second is brought onto the grid of the
    first.
    """
    a, b = (nib.as_closest_canonical(nib.load(path)) for path in (one, other))
    if a.shape != b.shape:
        b = resample(b, grid_of(a), 0)
    a, b = (np.asarray(image.dataobj) > 0 for image in (a, b))
    return float(2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))


def as_table(rows: Sequence[Row]) -> str:
    """Return rows as Markdown."""
    lines = ["| part | tried | happened | as promised |", "|---|---|---|---|"]
    lines += [f"| {row.part} | {row.tried} | {row.happened} | {'yes' if row.kept else '**no**'} |" for row in rows]
    return "\n".join(lines)
