"""The graph of one visit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nipype.pipeline.engine import Node, Workflow

from bids_cascade.anatomy.template import BUILT_IN, find_template
from bids_cascade.config import WHITE_MATTER, needed_sequences
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.workflow.interfaces import (
    CorrectBias,
    DrawAnatomy,
    DrawField,
    DrawFindings,
    DrawScan,
    FindAnatomy,
    FindBrain,
    FindLesions,
    MoveLabel,
    PackImage,
    PublishReport,
    Register,
    RegisterTemplate,
    Segment,
    StackChannels,
    WriteOutputs,
)
from bids_cascade.workflow.nodes import list_node, plan_memory, step


@dataclass(frozen=True)
class Preprocessing:
    """How a visit is preprocessed.

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
    normalisation : str
        One of ``bids_cascade.config.NORMALISATIONS``.
    """

    sequences: tuple[str, ...]
    voxel_size_mm: float = 1.0
    skull_strip: str = "auto"
    seed: int = 0
    omp_nthreads: int = 1
    normalisation: str = WHITE_MATTER


@dataclass(frozen=True)
class Networks:
    """Which networks segment a visit, and how.

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


def preprocessing_graph(visit: Visit, preprocessing: Preprocessing) -> Workflow:
    """Return the graph from a visit's raw images to the channels that the networks take.

    Each image is registered first, since N4 needs the brain mask on every image's own grid.

    Parameters
    ----------
    visit : Visit
        With all sequences that the model needs. If it lacks the T1w image, which some models can do without, read FLAIR
        for T1w below.
    preprocessing : Preprocessing

    Notes
    -----
    Inputs:

    ``brain.image``, ``register_<sequence>.moving``, ``bias_<sequence>.image``
        Raw images; set when the graph is made.

    Outputs:

    ``brain.mask``, ``brain.method``
        Brain mask on the grid of the T1w image, and how it was found.
    ``corrected.out``
        Bias-corrected images, each on its own grid, the T1w image first.
    ``transforms.out``, ``qualities.out``, ``flags.out``
        Of each image but the T1w image: transform from points of the T1w image, similarity after registration, and
        quality flags.
    ``channels.channels``, ``channels.brain``
        Normalised sequences, 0 where there is no image, and brain mask on the model's grid.
    ``channels.contrast``
        Of each sequence, see :func:`bids_cascade.imaging.contrast.measure_contrast`.
    """
    graph = Workflow(visit.slug)
    first, *others = needed_sequences(preprocessing.sequences, visit.absent)
    paths = {sequence: str(visit.images[sequence].path.absolute()) for sequence in (first, *others)}
    brain = step(
        FindBrain(image=paths[first], sequence=first, mode=preprocessing.skull_strip),
        "brain",
        preprocessing.omp_nthreads,
    )
    corrected, transforms = list_node("corrected", 1 + len(others)), list_node("transforms", len(others))
    qualities, flags = list_node("qualities", len(others)), list_node("flags", len(others))
    channels = step(
        StackChannels(voxel_size_mm=preprocessing.voxel_size_mm, normalisation=preprocessing.normalisation), "channels"
    )
    channels.inputs.sequences, channels.inputs.names = list(paths), list(paths.values())
    channels.inputs.channels = list(preprocessing.sequences)
    for index, sequence in enumerate((first, *others)):
        bias = step(CorrectBias(image=paths[sequence]), f"bias_{sequence}")
        graph.connect(brain, "mask", bias, "mask")
        graph.connect(bias, "corrected", corrected, f"in{index + 1}")
        if sequence != first:
            register = Register(moving=paths[sequence], t1w=paths[first], seed=preprocessing.seed)
            register = step(register, f"register_{sequence}")
            graph.connect(brain, "mask", register, "mask")
            graph.connect(register, "transform", bias, "transform")
            graph.connect(register, "transform", transforms, f"in{index}")
            graph.connect(register, "quality", qualities, f"in{index}")
            graph.connect(register, "flags", flags, f"in{index}")
    graph.connect(brain, "mask", channels, "mask")
    graph.connect(corrected, "out", channels, "images")
    if others:
        graph.connect(transforms, "out", channels, "transforms")
    plan_memory(graph, paths.values())
    return graph


