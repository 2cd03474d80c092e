"""How graphs are run: nipype's settings, its plugin, and what is said meanwhile."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_cascade.config import RunConfig
from bids_cascade.dataset.visits import Visit
from bids_cascade.errors import BidsCascadeError, UsageError
from bids_cascade.folders import CACHE
from bids_cascade.regular_file import MAX_JSON_BYTES, read_text

os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

import nipype
from nipype.pipeline.engine import Workflow
from nipype.pipeline.plugins.base import GraphPluginBase
from nipype.utils import profiler

from bids_cascade.workflow.plugin import Failure, ResilientMultiProcPlugin, failure_of

_LOGGER = logging.getLogger(__name__)
_STEPS_LOGGER = logging.getLogger("bids_cascade.steps")
_LEAST_WORK_S = 1.0
"""Of a visit whose steps were not all taken from an earlier run."""

STEP_NAMES = {
    "brain": "finding the brain",
    "bias": "bias correction",
    "register": "registration",
    "channels": "normalisation",
    "pack": "compression",
    "draw": "drawing",
    "field": "drawing the bias field",
    "cascade": "lesion segmentation",
    "lesion": "moving the manual mask",
    "outputs": "writing results",
    "figures": "drawing lesions",
    "report": "writing the report",
}
REPORT_STEPS = ("draw", "field", "figures", "report")
"""The last waits for all others; a visit whose results are written is finished even if these fail."""


@dataclass(frozen=True)
class StepRun:
    """When a step started, in seconds since the workflow did, and how long it took."""

    start_s: float
    seconds: float


@dataclass
class VisitRun:
    """How one visit went.

    Attributes
    ----------
    steps : dict of str to StepRun
        By name; a step taken from an earlier run takes next to nothing.
    failure : Failure or None
        Of a step, which may be one of the report alone.
    finished : bool
        Whether all of its steps but those of the report are done.
    handed_over : bool
        Whether a batch system has taken its steps and goes on by itself.
    crash_reports : list of Path
    """

    steps: dict[str, StepRun] = field(default_factory=dict)
    failure: Failure | None = None
    finished: bool = False
    handed_over: bool = False
    crash_reports: list[Path] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Sum over the steps."""
        return sum(step.seconds for step in self.steps.values())


class Progress:
    """Says how each visit ended, how many have, and what time is left; nipype calls it from the parent process.

    Each step is said as well, by a logger of its own, which is heard with ``-v`` only.
    """

    def __init__(self, steps: Mapping[str, Iterable[str]], names: Mapping[str, str]) -> None:
        self.names = names
        self.visits: dict[str, VisitRun] = defaultdict(VisitRun)
        self.steps_left = {slug: set(some) for slug, some in steps.items()}
        self._n_visits = len(self.steps_left)
        self._began = time.monotonic()
        self._started: dict[str, float] = {}

    def __call__(self, node: Any, status: str) -> None:
        """Take note of a node that starts, ends or fails."""
        slug, step = _visit_and_step(node.fullname)
        if not _is_step(step):
            return
        if status == "start":
            self._started[node.fullname] = time.monotonic()
            return
        now = time.monotonic()
        start = self._started.get(node.fullname, now)
        self.visits[slug].steps[step] = StepRun(start - self._began, now - start)
        name = self.names.get(slug, slug)
        if status == "end":
            _STEPS_LOGGER.info("%s: %s done in %.1f s", name, _describe(step), now - start)
            self._take_off(slug, {step})
        elif _is_of_report(step):
            _LOGGER.info("%s: %s FAILED; there will be no report", name, _describe(step))
            self._take_off(slug, {step, REPORT_STEPS[-1]})
        elif self.steps_left.pop(slug, None):
            _LOGGER.info("%s: FAILED at %s; %s", name, _describe(step), self._describe())

    def _take_off(self, slug: str, steps: set[str]) -> None:
        """Take steps off those left of a visit that still can be finished; steps beside a failed one count no more."""
        if slug not in self.steps_left:
            return
        self.steps_left[slug] -= steps
        visit = self.visits[slug]
        visit.finished = all(map(_is_of_report, self.steps_left[slug]))
        if not self.steps_left[slug]:
            del self.steps_left[slug]
            took_s = time.monotonic() - self._began - min(step.start_s for step in visit.steps.values())
            _LOGGER.info("%s: done in %s; %s", self.names.get(slug, slug), _format_time(took_s), self._describe())

    def _describe(self) -> str:
        """Return how many visits are done, how many failed, and the time left if it can be estimated."""
        n_done = sum(visit.finished for slug, visit in self.visits.items() if slug not in self.steps_left)
        n_failed = self._n_visits - len(self.steps_left) - n_done
        left_s = self._estimate_left_s()
        return ", ".join(
            [
                f"{n_done} of {_count(self._n_visits, 'visit')} done",
                *([f"{n_failed} failed"] if n_failed else []),
                *([f"about {_format_time(left_s)} left"] if left_s else []),
            ]
        )

    def _estimate_left_s(self) -> float | None:
        """Return the time left if the other visits take as long as those done, and as much is done at once as so far.

        Visits that an earlier run had done, which take no time, do not count.
        """
        seconds = {slug: visit.seconds for slug, visit in self.visits.items()}
        done = [
            seconds[slug]
            for slug, visit in self.visits.items()
            if visit.finished and slug not in self.steps_left and seconds[slug] >= _LEAST_WORK_S
        ]
        if not done or not self.steps_left:
            return None
        work_s = len(self.steps_left) * sum(done) / len(done) - sum(seconds.get(slug, 0) for slug in self.steps_left)
        return max(0.0, work_s) * (time.monotonic() - self._began) / sum(seconds.values())


