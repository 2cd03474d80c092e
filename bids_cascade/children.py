"""Child processes: they end when this process ends, and leave Ctrl-C to it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, set_forkserver_preload
from typing import TypeVar

from bids_cascade.errors import BidsCascadeError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

_PR_SET_PDEATHSIG = 1
"""Option of Linux's ``prctl``: the signal to receive when the parent ends."""


_last_caller: int | None = None
"""The process that last called :func:`end_with_parent`: in a worker that hasn't called it yet, the fork server."""


def start_fork_server(modules: Sequence[str] | None = None) -> None:
    """Start the process that workers are forked from, unless it runs.

    To be called from the main thread: for the system, the server's parent is the thread that starts it.

    Parameters
    ----------
    modules : sequence of str, optional
        Modules that it imports; the first should call :func:`end_with_parent`.
    """
    if modules is not None:
        set_forkserver_preload(list(modules))
    # Blocked signals stay blocked in all children, from the first moment on. Ctrl-C is meant for the app,
    # which ends its workers; of theirs only tracebacks would come.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Let the system kill this process when its parent ends, for whatever reason."""
    global _last_caller
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    # Either may have been quicker: the server that a worker was forked from, which has called this, too, or the app, of
    # whose threads one may keep its pipes open for a moment longer.
    server_is_gone = _last_caller not in (None, os.getpid(), os.getppid())
    app = multiprocessing.parent_process()
    if server_is_gone or (app is not None and not app.is_alive()):
        os._exit(1)
    _last_caller = os.getpid()


def end_workers(pool: ProcessPoolExecutor) -> None:
    """Kill a pool's processes, whatever they are doing."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()


def map_in_processes(
    function: Callable[[_Task], _Result], tasks: Sequence[_Task], n_procs: int, work: str, each_gb: float
) -> Iterator[_Result]:
    """Apply `function`, one of a module, to tasks in several processes; yield its results in the tasks' order.

    Parameters
    ----------
    function : callable
    tasks : sequence
    n_procs : int
        One process or task runs in this process.
    work : str
        The work of the processes, for the message.
    each_gb : float
        Memory of one process, for the message.

    Raises
    ------
    BidsCascadeError
        When a process was killed.
    """
    if min(n_procs, len(tasks)) <= 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("forkserver")
    start_fork_server(["bids_cascade.bound", function.__module__])  # imported once for all processes
    with ProcessPoolExecutor(n_procs, context, end_with_parent) as pool:
        try:
            yield from pool.map(function, tasks, chunksize=max(1, min(5, len(tasks) // n_procs)))
        except BrokenProcessPool as error:
            raise BidsCascadeError(
                f"a process that {work} was killed, perhaps for lack of memory (about {each_gb:g} GB each); "
                "run the same command again with fewer --nprocs"
            ) from error
        except BaseException:  # the others are not waited for
            end_workers(pool)
            raise
