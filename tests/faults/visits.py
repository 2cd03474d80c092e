"""Many visits in one run: memory, open files and processes stay flat."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.faults.scene import Row, Scene

N_VISITS = int(os.environ.get("FAULTS_VISITS", "50"))


def run_visits(folder: Path) -> Iterator[Row]:
    """Sample the main process while visits go by, and compare the second half with the first."""
    scene = Scene(folder / "visits")
    for number in range(2, N_VISITS + 1):
        for image in (scene.dataset / "sub-01" / "anat").iterdir():
            target = scene.dataset / f"sub-{number:02d}" / "anat" / image.name.replace("sub-01", f"sub-{number:02d}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, target)
    process = scene.start(scene.folder / "out", scene.folder / "work")
    samples = []
    main = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            samples.append((main.memory_info().rss / 1e6, main.num_fds(), len(scene.processes())))
        except psutil.Error:
            break
        time.sleep(1)
    process.communicate()
    settled = samples[len(samples) // 10 :]
    early, late = settled[: len(settled) // 2], settled[len(settled) // 2 :]
    for index, (name, growth) in enumerate((("memory (MB)", 1.2), ("open files", 1.1), ("processes", 1.1))):
        first, second = (max(sample[index] for sample in part) for part in (early, late))
        tried = (
            f"{N_VISITS} visits in one run: {name} of the main process" if index < 2 else f"{N_VISITS} visits: {name}"
        )
        flat = process.returncode == 0 and second <= first * growth
        yield Row("visits", tried, f"at most {first:.0f} in the first half, {second:.0f} in the second", flat)
