"""Output, work and temporary folder on disks that are full, have no inodes left, or are read-only; as root."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.scene import End, Row, Scene, contents
from tests.faults.writers import leave_visits

_CODES = (73, 74)
_STEP = "bids_cascade/sub_01"


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
    for megabytes, inodes in ((2, 0), (40, 30)):
        with _disk(scene.folder / "disk", f"size={megabytes}m,nr_inodes={inodes}", False) as disk:
            end = _run(scene, "work", disk, work)
            yield _judge(f"work folder of {megabytes} MB" + (f" and {inodes} inodes" if inodes else ""), end, disk)
    yield from _midway(scene, whole)
    yield from _compared(scene.folder / "change")


def _midway(scene: Scene, whole: Mapping[str, bytes]) -> Iterator[Row]:
    """Let a disk become full or read-only while the app is at a step, which it has not done before."""
    work = scene.folder / "work_midway"
    for name, kind, pattern, change in (
        ("output folder read-only while images are registered", "output", f"{_STEP}/register_FLAIR", _make_read_only),
        ("output folder full while images are registered", "output", f"{_STEP}/register_FLAIR", _fill),
        ("temporary folder full while images are registered", "temporary", f"{_STEP}/register_FLAIR", _fill),
        ("work folder full while images are registered", "work", f"{_STEP}/register_FLAIR", _fill),
        ("output folder full while lesions are drawn", "output", "sub-01/anat/*lesions_stats.tsv", _fill),
    ):
        shutil.rmtree(work, ignore_errors=True)
        with _disk(scene.folder / "disk", "size=200m", False) as disk:
            watched = disk if kind == "work" or "anat" in pattern else work
            end = _run(scene, kind, disk, work, lambda there=watched, what=pattern: any(there.glob(what)), change)
            row = _judge(name, end, disk, kind == "temporary")
            if "drawn" in name:
                found = contents(disk)
                same = all(found.get(file) == content for file, content in whole.items() if "quality" not in file)
                happened = f"{row.happened}; masks {'intact' if same else 'not intact'}"
                row = Row(row.part, row.tried, happened, row.kept and same)
            yield row


def _compared(folder: Path) -> Iterator[Row]:
    """Let the output folder become full while visits are compared; with more room, the same command ends well."""
    scene = Scene(folder, leave_visits(folder), level="longitudinal")
    size_kb = sum(path.stat().st_blocks for path in (folder / "out").rglob("*")) // 2
    for more_kb in (100, 400, 800):
        with _disk(folder / "disk", f"size={size_kb + more_kb}k", False) as disk:
            shutil.copytree(folder / "out", disk / "out")
            row = _judge(f"output folder full {more_kb} kB into comparisons", scene.run(disk / "out", folder), disk)
            subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
            again = scene.run(disk / "out", folder)
            yield Row(
                "disks", row.tried, f"{row.happened}; with more room exit {again.code}", row.kept and not again.code
            )


def _run(
    scene: Scene,
    kind: str,
    disk: Path,
    work: Path,
    is_reached: Callable[[], bool] = lambda: False,
    change: Callable[[Path], None] | None = None,
) -> End:
    """Run the app with one of its three folders on a disk, which changes when a point is reached.

    Where that is not the work folder, most may be done already.
    """
    began, out = time.monotonic(), disk if kind == "output" else scene.folder / "other"
    own, temporary = disk if kind == "work" else work, disk if kind == "temporary" else None
    process = scene.start(out, own, temporary=temporary)
    while change and process.poll() is None and not is_reached():
        time.sleep(0.005)
    if change:
        change(disk)
    said, complained = process.communicate()
    return End(process.returncode, said, complained, time.monotonic() - began)


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
            _fill(folder)
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(folder: Path) -> None:
    """Leave no byte of a disk."""
    with open(folder / "filling", "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass


def _make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
