"""The nodes of a graph: the memory that they take, and how their earlier results are recognised."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow

from bids_cascade.errors import BidsCascadeError
from bids_cascade.nifti_file import read_header

_MEM_GB = {"brain": 2.5, "cascade": 1.3, "anatomy": 1.0}
_MEM_GB_PER_THREAD = {"cascade": 0.1}
_DEFAULT_MEM_GB = 0.8
_GB_PER_VOXEL, _GB_PER_VOXEL_OF = 21e-9, {"outputs": 27e-9}
"""Of the largest image (N4: 19, registration: 20, refilling lesions: 26); at most what brain extraction takes."""
_OF_RAW_IMAGES = ("brain", "register", "bias", "lesion")
"""Steps that are repeated when the content of their files changes, whatever the files' times."""
_BY_TIME = {"execution": {"hash_method": "timestamp"}}
"""Results of steps are recognised by their times: hashing their content would take most of a second."""


def _largest(paths: Iterable[str | Path]) -> int:
    """Return how many voxels the largest of some images has."""
    n_voxels = 0
    for path in paths:
        with suppress(BidsCascadeError):  # the step that reads it reports the error
            n_voxels = max(n_voxels, math.prod(read_header(Path(path)).shape))
    return n_voxels


def plan_memory(graph: Workflow, images: Iterable[str | Path]) -> None:
    """Tell nipype how much memory a graph's steps take with these images; nodes that run in the parent are excepted."""
    n_voxels = _largest(images)
    for name in graph.list_node_names():
        node = graph.get_node(name)
        if not node.run_without_submitting:
            image_gb = n_voxels * _GB_PER_VOXEL_OF.get(name, _GB_PER_VOXEL)
            node._mem_gb = max(node.mem_gb, min(image_gb, _MEM_GB["brain"]))


def step(interface: Any, name: str, n_threads: int = 1) -> Node:
    """Return the node of a step, with the memory and the threads that it takes.

    Parameters
    ----------
    interface : nipype interface
    name : str
        By which the step's memory is known; the part before an underscore says which kind of step it is.
    n_threads : int
    """
    mem_gb = _MEM_GB.get(name, _DEFAULT_MEM_GB) + n_threads * _MEM_GB_PER_THREAD.get(name, 0)
    node = Node(interface, name, n_procs=n_threads, mem_gb=mem_gb)
    if name.partition("_")[0] not in _OF_RAW_IMAGES:
        node.config = _BY_TIME
    if "n_threads" in interface.inputs.copyable_trait_names():
        node.inputs.n_threads = n_threads
    return node


def list_node(name: str, length: int) -> Node:
    """Return a node that joins so many results to a list, in this process."""
    merge = Merge(length)
    merge.resource_monitor = False  # runs in the parent, where the monitor would leave its samples in the user's folder
    node = Node(merge, name, mem_gb=0.1, run_without_submitting=True)
    node.config = _BY_TIME
    return node
