"""The processes that this one starts: they end when it does, and leave Ctrl-C to it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver, set_forkserver_preload

_PR_SET_PDEATHSIG = 1
"""Of Linux's ``prctl``: which signal to get when the parent ends."""


def start_fork_server(modules: Sequence[str] | None = None) -> None:
    """Start the process that workers are forked from, unless it runs.

    To be called from the main thread: for the system, the server's parent is the thread that starts it.

    Parameters
    ----------
    modules : sequence of str, optional
        What it imports; the first should call :func:`end_with_parent`.
    """
    if modules is not None:
        set_forkserver_preload(list(modules))
    # Blocked signals stay so in all that it starts, from the first moment on. Whoever presses Ctrl-C means the app,
    # which ends its workers; of theirs only tracebacks would come.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Let the system kill this process when the one that it was forked from ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it was quicker
        os._exit(1)


def end_workers(pool: ProcessPoolExecutor) -> None:
    """Kill a pool's processes, whatever they are at."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