def segmentation_graph(visit: Visit, preprocessing: Preprocessing, networks: Networks, plan: OutputPlan) -> Workflow:
    """Return the graph of a visit from raw images to derivatives.

    Parameters
    ----------
    visit : Visit
        With all sequences that the model needs.
    preprocessing : Preprocessing
    networks : Networks
    plan : OutputPlan

    Notes
    -----
    Inputs:

    Those of :func:`preprocessing_graph`, and

    ``cascade.model``
        Model file.

    Outputs:

    Those of :func:`preprocessing_graph`, and

    ``cascade.probability``, ``cascade.first_probability``
        Probability of lesion by the whole cascade and by stage 1, on the model's grid.
    ``cascade.members``, ``cascade.uncertainty``
        Of a model with several cascades: the probability by each of them, and their disagreement.
    ``lesions.lesions``
        The lesions on the grids of the T1w image and of the image on which they are displayed.
    ``template_<name>.space``, ``anatomy.anatomy``
        Transforms to and from a template, and the structures of the brain, unless the plan leaves them out.
    ``outputs.stats``
        Table of the visit's volumes, the last of its derivatives to be written.
    ``figures.files``, ``report.files``
        Figures, which ``report`` copies to the derivatives.
    """
    graph = preprocessing_graph(visit, preprocessing)
    brain, channels = graph.get_node("brain"), graph.get_node("channels")
    segment = Segment(
        model=str(networks.model.absolute()),
        model_sha256=plan.model_sha256,
        half_precision=networks.half_precision,
        device=networks.device,
        use_gpu=networks.device != "cpu",
    )
    segment = step(segment, "cascade", preprocessing.omp_nthreads)
    write = step(WriteOutputs(plan=plan), "outputs")
    write.overwrite = True  # the work folder may be kept while the output folder is not
    graph.connect(channels, "channels", segment, "channels")
    graph.connect(channels, "brain", segment, "brain")
    sequences = needed_sequences(preprocessing.sequences, visit.absent)
    lesions = _add_lesions(graph, plan, sequences)
    graph.connect(lesions, "lesions", write, "lesions")
    graph.connect(segment, "uncertainty", write, "uncertainty")
    graph.connect(brain, "mask", write, "mask")
    graph.connect(brain, "method", write, "mask_method")
    _add_packing(graph, sequences)
    if len(sequences) > 1:
        for name in ("transforms", "qualities", "flags"):
            graph.connect(graph.get_node(name), "out", write, name)
    _add_report(graph, plan, sequences)
    _add_templates(graph, preprocessing, plan)
    templates = [find_template(name)[0] for name in plan.output_spaces if name != BUILT_IN]
    plan_memory(graph, [*(visit.images[sequence].path for sequence in sequences), *templates])
    return graph


def _add_templates(graph: Workflow, preprocessing: Preprocessing, plan: OutputPlan) -> None:
    """Add the registrations to templates, which don't depend on the networks, and the structures, which do."""
    names = dict.fromkeys(((BUILT_IN,) if plan.anatomy else ()) + plan.output_spaces)
    common = {"sequences": list(preprocessing.sequences), "normalisation": preprocessing.normalisation}
    for name in names:
        register = step(RegisterTemplate(seed=preprocessing.seed, template=name, **common), f"template_{name}")
        _connect_channels(graph, register)
    if plan.output_spaces:
        spaces = list_node("spaces", len(plan.output_spaces))
        for index, name in enumerate(plan.output_spaces):
            graph.connect(graph.get_node(f"template_{name}"), "space", spaces, f"in{index + 1}")
        for target in ("outputs", "report"):
            graph.connect(spaces, "out", graph.get_node(target), "spaces")
    if plan.anatomy:
        _add_anatomy(graph, plan, common)


def _add_anatomy(graph: Workflow, plan: OutputPlan, common: dict[str, Any]) -> None:
    """Add the structures of the brain, and their figure."""
    anatomy = step(FindAnatomy(rule=plan.rule, **common), "anatomy")
    draw = step(DrawAnatomy(sequence=plan.space), "draw_anatomy")
    _connect_channels(graph, anatomy)
    graph.connect(graph.get_node(f"template_{BUILT_IN}"), "space", anatomy, "space")
    graph.connect(graph.get_node("cascade"), "probability", anatomy, "probability")
    _connect_scan(graph, plan.space, draw)
    graph.connect(graph.get_node("brain"), "mask", draw, "mask")
    graph.connect(graph.get_node("lesions"), "lesions", draw, "lesions")
    files = graph.get_node("files")
    graph.connect(draw, "files", files, f"in{files.interface._numinputs}")
    graph.connect(draw, "locations", graph.get_node("figures"), "locations")
    for target in ("outputs", "report", "draw_anatomy"):
        graph.connect(anatomy, "anatomy", graph.get_node(target), "anatomy")


def _connect_channels(graph: Workflow, node: Node) -> None:
    for name in ("channels", "brain"):
        graph.connect(graph.get_node("channels"), name, node, name)


def _add_lesions(graph: Workflow, plan: OutputPlan, sequences: Sequence[str]) -> Node:
    """Add the node that finds the lesions for all nodes that need them; return it."""
    spaces = list(dict.fromkeys((plan.space, plan.shown)))
    lesions = step(FindLesions(sequences=list(sequences), spaces=spaces, rule=plan.rule), "lesions")
    segment = graph.get_node("cascade")
    for name in ("probability", "members"):
        graph.connect(segment, name, lesions, name)
    graph.connect(graph.get_node("corrected"), "out", lesions, "images")
    if len(sequences) > 1:
        graph.connect(graph.get_node("transforms"), "out", lesions, "transforms")
    return lesions


