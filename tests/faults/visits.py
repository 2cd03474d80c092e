"""Many visits in one run: memory, open files and processes stay flat.

Visits are small, and so is the model: what a run gathers from visit to visit does not depend on how much a visit takes.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from bids_cascade.cascade.ensemble import Ensemble
from bids_cascade.cascade.model import Model
from bids_cascade.cascade.network import build_network
from bids_cascade.cascade.two_stage import Cascade
from bids_cascade.config import CascadeConfig, NetworkConfig
from bids_cascade.models.store import save_model
from tests.faults.scene import Row, Scene
from tests.levels.conftest import write_tiny_dataset

N_VISITS = int(os.environ.get("FAULTS_VISITS", "50"))
N_PAIRS = 5
"""Of them, that are two visits of one participant, to be compared."""

_MEASURED = {
    "memory of the main process (MB)": 1.2,
    "memory of all processes (MB)": 1.2,
    "open files of the main process": 1.1,
    "processes": 1.1,
}
"""With how much more is allowed in the second half."""


def run_visits(folder: Path) -> Iterator[Row]:
    """Sample the main process while visits go by, and compare the second half with the first."""
    root = folder / "visits"
    model = _write_model(root / "tiny.safetensors")
    scene = Scene(root, _write_dataset(root))
    process = scene.start(root / "out", root / "work", "--model", str(model), "--no-anatomy")
    samples, main = [], psutil.Process(process.pid)
    while process.poll() is None:
        with suppress(psutil.Error):  # one of them ends meanwhile
            processes = scene.processes()
            all_mb = sum(one.memory_info().rss for one in processes) / 1e6
            samples.append((main.memory_info().rss / 1e6, all_mb, main.num_fds(), len(processes)))
        time.sleep(1)
    said, _ = process.communicate()
    done = f"{N_VISITS} of {N_VISITS} visits done" in said
    pairs = [line for line in said.splitlines() if re.match(r"sub-\d+_ses-b with ses-a ", line)]
    n_refused = sum("NOT COMPARED" in line for line in pairs)
    happened = f"exit {process.returncode}; {len(pairs)} pairs tried, {n_refused} of them not comparable"
    kept = done and not process.returncode and len(pairs) == N_PAIRS
    yield Row("visits", f"{N_VISITS} visits in one run", happened, kept)
    settled = samples[len(samples) // 10 :]
    early, late = settled[: len(settled) // 2], settled[len(settled) // 2 :]
    for index, (name, growth) in enumerate(_MEASURED.items()):
        first, second = (max(sample[index] for sample in part) for part in (early, late))
        happened = f"at most {first:.0f} in the first half, {second:.0f} in the second"
        yield Row("visits", name, happened, second <= first * growth)


def _write_dataset(root: Path) -> Path:
    """Write a dataset of so many visits, all alike, the first participants with two each."""
    source, dataset = write_tiny_dataset(root / "source"), root / "dataset"
    for number in range(1, N_VISITS - N_PAIRS + 1):
        for session in ("a", "b")[: 1 + (number <= N_PAIRS)]:
            for image in (source / "sub-01" / f"ses-{session}" / "anat").iterdir():
                target = dataset / f"sub-{number:02d}" / f"ses-{session}" / "anat"
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(image, target / image.name.replace("sub-01", f"sub-{number:02d}"))
    shutil.copy(source / "dataset_description.json", dataset)
    return dataset


def _write_model(path: Path) -> Path:
    """Write a model of networks that have learnt nothing, on a grid of 4 mm."""
    small = NetworkConfig(2, patch_size=7, features=(3,), dense=())
    config = CascadeConfig(
        voxel_size_mm=4.0, gate_probability=0.1, hard_negative_probability=0.05, threshold=0.3, peak_probability=0.3
    )
    networks = build_network(small, 0), build_network(small, 1)
    return save_model(Model(Ensemble((Cascade(config, networks),)), "tiny"), path).path
