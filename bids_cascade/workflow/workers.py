"""The process that workers are forked from."""

from __future__ import annotations

from multiprocessing import forkserver, set_forkserver_preload

_NEEDED = (
    "bids_cascade.workflow.interfaces",
    "bids_cascade.workflow.outputs",
    "bids_cascade.imaging.bias",
    "bids_cascade.imaging.brain",
    "bids_cascade.imaging.channels",
    "bids_cascade.imaging.registration",
    "bids_cascade.cascade.model",
    "bids_cascade.models.store",
    "bids_cascade.report.visit",
    "bids_cascade.imaging.ants_loaded",
    "deepbet.bet",
    "matplotlib.backends.backend_svg",
)
"""Modules that the steps need. Importing them starts no thread but those of OpenBLAS, which is made to be forked."""


def prepare_workers() -> None:
    """Let what the steps need be imported once, in a process of its own, while the app looks at the dataset."""
    set_forkserver_preload(list(_NEEDED))
    forkserver.ensure_running()
