"""Twenty kill points in one visit, then a rerun: the same bytes, no leftovers, no orphans, no blocked lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from tests.faults.scene import Row, Scene, contents, leftovers

_STEP, _OUT = "work:bids_cascade/sub_01/", "out:"
_KILL, _TERM, _HUP, _INT = signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT
_PATIENCE_S = 60
POINTS: tuple[tuple[str, str, signal.Signals], ...] = (
    ("after 1 s", "main", _KILL),
    ("after 4 s", "main", _HUP),
    (f"{_STEP}brain", "main", _KILL),
    (f"{_STEP}brain", "server", _KILL),
    (f"{_STEP}register_FLAIR", "main", _TERM),
    (f"{_STEP}bias_T1w", "group", _INT),
    (f"{_STEP}draw_T1w", "worker", _KILL),
    (f"{_STEP}bias_FLAIR", "main", _KILL),
    (f"{_STEP}channels", "main", _HUP),
    (f"{_STEP}cascade", "main", _KILL),
    (f"{_STEP}cascade", "group", _TERM),
    (f"{_STEP}outputs", "main", _KILL),
    (f"{_OUT}.sub-01.*", "main", _KILL),
    (f"{_OUT}.sub-01.*", "worker", _KILL),
    (f"{_OUT}.sub-01.*/sub-01/anat/*dseg.tsv", "group", _KILL),
    (f"{_OUT}sub-01/anat/*brain_mask.nii.gz", "main", _KILL),
    (f"{_OUT}sub-01/anat/*lesions_stats.json", "group", _KILL),
    (f"{_STEP}report", "main", _KILL),
    (f"{_OUT}sub-01/figures/*.html", "main", _KILL),
    (f"{_OUT}sub-01.html", "main", _KILL),
)


def run_kills(folder: Path) -> Iterator[Row]:
    """Kill one visit again and again as it proceeds, then compare with one that was left alone."""
    scene = Scene(folder / "kills")
    out, work = scene.folder / "out", scene.folder / "work"
    for trigger, victim, number in POINTS:
        yield kill_once(scene, out, work, (trigger, victim, number))
    end = scene.run(out, work)
    left = leftovers(out, work, scene.temporary)
    yield Row(
        "kills", "the same command to its end", f"exit {end.code}; leftovers: {left or 'none'}", not (end.code or left)
    )
    alone = scene.run(scene.folder / "out_alone", scene.folder / "work_alone")
    same = alone.code == 0 and contents(out) == contents(scene.folder / "out_alone")
    yield Row("kills", "results beside those of a run left alone", "same bytes" if same else "other bytes", same)


def kill_once(
    scene: Scene,
    out: Path,
    work: Path,
    point: tuple[str, str, signal.Signals],
    part: str = "kills",
    options: Sequence[str] = (),
) -> Row:
    """Start the app, kill one of its processes at a point, then all of the app; see that nothing stays."""
    trigger, victim, number = point
    seen = _watcher(trigger, out, work)
    process = scene.start(out, work, *options)
    while process.poll() is None and not seen():
        time.sleep(0.002)
    reached = process.poll() is None
    if reached:
        _send(scene, process.pid, victim, number)
    if victim in ("server", "worker"):
        time.sleep(3)  # the app goes on; now the app itself
        if process.poll() is None:
            process.send_signal(_KILL)
    try:
        said, complained = process.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        said, complained = process.communicate()
        return Row(part, f"{number.name} to {victim} at `{trigger}`", f"still there after {_PATIENCE_S} s", False)
    orphans = scene.orphans()
    ended = "ended before" if not reached else f"exit {process.returncode}"
    traceback = "Traceback" in said + complained
    happened = f"{ended}; orphans: {orphans or 'none'}"
    if traceback:
        print(complained, file=sys.stderr)
        happened += f"; a traceback: {complained.strip().splitlines()[-1]}"
    tried = f"{number.name} to {victim} at `{trigger.removeprefix(_STEP).removeprefix(_OUT).removeprefix('work:')}`"
    return Row(part, tried, happened, reached and not orphans and not traceback)


def _send(scene: Scene, main: int, victim: str, number: signal.Signals) -> None:
    if victim == "group":
        os.killpg(main, number)
        return
    server = next(
        (one for one in scene.processes() if "forkserver" in " ".join(one.cmdline()) and one.ppid() == main), None
    )
    chosen = {"main": psutil.Process(main), "server": server}.get(victim)
    if victim == "worker" and server is not None:
        chosen = next(iter(server.children()), None)
    if chosen is not None:
        chosen.send_signal(number)


def _watcher(trigger: str, out: Path, work: Path) -> Callable[[], bool]:
    """Return what says whether a point is reached: a time, or a file or folder that is newer than now."""
    began = time.time()
    if trigger.startswith("after"):
        seconds = float(trigger.split()[1])
        return lambda: time.time() - began > seconds
    place, _, pattern = trigger.partition(":")
    root = out if place == "out" else work

    def is_there() -> bool:
        for path in root.glob(pattern):
            try:
                if path.stat().st_ctime >= began:
                    return True
            except OSError:
                continue
        return False

    return is_there
