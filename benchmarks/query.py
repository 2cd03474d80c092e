"""The query of a large dataset: ``python -m benchmarks.query 1000 FOLDER``.

Makes up a dataset of as many participants as one likes, without content, and lists one of them and all, each by the
command line in a process of its own. Processor time counts: it does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ONE_S, ALL_S = 1.0, 10.0
"""Promised of 1,000 participants."""


def write_dataset(root: Path, n_participants: int) -> None:
    """Write a dataset with a T1w, a FLAIR and a functional image a participant, and their sidecars."""
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "A made-up one", "BIDSVersion": "1.10.0"}))
    for number in range(1, n_participants + 1):
        participant = f"sub-{number:05d}"
        for kind, suffix in (("anat", "T1w"), ("anat", "FLAIR"), ("func", "task-rest_bold")):
            folder = root / participant / kind
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{participant}_{suffix}.nii.gz").touch()
            (folder / f"{participant}_{suffix}.json").write_text("{}")


def measure_query(root: Path, *options: str) -> tuple[float, float, int]:
    """Return wall time, processor time and the number of participants listed."""
    command = [sys.executable, "-m", "bids_cascade", str(root), str(root.parent / "out"), "participant"]
    command += ["--list-participants", "all", "--skip-bids-validation", *options]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, processor_s, len(done.stdout.split())


def main() -> int:
    """Make the dataset unless it is there, and measure; return 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("n_participants", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    root = options.folder / "dataset"
    if not root.exists():
        write_dataset(root, options.n_participants)
    one = f"{options.n_participants // 2 + 1:05d}"
    broken = False
    for what, limit_s, words in (("one", ONE_S, ("--participant-label", one)), ("all", ALL_S, ())):
        seconds, processor_s, found = measure_query(root, *words)
        broken |= processor_s > limit_s
        times = f"{seconds:.1f} s, {processor_s:.2f} s of processor time (at most {limit_s:g} s)"
        print(f"{what} of {options.n_participants}: {times}, {found} listed")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