def run_graphs(
    graphs: Sequence[Workflow], names: Mapping[str, str], run: RunConfig, log_dir: Path
) -> dict[str, VisitRun]:
    """Run the visits' graphs as one workflow.

    Parameters
    ----------
    graphs : sequence of Workflow
        One a visit, named by its slug.
    names : mapping of str to str
        Names of the visits by slug, to speak of them.
    run : RunConfig
    log_dir : Path
        Existing folder for crash reports.

    Returns
    -------
    dict of str to VisitRun
        By slug.
    """
    if not graphs:
        return {}
    steps = {graph.name: list(filter(_is_step, graph.list_node_names())) for graph in graphs}
    _LOGGER.info("%s to process; intermediate results go to %s", _count(len(graphs), "visit"), run.work_dir)
    progress = Progress(steps, names)
    _configure_nipype(run, log_dir)
    whole = Workflow("bids_cascade", base_dir=str(run.work_dir))
    whole.add_nodes(list(graphs))
    if run.write_graph:
        _write_graph(whole, log_dir)
    plugin = _make_plugin(run, progress, _largest_need(whole))
    # nipype collects garbage before it starts a step: a tenth of a second a time if it looks at all that was imported.
    gc.freeze()
    try:
        whole.run(plugin=plugin)
    except Exception as error:  # a plugin raises what it likes; each visit's own failure is told apart below
        _LOGGER.debug("the workflow did not end well", exc_info=True)
        failures = getattr(plugin, "failures", None) or _read_crash_reports(log_dir)
        for name, failure in failures.items():
            slug, _ = _visit_and_step(name)
            progress.visits[slug].failure = progress.visits[slug].failure or failure
        if not (failures and run.stop_on_first_crash):  # which leaves the others unfinished without a fault of theirs
            for slug in progress.steps_left:
                failure = failure_of(f"{type(error).__name__}: {error}")
                progress.visits[slug].failure = progress.visits[slug].failure or failure
    else:
        # nipype's plugins for whole graphs, such as SLURMGraph, come back as soon as all jobs are in the queue.
        handed_over = isinstance(plugin, GraphPluginBase)
        for slug in steps:
            progress.visits[slug].handed_over, progress.visits[slug].finished = handed_over, not handed_over
    finally:
        if isinstance(plugin, ResilientMultiProcPlugin):
            plugin.stop()
    for name, path in _crash_reports(log_dir):
        progress.visits[_visit_and_step(name)[0]].crash_reports.append(path)
    return {slug: progress.visits[slug] for slug in steps}


def _write_graph(graph: Workflow, folder: Path) -> None:
    try:
        graph.write_graph(str(folder / "graph.dot"), graph2use="colored", format="svg")
    except OSError as error:
        _LOGGER.warning("%s: the graph is written but not drawn: %s; install graphviz", folder / "graph.dot", error)


def _read_crash_reports(folder: Path) -> dict[str, Failure]:
    """Return by a node's full name why it failed, from nipype's own crash reports."""
    return {
        name: failure_of(path.read_text(encoding="utf-8", errors="replace")) for name, path in _crash_reports(folder)
    }


def _crash_reports(folder: Path) -> list[tuple[str, Path]]:
    """Return nipype's crash reports with the full names of the nodes they are about."""
    found = []
    for path in sorted(folder.glob("crash-*.txt")):
        with path.open(encoding="utf-8", errors="replace") as file:
            found.append((file.readline().removeprefix("Node:").strip(), path))
    return found


