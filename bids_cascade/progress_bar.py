"""A progress bar on a terminal; elsewhere, as in a log file, there is none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_shown: list[Any] = []


class BarHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes the lines of a log above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, then the bar again if there is one."""
        for bar in _shown:
            bar.clear()
        super().emit(record)
        for bar in _shown:
            bar.refresh()


@contextmanager
def progress_bar(total: int, unit: str, *, with_time_left: bool = True) -> Iterator[Any]:
    """Show a bar on standard error if that is a terminal; it is removed at the end.

    Parameters
    ----------
    total : int
        Number of items.
    unit : str
        Name of the items, in the plural.
    with_time_left : bool
        Whether to estimate the time left, assuming a constant speed.

    Yields
    ------
    tqdm.tqdm
        ``update`` advances it, ``set_description_str`` shows the current item.
    """
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # which would start a thread
    time = " {elapsed}, {remaining} left" if with_time_left else ""
    bar_format = f"{{n_fmt}} of {{total_fmt}} {unit} |{{bar:24}}|{time} {{desc}}"
    bar = tqdm(total=total, bar_format=bar_format, disable=None, leave=False, dynamic_ncols=True, smoothing=0)
    _shown.append(bar)
    try:
        yield bar
    finally:
        _shown.remove(bar)
        bar.close()