def _add_packing(graph: Workflow, sequences: Sequence[str]) -> None:
    """Compress each image as soon as it is corrected: N4 of the others uses one processor only."""
    packed = list_node("packed", len(sequences))
    for index, sequence in enumerate(sequences):
        pack = step(PackImage(), f"pack_{sequence}")
        graph.connect(graph.get_node("brain"), "mask", pack, "mask")
        _connect_scan(graph, sequence, pack)
        graph.connect(pack, "packed", packed, f"in{index + 1}")
    graph.connect(packed, "out", graph.get_node("outputs"), "packed")


def _add_report(graph: Workflow, plan: OutputPlan, sequences: Sequence[str]) -> None:
    """Draw all figures as early as possible, then publish them beside the outputs, which don't wait for them."""
    publish = step(PublishReport(plan=plan), "report")
    publish.overwrite = True
    n = len(sequences)
    files, measured = list_node("files", 2 * n + 1 + plan.anatomy), list_node("measured", n)
    for index, sequence in enumerate(sequences):
        raw = str(plan.visit.images[sequence].path.absolute())
        draw = step(DrawScan(sequence=sequence, raw=raw), f"draw_{sequence}")
        field = step(DrawField(sequence=sequence, raw=raw), f"field_{sequence}")
        for node in (draw, field):
            graph.connect(graph.get_node("brain"), "mask", node, "mask")
        graph.connect(graph.get_node(f"bias_{sequences[0]}"), "corrected", draw, "t1w")
        _connect_scan(graph, sequence, field)
        if sequence != sequences[0]:
            register = graph.get_node(f"register_{sequence}")
            graph.connect(register, "transform", draw, "transform")
            graph.connect(register, "quality", draw, "quality")
            # When this image is corrected, the cascade will soon need all processors.
            graph.connect(graph.get_node("outputs"), "stats", field, "after")
        graph.connect(draw, "files", files, f"in{index + 1}")
        graph.connect(field, "files", files, f"in{n + index + 1}")
        graph.connect(draw, "measured", measured, f"in{index + 1}")
    figures = _findings(graph, plan)
    graph.connect(figures, "files", files, f"in{2 * n + 1}")
    graph.connect(figures, "contrast", publish, "contrast")
    graph.connect(files, "out", publish, "files")
    graph.connect(measured, "out", publish, "measured")
    if n > 1:
        graph.connect(graph.get_node("flags"), "out", publish, "flags")
    graph.connect(graph.get_node("channels"), "contrast", publish, "sequences")
    graph.connect(graph.get_node("outputs"), "stats", publish, "stats")


def _findings(graph: Workflow, plan: OutputPlan) -> Node:
    """Add the node that draws the lesions; return it."""
    draw = DrawFindings(sequence=plan.shown, gate=plan.gate)
    figures, segment = step(draw, "figures"), graph.get_node("cascade")
    graph.connect(graph.get_node("brain"), "mask", figures, "mask")
    _connect_scan(graph, plan.shown, figures)
    if plan.shown != plan.space:
        graph.connect(graph.get_node("bias_T1w"), "corrected", figures, "t1w")
    graph.connect(graph.get_node("lesions"), "lesions", figures, "lesions")
    for name in ("first_probability", "uncertainty"):
        graph.connect(segment, name, figures, name)
    return figures


def _connect_scan(graph: Workflow, sequence: str, node: Node) -> None:
    """Give a node a corrected image and, unless it is the T1w image, its transform."""
    graph.connect(graph.get_node(f"bias_{sequence}"), "corrected", node, "image")
    register = graph.get_node(f"register_{sequence}")
    if register is not None:
        graph.connect(register, "transform", node, "transform")


def labelled_graph(visit: Visit, preprocessing: Preprocessing, label: Path) -> Workflow:
    """Return the graph of a labelled visit from raw images to training data.

    Parameters
    ----------
    visit : Visit
        With all sequences that the model needs.
    preprocessing : Preprocessing
    label : Path
        Manual lesion mask, on the grid of one of the images.

    Notes
    -----
    Inputs:

    Those of :func:`preprocessing_graph`, and

    ``lesion.label``
        Manual lesion mask.

    Outputs:

    Those of :func:`preprocessing_graph`, and

    ``lesion.lesion``
        Manual lesion mask on the model's grid.
    """
    graph = preprocessing_graph(visit, preprocessing)
    sequences = needed_sequences(preprocessing.sequences, visit.absent)
    raw = [str(visit.images[sequence].path.absolute()) for sequence in sequences]
    lesion = step(MoveLabel(label=str(label.absolute()), images=raw), "lesion")
    graph.connect(graph.get_node("channels"), "brain", lesion, "brain")
    if len(sequences) > 1:
        graph.connect(graph.get_node("transforms"), "out", lesion, "transforms")
    return graph
