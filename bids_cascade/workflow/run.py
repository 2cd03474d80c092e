"""Runs graphs: nipype's settings, its plugin, and the work folder."""

from __future__ import annotations

import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from bids_cascade.config import RunConfig
from bids_cascade.errors import BidsCascadeError, UsageError
from bids_cascade.folders import CACHE
from bids_cascade.progress_bar import progress_bar
from bids_cascade.regular_file import MAX_JSON_BYTES, read_text

os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("NIPYPE_NO_ET", "1")

import nipype
from nipype.pipeline.engine import Workflow
from nipype.pipeline.plugins.base import GraphPluginBase
from nipype.utils import profiler

from bids_cascade.outcomes import count
from bids_cascade.visit_key import VisitKey
from bids_cascade.workflow.plugin import Failure, ResilientMultiProcPlugin, failure_of
from bids_cascade.workflow.progress import Progress, is_step, visit_and_step
from bids_cascade.workflow.visit_run import VisitRun

_LOGGER = logging.getLogger(__name__)
_SKIPS_FINISHED = "dont_resubmit_completed_jobs"
"""Argument of nipype's plugins for whole graphs."""


def run_graphs(
    graphs: Sequence[Workflow],
    names: Mapping[str, str],
    run: RunConfig,
    log_dir: Path,
    when_finished: Callable[[str], None] | None = None,
) -> dict[str, VisitRun]:
    """Run the visits' graphs as one workflow.

    Parameters
    ----------
    graphs : sequence of Workflow
        One a visit, named by its slug.
    names : mapping of str to str
        Names of the visits by slug, for messages.
    run : RunConfig
    log_dir : Path
        Existing folder for crash reports.
    when_finished : callable, optional
        Called with the slug of a visit when all of its steps have ended well.

    Returns
    -------
    dict of str to VisitRun
        By slug.
    """
    if not graphs:
        return {}
    steps = {graph.name: list(filter(is_step, graph.list_node_names())) for graph in graphs}
    _LOGGER.info("%s to process", count(len(graphs), "visit"))
    _configure_nipype(run, log_dir)
    whole = Workflow("bids_cascade", base_dir=str(run.work_dir))
    whole.add_nodes(list(graphs))
    if run.write_graph:
        _write_graph(whole, log_dir)
    # nipype collects garbage before each step, which takes 0.1 s if it traverses all imported modules.
    gc.freeze()
    with progress_bar(sum(map(len, steps.values())), "steps", with_time_left=False) as bar:
        progress = Progress(steps, names, bar, when_finished)
        _run(whole, _make_plugin(run, progress, _largest_need(whole)), progress, run, log_dir)
    for name, path in _crash_reports(log_dir):
        progress.visits[visit_and_step(name)[0]].crash_reports.append(path)
    return {slug: progress.visits[slug] for slug in steps}


def _run(whole: Workflow, plugin: Any, progress: Progress, run: RunConfig, log_dir: Path) -> None:
    """Run a workflow to its end, and record why visits failed."""
    try:
        whole.run(plugin=plugin)
    except Exception as error:  # plugins raise various errors; each visit's own failure is identified below
        _LOGGER.debug("the workflow failed", exc_info=True)
        failures = getattr(plugin, "failures", None) or _read_crash_reports(log_dir)
        for name, failure in failures.items():
            slug, _ = visit_and_step(name)
            progress.visits[slug].failure = progress.visits[slug].failure or failure
        # A stop at the first crash leaves the other visits unfinished through no fault of their own.
        if not (failures and run.stop_on_first_crash):
            for slug in progress.steps_left:
                failure = failure_of(f"{type(error).__name__}: {error}")
                progress.visits[slug].failure = progress.visits[slug].failure or failure
    else:
        # nipype's plugins for whole graphs, such as SLURMGraph, return as soon as all jobs are in the queue.
        handed_over = isinstance(plugin, GraphPluginBase)
        for slug in progress.names:
            progress.visits[slug].handed_over, progress.visits[slug].finished = handed_over, not handed_over
    finally:
        if isinstance(plugin, ResilientMultiProcPlugin):
            plugin.stop()


