"""Output, work and temporary folder on disks that are full, have no inodes left, or are read-only; as root."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.scene import End, Row, Scene, contents

_CODES = (73, 74)


def run_disks(folder: Path) -> Iterator[Row]:
    """Run the app on small disks; it must say which folder, and why."""
    scene = Scene(folder / "disks")
    done, work = scene.folder / "done", scene.folder / "work"
    if scene.run(done, work).code:
        yield Row("disks", "a run left alone", "failed", False)
        return
    whole = contents(done)
    for name, options, fill in (
        ("full", "size=1m", True),
        ("read-only", "size=1m,ro", False),
        ("without inodes", "size=9m,nr_inodes=1", False),
    ):
        for kind in ("output", "work", "temporary"):
            with _disk(scene.folder / "disk", options, fill) as disk:
                end = _run(scene, kind, disk, work)
                yield _judge(f"{kind} folder {name} at the start", end, disk, kind == "temporary")
    for kilobytes in (300, 1500):
        with _disk(scene.folder / "disk", f"size={kilobytes}k", False) as disk:
            end = _run(scene, "output", disk, work)
            yield _judge(f"output folder full after {kilobytes} kB", end, disk)
    with _disk(scene.folder / "disk", "size=64m", False) as disk:
        shutil.copytree(done, disk, dirs_exist_ok=True)
        shutil.rmtree(disk / "sub-01" / "figures")
        _fill(disk, leave=len(b"".join(whole.values())) + 100_000)
        end = _run(scene, "output", disk, work)
        row = _judge("output folder full while figures are published", end, disk)
        kept = {name: content for name, content in contents(disk).items() if "quality" not in name}
        same = (
            all(whole[name] == content for name, content in kept.items())
            and "sub-01_space-T1w_label-L_mask.nii.gz" in kept
        )
        yield Row(row.part, row.tried, f"{row.happened}; masks {'intact' if same else 'not intact'}", row.kept and same)
    for megabytes, inodes in ((2, 0), (40, 30)):
        with _disk(scene.folder / "disk", f"size={megabytes}m,nr_inodes={inodes}", False) as disk:
            end = _run(scene, "work", disk, work)
            yield _judge(f"work folder of {megabytes} MB" + (f" and {inodes} inodes" if inodes else ""), end, disk)


def _run(scene: Scene, kind: str, disk: Path, work: Path) -> End:
    """Run the app with one of its three folders on a disk; where that is not the work folder, most is done already."""
    out = disk if kind == "output" else scene.folder / "other"
    own = disk if kind == "work" else work
    return scene.run(out, own, temporary=disk if kind == "temporary" else None)


def _judge(tried: str, end: End, disk: Path, may_go_on: bool = False) -> Row:
    """A temporary folder that takes nothing is no failure: the app has its work folder."""
    named = any(str(disk) in line and any(w in line for w in ("space", "Read-only")) for line in end.errors)
    happened = f"exit {end.code}: {end.errors[0].strip() if end.errors else 'done'}"
    kept = (end.code == 0 and may_go_on) or (end.code in _CODES and named)
    return Row("disks", tried, happened.replace(str(disk), "DISK").replace("|", "/"), kept and not end.has_traceback)


@contextmanager
def _disk(folder: Path, options: str, fill: bool) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)
    try:
        if fill:
            _fill(folder, leave=0)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(folder: Path, leave: int) -> None:
    """Leave so many bytes of a disk."""
    n_bytes = shutil.disk_usage(folder).free - leave
    with open(folder / "filling", "wb", buffering=0) as file:
        while n_bytes > 0:
            n_bytes -= file.write(bytes(min(n_bytes, 1 << 20)))
