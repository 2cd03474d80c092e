"""Progress of a run: counts finished steps and visits, logs them, and estimates the time left."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bids_cascade.outcomes import count
from bids_cascade.workflow.visit_run import StepRun, VisitRun

_LOGGER = logging.getLogger(__name__)
_STEPS_LOGGER = logging.getLogger("bids_cascade.steps")
_LEAST_WORK_S = 1.0
"""Shortest time of a visit of which at least one step really ran."""

STEP_NAMES = {
    "brain": "finding the brain",
    "bias": "bias correction",
    "register": "registration",
    "channels": "normalisation",
    "pack": "compression",
    "draw": "drawing",
    "field": "drawing the bias field",
    "cascade": "lesion segmentation",
    "lesion": "resampling the manual mask",
    "lesions": "finding lesions",
    "template": "template registration",
    "anatomy": "finding the anatomy",
    "outputs": "writing results",
    "figures": "drawing lesions",
    "report": "writing the report",
}
REPORT_STEPS = ("draw", "field", "figures", "report")
"""The last waits for all others; a visit whose results are written is finished even if these fail."""


class Progress:
    """Logs how each visit ended, how many have ended, and the time left; nipype calls it from the parent process.

    Each step is logged as well, by a logger of its own, which is shown with ``-v`` only.

    Parameters
    ----------
    steps : mapping of str to iterable of str
        The steps of each visit, by its slug.
    names : mapping of str to str
        Names of the visits by slug.
    bar : tqdm, optional
        Counts the steps.
    when_finished : callable, optional
        Called with the slug of a visit when all of its steps have ended well.
    """

    def __init__(
        self,
        steps: Mapping[str, Iterable[str]],
        names: Mapping[str, str],
        bar: Any = None,
        when_finished: Callable[[str], None] | None = None,
    ) -> None:
        self.names, self._bar, self._when_finished = names, bar, when_finished
        self._with_failures: set[str] = set()
        self.visits: dict[str, VisitRun] = defaultdict(VisitRun)
        self.steps_left = {slug: set(names) for slug, names in steps.items()}
        self._n_visits = len(self.steps_left)
        self._began = time.monotonic()
        self._started: dict[str, float] = {}

    def __call__(self, node: Any, status: str) -> None:
        """Take note of a node that starts, ends or fails."""
        slug, step = visit_and_step(node.fullname)
        if not is_step(step):
            return
        name = self.names.get(slug, slug)
        if status == "start":
            self._started[node.fullname] = time.monotonic()
            self._show(f"{name}: {_describe(step)}", 0)
            return
        now = time.monotonic()
        start = self._started.get(node.fullname, now)
        self.visits[slug].steps[step] = StepRun(start - self._began, now - start)
        self._show(f"{name}: {_describe(step)}", 1)
        if status == "end":
            _STEPS_LOGGER.info("%s: %s done in %.1f s", name, _describe(step), now - start)
            self._take_off(slug, {step})
            return
        self._with_failures.add(slug)
        if _is_of_report(step):
            _LOGGER.info("%s: %s FAILED; there will be no report", name, _describe(step))
            self._take_off(slug, {step, REPORT_STEPS[-1]})
        elif self.steps_left.pop(slug, None):
            _LOGGER.info("%s: FAILED at %s; %s", name, _describe(step), self._describe())

    def _take_off(self, slug: str, steps: set[str]) -> None:
        """Remove steps from the remaining ones of a visit, unless a failed step means that it can't be finished."""
        if slug not in self.steps_left:
            return
        self.steps_left[slug] -= steps
        visit = self.visits[slug]
        visit.finished = all(map(_is_of_report, self.steps_left[slug]))
        if not self.steps_left[slug]:
            del self.steps_left[slug]
            took_s = time.monotonic() - self._began - min(step.start_s for step in visit.steps.values())
            _LOGGER.info("%s: done in %s; %s", self.names.get(slug, slug), format_time(took_s), self._describe())
            if self._when_finished and slug not in self._with_failures:
                self._when_finished(slug)

    def _show(self, step: str, n_done: int) -> None:
        """Advance the bar, and show there the step that began or ended last."""
        if self._bar is not None:
            self._bar.set_description_str(f"{self._describe()}; {step}", refresh=False)
            self._bar.update(n_done)
            self._bar.refresh()

    def _describe(self) -> str:
        """Return how many visits are done, how many failed, and the time left if it can be estimated."""
        n_done = sum(visit.finished for slug, visit in self.visits.items() if slug not in self.steps_left)
        n_failed = self._n_visits - len(self.steps_left) - n_done
        left_s = self._estimate_left_s()
        return ", ".join(
            [
                f"{n_done} of {count(self._n_visits, 'visit')} done",
                *([f"{n_failed} failed"] if n_failed else []),
                *([f"about {format_time(left_s)} left"] if left_s else []),
            ]
        )

    def _estimate_left_s(self) -> float | None:
        """Return the time left, assuming that the other visits take as long as those done, at the same parallelism.

        Visits that an earlier run finished take no time and do not count.
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


def visit_and_step(fullname: str) -> tuple[str, str]:
    """Split a node's full name into a visit's slug and a step."""
    *_, slug, step = fullname.split(".")
    return slug, step


def is_step(name: str) -> bool:
    """Return whether a node is a step worth reporting."""
    return name.split("_")[0] in STEP_NAMES


def _is_of_report(step: str) -> bool:
    return step.split("_")[0] in REPORT_STEPS


def _describe(step: str) -> str:
    kind, _, sequence = step.partition("_")
    return f"{STEP_NAMES[kind]} of {sequence}" if sequence else STEP_NAMES[kind]


def format_time(seconds: float) -> str:
    """Format a time in the unit that people would use."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
