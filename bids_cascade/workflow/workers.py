"""The process that workers are forked from."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from bids_cascade.children import start_fork_server

_NEEDED = (
    "bids_cascade.workflow.interfaces",
    "bids_cascade.derivatives.write",
    "bids_cascade.imaging.bias",
    "bids_cascade.imaging.brain",
    "bids_cascade.imaging.channels",
    "bids_cascade.imaging.registration",
    "bids_cascade.cascade.model",
    "bids_cascade.models.store",
    "bids_cascade.report.visit",
    "deepbet.bet",
    "matplotlib.backends.backend_svg",
)
"""Modules that the steps need. Importing them starts no thread but those of OpenBLAS, which is made to be forked."""


def prepare_workers() -> None:
    """Import what the steps need once, in a separate process, while the app reads the dataset."""
    start_fork_server(["bids_cascade.bound", "bids_cascade.workflow.preloaded"])


def load_needed() -> None:
    """Import what the steps need."""
    with importing():
        for name in _NEEDED:
            import_module(name)
        from bids_cascade.imaging.images import load_ants

        load_ants()


@contextmanager
def importing() -> Iterator[None]:
    """Suspend garbage collection during imports, and exempt the imported modules from later collections.

    Collection takes a fifth of the time of many imports, and a tenth of a second each time afterwards.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
