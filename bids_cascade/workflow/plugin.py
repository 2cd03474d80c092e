"""A MultiProc plugin that finishes visits early, survives a killed worker and records why each node failed."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from threading import Event
from traceback import format_exception
from typing import Any

import numpy as np
from nipype import config
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer

from bids_cascade import errors
from bids_cascade.children import end_with_parent, end_workers, start_fork_server
from bids_cascade.folders import is_full

KILLED = (
    "its process was killed, most likely for lack of memory; give the app fewer processes (--nprocs) or more memory"
)
_OWN_ERROR = re.compile(r"^\s*bids_cascade\.errors\.(\w+): (.*)$", re.MULTILINE)
_SYSTEM_ERROR = re.compile(r"^\s*\w*Error: \[Errno (\d+)\] (.*)$", re.MULTILINE)

_LOGGER = getLogger(__name__)


_LONGEST_WAIT_S = 1.0


def wait_for(event: Event) -> None:
    """Wait for an event; a signal that another thread has received, which alone doesn't end a wait, is heeded, too."""
    while not event.wait(_LONGEST_WAIT_S):
        pass


@dataclass(frozen=True)
class Failure:
    """Why a node failed: one line, and the exit code that belongs to it."""

    message: str
    exit_code: int


class ResilientMultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """Run nodes in processes, visit by visit; a killed process fails its own node only.

    A visit is a workflow in the graph. As many visits as there are processors are active at once and have priority over
    all others, so that the first results come early and a stopped run leaves some. With fewer active visits, processors
    would be idle: steps with several threads would wait for the last single-threaded step of each visit.

    nipype's own plugin waits forever for a killed worker. Here, every node that was running when the pool broke is
    retried once in its own process: the one that caused it breaks that process, too, and fails; the others succeed.

    Attributes
    ----------
    failures : dict of str to Failure
        By the node's full name.
    """

    def __init__(self, plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__(plugin_args=plugin_args)
        self.pool: ProcessPoolExecutor
        self.failures: dict[str, Failure] = {}
        self._broken: list[tuple[Any, int]] = []
        self._alone: set[ProcessPoolExecutor] = set()
        self._news = Event()
        self.pool.shutdown()
        self.pool = self._new_pool(self.processors)

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph without nipype's pauses between its checks for results."""
        eager = {**config, "execution": {**config["execution"], "poll_sleep_duration": "0"}}
        super().run(graph, eager, updatehash=updatehash)

    def stop(self) -> None:
        """Kill all running nodes when the run is aborted."""
        for pool in (self.pool, *self._alone):
            end_workers(pool)

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        """Submit ready nodes; if there are none, wait until a running node has ended."""
        self._retry_alone()
        before = self.proc_done.sum()
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        if self.pending_tasks and self.proc_done.sum() == before:
            wait_for(self._news)
            self._news.clear()

    def _generate_dependency_list(self, graph: Any) -> None:
        super()._generate_dependency_list(graph)
        names = [node.fullname.rpartition(".")[0] for node in self.procs]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self._visits = np.array([numbers[name] for name in names])

    def _sort_jobs(self, jobids: Sequence[int], scheduler: str | None = None) -> Sequence[int]:
        """Sort jobs: those of active visits first, in the graph's order, then those of other visits, visit by visit.

        Jobs that run in this process are returned alone: the jobs that depend on them are then ready and may have
        priority.
        """
        in_parent = [job for job in jobids if self.procs[job].run_without_submitting]
        if in_parent:
            return in_parent
        begun = set(self._visits[self.proc_done])
        unfinished = np.unique(self._visits[~self.proc_done | self.proc_pending])
        order = sorted(unfinished, key=lambda visit: visit not in begun)
        turns = {visit: max(0, place - self.processors + 1) for place, visit in enumerate(order)}
        return sorted(jobids, key=lambda job: turns[self._visits[job]])

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        taskid: int = self._taskid
        run = partial(run_step, node, updatehash, taskid)
        self.pool, future = self._submit(run, self.processors, self.pool)
        self._task_obj[taskid] = future
        future.add_done_callback(partial(self._keep_result, run, taskid))
        return taskid

    def _submit(
        self, run: Any, n_workers: int, pool: ProcessPoolExecutor | None = None
    ) -> tuple[ProcessPoolExecutor, Future[Any]]:
        """Submit to the pool, or to a new one if the pool is broken or the fork server is about to end."""
        for pause_s in (0.1, 0.5, 2.0):
            pool = pool or self._new_pool(n_workers)
            try:
                return pool, pool.submit(run)
            except (BrokenProcessPool, OSError, EOFError):
                pool.shutdown(wait=False, cancel_futures=True)
                pool = None
                time.sleep(pause_s)
        pool = self._new_pool(n_workers)
        return pool, pool.submit(run)

    def _new_pool(self, n_workers: int) -> ProcessPoolExecutor:
        method = self.plugin_args.get("mp_context")
        if method == "forkserver":
            start_fork_server()
        return ProcessPoolExecutor(
            n_workers,
            get_context(method),
            _start_worker,
            (
                self.plugin_args.get("worker_folder", self._cwd),
                getLogger("nipype.workflow").level,
                self.plugin_args.get("resource_monitor", False),
            ),
        )

    def _keep_result(self, run: Any, taskid: int, future: Future[Any]) -> None:
        """Store a worker's result, or note that there is none; called in a thread of the pool."""
        if future.cancelled() or isinstance(future.exception(), BrokenProcessPool):
            self._broken.append((run, taskid))
        else:
            self._keep_last_result(taskid, None, {}, future)
        self._news.set()

    def _retry_alone(self) -> None:
        """Retry each node whose pool broke in its own process; in the main thread, as the fork server may be gone."""
        while self._broken:
            run, taskid = self._broken.pop()
            pool, future = self._submit(run, 1)
            self._alone.add(pool)
            processes = pool._processes  # the pool drops them before it reports that it is broken
            future.add_done_callback(partial(self._keep_last_result, taskid, pool, processes))

    def _keep_last_result(
        self, taskid: int, pool: ProcessPoolExecutor | None, processes: Mapping[int, BaseProcess], future: Future[Any]
    ) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self._taskresult[taskid] = future.result()
        else:
            broken = isinstance(error, BrokenProcessPool)
            reason = _why_ended(processes) if broken else f"{type(error).__name__}: {error}"
            self._taskresult[taskid] = {"result": None, "traceback": [reason], "taskid": taskid}
        if pool is not None:
            self._alone.discard(pool)
            pool.shutdown(wait=False)
        self._news.set()

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> Any:
        traceback = (result or {}).get("traceback") or ["unknown"]
        text = traceback if isinstance(traceback, str) else "".join(traceback)
        self.failures[node.fullname] = failure_of(text)
        try:
            return super()._report_crash(node, result)
        except OSError as error:  # the error itself is known without it
            _LOGGER.warning("no crash report of %s can be written: %s", node.fullname, error)
            return ""


_start_failure: list[str] = []
"""In a worker that could not be set up: the lines of the traceback."""


def _start_worker(folder: str, log_level: int, resource_monitor: bool) -> None:
    """Set up a worker process as nipype does, with its parent's logging and resource monitor."""
    end_with_parent()
    try:
        import torch  # is imported already: workers are forked from a process that has it

        process_initializer(folder)
        torch.set_num_threads(1)  # steps that may use more set it themselves
        if resource_monitor:
            config.enable_resource_monitor()
        for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
            getLogger(name).setLevel(log_level)
    except Exception as error:  # otherwise the pool would only report that a process is gone
        _start_failure.extend(format_exception(error))


def run_step(node: Any, updatehash: bool, taskid: int) -> dict[str, Any]:
    """Run a node in a worker, as nipype does; return its result, or the traceback of whatever it raised."""
    if _start_failure:
        return {"result": None, "traceback": [*_start_failure], "taskid": taskid}
    try:
        return {"result": node.run(updatehash=updatehash), "traceback": None, "taskid": taskid}
    except Exception as error:
        lines = format_exception(error)
        folder = node.base_dir or os.curdir
        # Libraries report a full disk in other words, such as that the file they couldn't write is missing.
        if is_full(folder):
            why = f"{os.strerror(errno.ENOSPC)} in the work folder {folder}; make room, or choose another with -w"
            lines.append(f"bids_cascade.errors.ReadWriteError: {why}\n")
        return {"result": None, "traceback": lines, "taskid": taskid}


def _why_ended(processes: Mapping[int, BaseProcess]) -> str:
    """Return why a process ended before it sent a result."""
    codes = {process.exitcode for process in processes.values()} - {None, 0}
    code = codes.pop() if len(codes) == 1 else -signal.SIGKILL
    if code in (-signal.SIGKILL, None):
        return KILLED
    if code < 0:
        return f"its process was terminated by {signal.Signals(-code).name}; rerun it, and report it with -vv"
    return f"its process could not be started, or ended with exit code {code}; see its output above"


def failure_of(traceback: str) -> Failure:
    """Return the exit code of a worker's traceback, and its message as one line."""
    own = _OWN_ERROR.search(traceback)
    if own:
        kind = getattr(errors, own[1], errors.BidsCascadeError)
        return Failure(own[2].strip(), kind.exit_code)
    if KILLED in traceback:
        return Failure(KILLED, errors.BidsCascadeError.exit_code)
    lines = [line.strip() for line in traceback.strip().splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if re.match(r"\w[\w.]*(Error|Exception|Interrupt)\b", line)), None)
    for number, words in _SYSTEM_ERROR.findall(traceback):
        if int(number) in errors.FULL_OR_BROKEN or (reason and reason.endswith(words)):
            return Failure(f"reading or writing failed: {words.strip()}", errors.ReadWriteError.exit_code)
    return Failure(reason or lines[-1], errors.BidsCascadeError.exit_code)