def clean_up(visits: Iterable[Visit], work_dir: Path) -> None:
    """Delete what the visits have left in the work folder, and the folder if nothing else is in it."""
    for visit in visits:
        shutil.rmtree(work_dir / "bids_cascade" / visit.slug, ignore_errors=True)
        (work_dir / "locks" / visit.slug).unlink(missing_ok=True)
    for path in (work_dir / "bids_cascade" / "resource_monitor.json", *work_dir.glob(".proc-*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(work_dir / CACHE, ignore_errors=True)
    for folder in (work_dir / "bids_cascade", work_dir / "locks", work_dir):
        with suppress(OSError):
            folder.rmdir()


def report_work_dir(work_dir: Path) -> None:
    """Say where the work folder is and how large, if it is still there."""
    if work_dir.is_dir():
        n_bytes = 0
        for path in work_dir.rglob("*"):
            with suppress(OSError):  # another run may clean up
                n_bytes += path.lstat().st_size
        _LOGGER.info("work folder: %s, %.2f GB; not needed any more once all visits are done", work_dir, n_bytes / 1e9)


def step_folder(graph: Workflow, step: str, run: RunConfig) -> Path:
    """Return the folder in which a step of a finished graph has left its files."""
    return run.work_dir / "bids_cascade" / str(graph.name) / step


def _visit_and_step(fullname: str) -> tuple[str, str]:
    *_, slug, step = fullname.split(".")
    return slug, step


def _is_step(name: str) -> bool:
    return name.split("_")[0] in STEP_NAMES


def _is_of_report(step: str) -> bool:
    return step.split("_")[0] in REPORT_STEPS


def _describe(step: str) -> str:
    kind, _, sequence = step.partition("_")
    return f"{STEP_NAMES[kind]} of {sequence}" if sequence else STEP_NAMES[kind]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _format_time(seconds: float) -> str:
    """Return a time in the unit that a person would give it in."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _configure_nipype(run: RunConfig, log_dir: Path) -> None:
    nipype.config.update_config(
        {
            "execution": {
                "hash_method": "content",
                "crashdump_dir": str(log_dir),
                "crashfile_format": "txt",
                "check_version": "false",
                "poll_sleep_duration": "0.2",
                "stop_on_first_crash": str(run.stop_on_first_crash).lower(),
                "remove_unnecessary_outputs": "false",
                "create_report": "false",
            },
            "logging": {"log_directory": str(log_dir), "log_to_file": "false"},
            "monitoring": {"enabled": str(run.resource_monitor).lower()},
        }
    )
    # Crash reports go to files, the line that matters to the closing table; nipype's own words only help debugging.
    level = logging.DEBUG if _LOGGER.isEnabledFor(logging.DEBUG) else logging.CRITICAL + 1
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel(level)
    if run.resource_monitor:
        nipype.config.enable_resource_monitor()
        logging.getLogger("callback").addHandler(logging.FileHandler(log_dir / "resource_monitor.log"))
        logging.getLogger("callback").propagate = False
        logging.getLogger("callback").setLevel(logging.DEBUG)


def _largest_need(graph: Workflow) -> float:
    return max(graph.get_node(name).mem_gb for name in graph.list_node_names())


def _make_plugin(run: RunConfig, progress: Progress, largest_need_gb: float) -> Any:
    """Return the plugin to run with: the app's own, or the one that a file names."""

    def callback(node: Any, status: str) -> None:
        progress(node, status)
        if run.resource_monitor:
            profiler.log_nodes_cb(node, status)

    if run.plugin_file is not None:
        return _plugin_from_file(run.plugin_file, callback)
    if run.mem_gb < largest_need_gb:
        raise UsageError(
            f"a visit needs {largest_need_gb:g} GB of memory, there are {run.mem_gb:.2g} GB; raise --mem-gb, or what "
            "the job or container may use"
        )
    return ResilientMultiProcPlugin(
        {
            "n_procs": run.n_procs,
            "memory_gb": run.mem_gb,
            "n_gpu_procs": 1,
            "resource_monitor": run.resource_monitor,
            "worker_folder": str(run.work_dir),  # where nipype's monitor leaves its samples
            "mp_context": "forkserver",
            "status_callback": callback,
        }
    )


def _plugin_from_file(path: Path, callback: Any) -> Any:
    """Return the nipype plugin that a YAML file with `plugin` and `plugin_args` describes."""
    import yaml
    from nipype.pipeline import plugins

    try:
        content = yaml.safe_load(read_text(path, MAX_JSON_BYTES))
        kind = getattr(plugins, f"{content['plugin']}Plugin")
    except (BidsCascadeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path}: not a nipype plugin file ({error}); expected YAML with `plugin` and `plugin_args`"
        ) from error
    return kind(plugin_args={**(content.get("plugin_args") or {}), "status_callback": callback})
