"""A MultiProc plugin that survives a killed worker and remembers why each node failed."""

from __future__ import annotations

import re
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from multiprocessing import get_context
from threading import Event, Lock
from typing import Any

from nipype import config
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

from bids_cascade import errors

KILLED = (
    "its process was killed, most likely for want of memory; give the app fewer processes (--nprocs) or more memory"
)
_OWN_ERROR = re.compile(r"^\s*bids_cascade\.errors\.(\w+): (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Failure:
    """Why a node failed: one line, and the exit code that belongs to it."""

    message: str
    exit_code: int


class ResilientMultiProcPlugin(MultiProcPlugin):  # type: ignore[misc]
    """Run nodes in processes; one that is killed fails its own node and nothing else.

    nipype's own plugin waits for ever for a killed worker. Here, every node that was under way when the pool broke is
    tried once more in a process of its own: the guilty one breaks that as well and fails, the others go on.

    Attributes
    ----------
    failures : dict of str to Failure
        By the node's full name.
    """

    def __init__(self, plugin_args: dict[str, Any] | None = None) -> None:
        super().__init__(plugin_args=plugin_args)
        self.pool: ProcessPoolExecutor
        self.failures: dict[str, Failure] = {}
        self._lock = Lock()
        self._news = Event()
        self.pool.shutdown()
        self.pool = self._new_pool(self.processors)

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph without the pauses that nipype makes between its looks for results."""
        eager = {**config, "execution": {**config["execution"], "poll_sleep_duration": "0"}}
        super().run(graph, eager, updatehash=updatehash)

    def _send_procs_to_workers(self, updatehash: bool = False, graph: Any = None) -> None:
        """Send off what is ready; if nothing is, wait until a node that is under way has come to its end."""
        before = self.proc_done.sum()
        super()._send_procs_to_workers(updatehash=updatehash, graph=graph)
        if self.pending_tasks and self.proc_done.sum() == before:
            self._news.wait()
            self._news.clear()

    def _submit_job(self, node: Any, updatehash: bool = False) -> int:
        self._taskid += 1
        taskid: int = self._taskid
        run = partial(run_node, node, updatehash, taskid)
        with self._lock:
            try:
                future = self.pool.submit(run)
            except BrokenProcessPool:
                self.pool = self._new_pool(self.processors)
                future = self.pool.submit(run)
        self._task_obj[taskid] = future
        future.add_done_callback(partial(self._retry_if_killed, node, run, taskid))
        return taskid

    def _new_pool(self, n_workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            n_workers,
            get_context(self.plugin_args.get("mp_context")),
            _start_worker,
            (
                self.plugin_args.get("worker_folder", self._cwd),
                getLogger("nipype.workflow").level,
                self.plugin_args.get("resource_monitor", False),
            ),
        )

    def _retry_if_killed(self, node: Any, run: Any, taskid: int, future: Future[Any]) -> None:
        if not isinstance(future.exception(), BrokenProcessPool):
            self._keep_result(taskid, future)
            return
        alone = self._new_pool(1)
        retried = alone.submit(run)
        retried.add_done_callback(partial(self._keep_result, taskid))
        retried.add_done_callback(lambda _: alone.shutdown(wait=False))

    def _keep_result(self, taskid: int, future: Future[Any]) -> None:
        error = future.exception()
        if error is None:
            self._taskresult[taskid] = future.result()
        else:
            reason = KILLED if isinstance(error, BrokenProcessPool) else f"{type(error).__name__}: {error}"
            self._taskresult[taskid] = {"result": None, "traceback": [reason], "taskid": taskid}
        self._news.set()

    def _report_crash(self, node: Any, result: dict[str, Any] | None = None) -> Any:
        traceback = (result or {}).get("traceback") or ["unknown"]
        text = traceback if isinstance(traceback, str) else "".join(traceback)
        self.failures[node.fullname] = failure_of(text)
        return super()._report_crash(node, result)


def _start_worker(folder: str, log_level: int, resource_monitor: bool) -> None:
    """Set up a worker process, as nipype does, and let it say and measure what its parent does."""
    import torch  # is there already: workers are forked from a process that has it

    process_initializer(folder)
    torch.set_num_threads(1)  # a step that may use more says so
    if resource_monitor:
        config.enable_resource_monitor()
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        getLogger(name).setLevel(log_level)


def failure_of(traceback: str) -> Failure:
    """Return the one line and the exit code that a worker's traceback comes down to."""
    own = _OWN_ERROR.search(traceback)
    if own:
        kind = getattr(errors, own[1], errors.BidsCascadeError)
        return Failure(own[2].strip(), kind.exit_code)
    if KILLED in traceback:
        return Failure(KILLED, errors.BidsCascadeError.exit_code)
    lines = [line.strip() for line in traceback.strip().splitlines() if line.strip()]
    reason = next((line for line in reversed(lines) if re.match(r"\w[\w.]*(Error|Exception|Interrupt)\b", line)), None)
    return Failure(reason or lines[-1], errors.BidsCascadeError.exit_code)
