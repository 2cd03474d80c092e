"""Many visits in one run: memory, open files and processes stay flat."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from bids_cascade.imaging.brain import brain_mask
from bids_cascade.imaging.grid import grid_of, resample
from bids_cascade.imaging.images import data_of, mask_of, save_image
from bids_cascade.imaging.intensity import load_scan
from tests.faults.scene import Row, Scene

N_VISITS = int(os.environ.get("FAULTS_VISITS", "50"))
_MEASURED = {
    "memory of the main process (MB)": 1.2,
    "memory of all processes (MB)": 1.2,
    "open files of the main process": 1.1,
    "processes": 1.1,
}
"""With how much more is allowed in the second half."""

_SMALLER = 0.8
"""Of a phantom's edge; some 700 ml of brain are left."""


def run_visits(folder: Path) -> Iterator[Row]:
    """Sample the main process while visits go by, and compare the second half with the first."""
    scene = Scene(folder / "visits")
    _strip(scene.dataset / "sub-01" / "anat")
    for number in range(2, N_VISITS + 1):
        for image in (scene.dataset / "sub-01" / "anat").iterdir():
            target = scene.dataset / f"sub-{number:02d}" / "anat" / image.name.replace("sub-01", f"sub-{number:02d}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, target)
    process = scene.start(scene.folder / "out", scene.folder / "work")
    samples = []
    main = psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):  # one of them ends meanwhile
            processes = scene.processes()
            all_mb = sum(one.memory_info().rss for one in processes) / 1e6
            samples.append((main.memory_info().rss / 1e6, all_mb, main.num_fds(), len(processes)))
        time.sleep(1)
    said, _ = process.communicate()
    done = f"{N_VISITS} of {N_VISITS} visits done" in said
    yield Row("visits", f"{N_VISITS} visits in one run", f"exit {process.returncode}", done and not process.returncode)
    settled = samples[len(samples) // 10 :]
    early, late = settled[: len(settled) // 2], settled[len(settled) // 2 :]
    for index, (name, growth) in enumerate(_MEASURED.items()):
        first, second = (max(sample[index] for sample in part) for part in (early, late))
        happened = f"at most {first:.0f} in the first half, {second:.0f} in the second"
        yield Row("visits", name, happened, second <= first * growth)


def _strip(anat: Path) -> None:
    """Leave a small brain alone, both images on one grid, so that a visit takes few seconds."""
    t1w_path, flair_path = (anat / f"sub-01_{suffix}.nii.gz" for suffix in ("T1w", "FLAIR"))
    t1w = load_scan(t1w_path)
    inside, grid = mask_of(brain_mask(t1w).mask), grid_of(t1w)
    affine = np.diag([_SMALLER, _SMALLER, _SMALLER, 1]) @ grid.affine
    for path, image in ((t1w_path, t1w), (flair_path, resample(load_scan(flair_path), grid, 1))):
        save_image(np.where(inside, data_of(image), 0), affine, path, np.float32)
