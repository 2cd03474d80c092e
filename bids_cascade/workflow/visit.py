"""The graph of one visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import Merge
from nipype.pipeline.engine import Node, Workflow

from bids_cascade.dataset.visits import Visit
from bids_cascade.workflow.interfaces import (
    CorrectBias,
    DrawReport,
    FindBrain,
    MoveLabel,
    PublishReport,
    Register,
    Segment,
    StackChannels,
    WriteOutputs,
)
from bids_cascade.workflow.outputs import OutputPlan

_MEM_GB = {"brain": 2.5, "cascade": 1.5}
_DEFAULT_MEM_GB = 0.8


@dataclass(frozen=True)
class Preprocessing:
    """How a visit is brought onto the model's grid.

    Attributes
    ----------
    sequences : tuple of str
        Of the model, in channel order.
    voxel_size_mm : float
    skull_strip : str
        ``auto``, ``skip`` or ``force``.
    seed : int
        Random seed of the registration.
    omp_nthreads : int
        Threads of the steps that can use several.
    """

    sequences: tuple[str, ...]
    voxel_size_mm: float = 1.0
    skull_strip: str = "auto"
    seed: int = 0
    omp_nthreads: int = 1


@dataclass(frozen=True)
class Networks:
    """Which networks look at a visit, and how.

    Attributes
    ----------
    model : Path
        Model file.
    device : str
        A torch device.
    half_precision : bool
    """

    model: Path
    device: str = "cpu"
    half_precision: bool = False


def needed_sequences(sequences: Sequence[str]) -> tuple[str, ...]:
    """Return what a visit must have: the T1w image, in which the brain is found, then the model's others."""
    return ("T1w", *(sequence for sequence in sequences if sequence != "T1w"))


def preprocessing_graph(visit: Visit, how: Preprocessing) -> Workflow:
    """Return the graph that ends in the node ``channels`` (and ``corrected`` and ``transforms``, its lists).

    Each image is registered first, since N4 needs the brain mask on every image's own grid.
    """
    graph = Workflow(visit.slug)
    t1w, *others = needed_sequences(how.sequences)
    paths = {sequence: str(visit.images[sequence].path.absolute()) for sequence in (t1w, *others)}
    brain = _node(FindBrain(t1w=paths[t1w], mode=how.skull_strip), "brain", how.omp_nthreads)
    corrected, transforms = _list_node("corrected", 1 + len(others)), _list_node("transforms", len(others))
    qualities, warnings = _list_node("qualities", len(others)), _list_node("warnings", len(others))
    channels = _node(StackChannels(voxel_size_mm=how.voxel_size_mm), "channels")
    channels.inputs.sequences, channels.inputs.channels = [t1w, *others], list(how.sequences)
    for index, sequence in enumerate((t1w, *others)):
        bias = _node(CorrectBias(image=paths[sequence]), f"bias_{sequence}")
        graph.connect(brain, "mask", bias, "mask")
        graph.connect(bias, "corrected", corrected, f"in{index + 1}")
        if sequence != t1w:
            register = Register(moving=paths[sequence], t1w=paths[t1w], seed=how.seed)
            register = _node(register, f"register_{sequence}")
            graph.connect(brain, "mask", register, "mask")
            graph.connect(register, "transform", bias, "transform")
            graph.connect(register, "transform", transforms, f"in{index}")
            graph.connect(register, "quality", qualities, f"in{index}")
            graph.connect(register, "warnings", warnings, f"in{index}")
    graph.connect(brain, "mask", channels, "mask")
    graph.connect(corrected, "out", channels, "images")
    if others:
        graph.connect(transforms, "out", channels, "transforms")
    return graph


def segmentation_graph(visit: Visit, how: Preprocessing, networks: Networks, plan: OutputPlan) -> Workflow:
    """Return the graph of a visit from raw images to derivatives."""
    graph = preprocessing_graph(visit, how)
    brain, channels = graph.get_node("brain"), graph.get_node("channels")
    segment = Segment(
        model=str(networks.model.absolute()),
        half_precision=networks.half_precision,
        device=networks.device,
        use_gpu=networks.device != "cpu",
    )
    segment = _node(segment, "cascade", how.omp_nthreads)
    write = _node(WriteOutputs(plan=plan), "outputs")
    write.overwrite = True  # the work folder may be kept while the output folder is not
    graph.connect(channels, "channels", segment, "channels")
    graph.connect(channels, "brain", segment, "brain")
    graph.connect(segment, "probability", write, "probability")
    graph.connect(brain, "mask", write, "mask")
    graph.connect(brain, "method", write, "mask_method")
    graph.connect(graph.get_node("corrected"), "out", write, "images")
    if len(needed_sequences(how.sequences)) > 1:
        for name in ("transforms", "qualities", "warnings"):
            graph.connect(graph.get_node(name), "out", write, name)
    _add_report(graph, plan, needed_sequences(how.sequences))
    return graph


def _add_report(graph: Workflow, plan: OutputPlan, sequences: Sequence[str]) -> None:
    """Let the figures be drawn while the outputs are written, and then be put beside them; no output waits for that."""
    draw = DrawReport(
        sequences=list(sequences),
        raw=[str(plan.visit.images[sequence].path.absolute()) for sequence in sequences],
        gate_probability=plan.gate_probability,
        threshold=plan.threshold,
        min_lesion_volume_mm3=plan.min_lesion_volume_mm3,
        shown=plan.shown,
    )
    figures, publish = _node(draw, "figures"), _node(PublishReport(plan=plan), "report")
    publish.overwrite = True
    outputs, segment = graph.get_node("outputs"), graph.get_node("cascade")
    for name in ("probability", "first_probability"):
        graph.connect(segment, name, figures, name)
    graph.connect(graph.get_node("brain"), "mask", figures, "mask")
    graph.connect(graph.get_node("corrected"), "out", figures, "images")
    if len(sequences) > 1:
        for name in ("transforms", "qualities"):
            graph.connect(graph.get_node(name), "out", figures, name)
    graph.connect(figures, "files", publish, "files")
    graph.connect(outputs, "stats", publish, "stats")


def labelled_graph(visit: Visit, how: Preprocessing, label: Path) -> Workflow:
    """Return the graph that ends in the nodes ``channels`` and ``lesion``."""
    graph = preprocessing_graph(visit, how)
    sequences = needed_sequences(how.sequences)
    raw = [str(visit.images[sequence].path.absolute()) for sequence in sequences]
    lesion = _node(MoveLabel(label=str(label.absolute()), images=raw), "lesion")
    graph.connect(graph.get_node("channels"), "brain", lesion, "brain")
    if len(sequences) > 1:
        graph.connect(graph.get_node("transforms"), "out", lesion, "transforms")
    return graph


def _node(interface: Any, name: str, n_threads: int = 1) -> Node:
    node = Node(interface, name, n_procs=n_threads, mem_gb=_MEM_GB.get(name, _DEFAULT_MEM_GB))
    if "n_threads" in interface.inputs.copyable_trait_names():
        node.inputs.n_threads = n_threads
    return node


def _list_node(name: str, length: int) -> Node:
    merge = Merge(length)
    merge.resource_monitor = False  # done in the parent, where the monitor would leave its samples in the user's folder
    return Node(merge, name, mem_gb=0.1, run_without_submitting=True)
