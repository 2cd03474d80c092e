"""Limits of the job or container: processors, memory and GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bids_cascade.errors import UsageError

_ROOT = Path("/")
_NO_DEVICE = ("", "-1", "NoDevFiles")
"""Values of ``CUDA_VISIBLE_DEVICES`` that hide every device; the last is Slurm's."""


def allowed_processors(root: Path = _ROOT) -> int:
    """Return how many processors this process may use.

    The minimum of its affinity, the quota of its control group (in whole processors) and Slurm's limit.

    Parameters
    ----------
    root : Path
        Where ``/proc`` and ``/sys`` are.
    """
    allowed = [len(os.sched_getaffinity(0)), *_slurm_numbers("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")[:1]]
    for folder in _control_groups("cpu", root):
        unified = _words(folder / "cpu.max")
        legacy = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
        allowed += [
            int(words[0]) // int(words[1])
            for words in (unified, legacy)
            if len(words) == 2 and words[0].isdigit() and words[1].isdigit()
        ]
    return max(1, min(allowed))


def free_memory_gb(root: Path = _ROOT) -> float:
    """Return 90 % of the memory that this process may still use, in GB (1e9 bytes).

    The minimum of the machine's free memory, that left by the control groups of this process (file caches count as
    free), and Slurm's limit for the job on this machine.

    Parameters
    ----------
    root : Path
        Where ``/proc`` and ``/sys`` are.
    """
    import psutil

    free = [int(psutil.virtual_memory().available)]
    for folder in _control_groups("memory", root):
        for limit, used, cached in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit_bytes, used_bytes = _bytes(folder / limit), _bytes(folder / used)
            if limit_bytes is not None and used_bytes is not None:
                free.append(limit_bytes - used_bytes + _stat_bytes(folder / "memory.stat", cached))
    free += [megabytes << 20 for megabytes in _slurm_numbers("SLURM_MEM_PER_NODE")]
    for megabytes in _slurm_numbers("SLURM_MEM_PER_CPU"):
        free += [(megabytes << 20) * processors for processors in _slurm_numbers("SLURM_CPUS_ON_NODE")]
    return 0.9 * max(0, min(free)) / 1e9


def resolve_device(asked_for: str) -> str:
    """Return ``cpu``, ``cuda`` or ``cuda:N``: nipype must know before the graph is built.

    Parameters
    ----------
    asked_for : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; N counts the devices that ``CUDA_VISIBLE_DEVICES`` leaves.

    Raises
    ------
    UsageError
        It is none of these, or there is no such device.
    """
    kind, _, number = asked_for.partition(":")
    if asked_for not in ("auto", "cpu", "cuda") and not (kind == "cuda" and number.isdigit()):
        raise UsageError(f"--device {asked_for}: expected auto, cpu, cuda or cuda:N")
    if asked_for == "cpu" or (asked_for == "auto" and not _may_have_gpu()):
        return "cpu"
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked_for == "auto":
        return "cuda" if count else "cpu"
    if int(number or 0) >= count:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is `{visible}`)"
        raise UsageError(f"--device {asked_for}: torch finds {count} CUDA devices here{why}; use --device cpu or auto")
    return asked_for


def _may_have_gpu() -> bool:
    """Return whether it is worth asking torch, which takes seconds to load."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in _NO_DEVICE:
        return False
    return any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/dxg"))


def _control_groups(controller: str, root: Path) -> Iterator[Path]:
    """Give the folders of this process's control group and of those around it, of version 1 and 2.

    In a container, the group may be mounted at the top while its name is the outer one: the folders need not exist.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = PurePosixPath(name)
        for folder in (group, *group.parents):
            yield top / folder.relative_to("/")


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _bytes(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _stat_bytes(path: Path, key: str) -> int:
    words = _words(path)
    return int(words[words.index(key) + 1]) if key in words else 0


def _slurm_numbers(*names: str) -> list[int]:
    """Return Slurm's variables that are set to a number above 0."""
    values = (os.environ.get(name, "") for name in names)
    return [int(value) for value in values if value.isdigit() and int(value) > 0]
