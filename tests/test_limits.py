"""What the process may use, read from made-up trees of /proc and /sys whose answers are worked out by hand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from bids_cascade.errors import UsageError
from bids_cascade.limits import allowed_processors, free_memory_gb, resolve_device

SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU")
UNLIMITED_V1 = "9223372036854771712"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six processors and 64 GB free, and no job."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 64_000_000_000}))
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)


def tree(root: Path, cgroup: str, files: Mapping[str, str]) -> Path:
    """Write ``/proc/self/cgroup`` and files under ``/sys/fs/cgroup`` below a root of their own."""
    for name, text in {
        "proc/self/cgroup": cgroup,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/", {}, 6),
        ("0::/", {"cpu.max": "max 100000"}, 6),
        ("0::/", {"cpu.max": "250000 100000"}, 2),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/job/step", {"job/cpu.max": "300000 100000", "job/step/cpu.max": "max 100000"}, 3),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ("3:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 6),
        # In a container its own group is mounted at the top, and its name is the one outside.
        ("3:cpu:/docker/abc", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("3:memory:/", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 6),
    ],
)
def test_processors_of_the_control_group(tmp_path: Path, cgroup: str, files: dict[str, str], expected: int) -> None:
    assert allowed_processors(tree(tmp_path, cgroup, files)) == expected


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SLURM_CPUS_PER_TASK": "3"}, 3),
        ({"SLURM_CPUS_PER_TASK": "64"}, 6),
        ({"SLURM_CPUS_ON_NODE": "2"}, 2),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "2"}, 4),
        ({"SLURM_CPUS_PER_TASK": ""}, 6),
    ],
)
def test_processors_of_the_job(tmp_path: Path, monkeypatch, variables: dict[str, str], expected: int) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert allowed_processors(tmp_path) == expected


@pytest.mark.parametrize(
    ("cgroup", "files", "expected_gb"),
    [
        ("0::/", {}, 57.6),
        ("0::/", {"memory.max": "max", "memory.current": "5"}, 57.6),
        ("0::/", {"memory.max": "10000000000", "memory.current": "4000000000"}, 5.4),
        (
            "0::/",
            {
                "memory.max": "10000000000",
                "memory.current": "4000000000",
                "memory.stat": "anon 1000\ninactive_file 3000000000\nactive_file 7",
            },
            8.1,
        ),
        (
            "0::/slurm/job_1/step_0",
            {
                "slurm/job_1/memory.max": "3000000000",
                "slurm/job_1/memory.current": "1000000000",
                "slurm/job_1/step_0/memory.max": "max",
                "slurm/job_1/step_0/memory.current": "1000000000",
            },
            1.8,
        ),
        (
            "4:memory:/docker/abc",
            {
                "memory/memory.limit_in_bytes": "2000000000",
                "memory/memory.usage_in_bytes": "1500000000",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 500000000",
            },
            0.9,
        ),
        ("4:memory:/", {"memory/memory.limit_in_bytes": UNLIMITED_V1, "memory/memory.usage_in_bytes": "9"}, 57.6),
        ("0::/", {"memory.max": "1000", "memory.current": "2000"}, 0.0),
    ],
)
def test_memory_of_the_control_group(tmp_path: Path, cgroup: str, files: dict[str, str], expected_gb: float) -> None:
    assert free_memory_gb(tree(tmp_path, cgroup, files)) == pytest.approx(expected_gb, abs=1e-6)


@pytest.mark.parametrize(
    ("variables", "expected_gb"),
    [
        ({"SLURM_MEM_PER_NODE": "8192"}, 0.9 * 8192 * 2**20 / 1e9),
        ({"SLURM_MEM_PER_NODE": "0"}, 57.6),
        ({"SLURM_MEM_PER_CPU": "2048", "SLURM_CPUS_ON_NODE": "4"}, 0.9 * 8192 * 2**20 / 1e9),
        ({"SLURM_MEM_PER_CPU": "2048"}, 57.6),
    ],
)
def test_memory_of_the_job(tmp_path: Path, monkeypatch, variables: dict[str, str], expected_gb: float) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert free_memory_gb(tmp_path) == pytest.approx(expected_gb)


def test_this_machine_has_something_to_work_with() -> None:
    assert allowed_processors() >= 1
    assert free_memory_gb() > 0


def test_cuda_that_is_not_there_is_refused(monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UsageError, match=r"torch finds 0 CUDA devices here \(CUDA_VISIBLE_DEVICES is ``\)"):
        resolve_device("cuda:1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with pytest.raises(UsageError, match="torch finds 0 CUDA devices here; use"):
        resolve_device("cuda")
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="expected auto, cpu, cuda or cuda:N"):
        resolve_device("gpu")


def test_cuda_that_is_there_is_taken_unless_hidden(monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/nvidiactl")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert resolve_device("auto") == "cuda"
    assert resolve_device("cuda:1") == "cuda:1"
    with pytest.raises(UsageError, match="finds 2 CUDA"):
        resolve_device("cuda:2")
    for hidden in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert resolve_device("auto") == "cpu"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert resolve_device("auto") == "cuda"