def _write_graph(graph: Workflow, folder: Path) -> None:
    try:
        graph.write_graph(str(folder / "graph.dot"), graph2use="colored", format="svg")
    except OSError as error:
        _LOGGER.warning("%s: the graph was written but not drawn: %s; install graphviz", folder / "graph.dot", error)


def _read_crash_reports(folder: Path) -> dict[str, Failure]:
    """Read nipype's crash reports; return why nodes failed, by full name."""
    return {
        name: failure_of(path.read_text(encoding="utf-8", errors="replace")) for name, path in _crash_reports(folder)
    }


def _crash_reports(folder: Path) -> list[tuple[str, Path]]:
    """Return nipype's crash reports with the full names of the failed nodes.

    On a disk that is full, some are empty.
    """
    reports = []
    for path in sorted(folder.glob("crash-*.txt")):
        with path.open(encoding="utf-8", errors="replace") as file:
            first, _, name = file.readline().partition("Node:")
        if not first and "." in name:
            reports.append((name.strip(), path))
    return reports


def delete_intermediates(slug: str, work_dir: Path) -> None:
    """Delete a visit's intermediate results from the work folder."""
    shutil.rmtree(work_dir / "bids_cascade" / slug, ignore_errors=True)


def clean_up(visits: Iterable[VisitKey], work_dir: Path) -> None:
    """Delete what only this run needed: its visits' locks and, unless another run uses the folder, too, the caches.

    Empty folders are removed as well.
    """
    for visit in visits:
        (work_dir / "locks" / visit.slug).unlink(missing_ok=True)
    if len(list(work_dir.glob("tmp_*"))) > 1:  # each run has one
        return
    for path in (work_dir / "bids_cascade" / "resource_monitor.json", *work_dir.glob(".proc-*")):
        path.unlink(missing_ok=True)
    shutil.rmtree(work_dir / CACHE, ignore_errors=True)
    for folder in (work_dir / "bids_cascade", work_dir / "locks", work_dir):
        with suppress(OSError):
            folder.rmdir()


def report_work_dir(work_dir: Path) -> None:
    """Log the work folder and its size, if it still exists."""
    if work_dir.is_dir():
        n_bytes = 0
        for path in work_dir.rglob("*"):
            with suppress(OSError):  # another run may clean up
                n_bytes += path.lstat().st_size
        _LOGGER.info("work folder: %s, %s; needed only to resume", work_dir, _format_size(n_bytes))


def _format_size(n_bytes: float) -> str:
    """Format a size in the unit that people would use."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if n_bytes >= 0.1 * size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes / 1e3:.0f} kB"


def step_folder(graph: Workflow, step: str, run: RunConfig) -> Path:
    """Return the folder in which a step of a finished graph has left its files."""
    return run.work_dir / "bids_cascade" / str(graph.name) / step


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
    # Crash reports go to files, and the essential line to the closing table; nipype's own messages only help debugging.
    level = logging.DEBUG if _LOGGER.isEnabledFor(logging.DEBUG) else logging.CRITICAL + 1
    for name in ("nipype.workflow", "nipype.interface", "nipype.utils"):
        logging.getLogger(name).setLevel(level)
    if run.resource_monitor:
        nipype.config.enable_resource_monitor()
        logging.getLogger("callback").addHandler(logging.FileHandler(log_dir / "resource_monitor.log"))
        logging.getLogger("callback").propagate = False
        logging.getLogger("callback").setLevel(logging.DEBUG)


def _largest_need(graph: Workflow) -> float:
    return float(max(graph.get_node(name).mem_gb for name in graph.list_node_names()))


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
            f"a visit needs {largest_need_gb:g} GB of memory, there are {run.mem_gb:.2g} GB; raise --mem-gb, or the "
            "limit of the job or container"
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
    arguments = dict(content.get("plugin_args") or {})
    if arguments.pop(_SKIPS_FINISHED, False):
        # nipype then takes a step with outdated results, as of another model, for a finished one.
        _LOGGER.warning("%s: %s is ignored; a job whose results are up to date ends at once", path, _SKIPS_FINISHED)
    return kind(plugin_args={**arguments, "status_callback": callback})
