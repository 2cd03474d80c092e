"""Graphs are built, expanded and wired, without being run."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.pipeline.engine.utils import generate_expanded_graph

from bids_cascade.config import LesionRule, needed_sequences
from bids_cascade.dataset.visits import ImageChoice, Visit
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.workflow.visit import Networks, Preprocessing, labelled_graph, segmentation_graph


@pytest.fixture
def visit(tmp_path: Path) -> Visit:
    images = {}
    for suffix in ("T1w", "FLAIR", "T2w"):
        path = tmp_path / f"sub-01_{suffix}.nii.gz"
        nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)).to_filename(path)
        images[suffix] = ImageChoice(path, "the only one")
    return Visit("01", None, images)


@pytest.fixture
def plan(visit: Visit, tmp_path: Path) -> OutputPlan:
    return OutputPlan(visit, tmp_path, tmp_path / "out", "tiny", "0" * 64, LesionRule(0.5, 10, 0.7), (0.2, 0.8))


@pytest.fixture
def t1w_plan(plan: OutputPlan) -> OutputPlan:
    return replace(plan, visit=replace(plan.visit, images={"T1w": plan.visit.images["T1w"]}))


def edges(graph) -> set[tuple[str, str, str, str]]:
    flat = generate_expanded_graph(graph._create_flat_graph())
    return {
        (source.name, output, target.name, field)
        for source, target, data in flat.edges(data=True)
        for output, field in data["connect"]
    }


def test_needed_sequences() -> None:
    assert needed_sequences(("T1w", "FLAIR")) == ("T1w", "FLAIR")
    assert needed_sequences(("FLAIR",)) == ("T1w", "FLAIR")
    assert needed_sequences(("FLAIR", "T2w", "T1w")) == ("T1w", "FLAIR", "T2w")
    assert needed_sequences(("T1w", "FLAIR"), optional=("T1w",)) == ("FLAIR",)


def test_segmentation_graph(visit: Visit, plan: OutputPlan) -> None:
    model = visit.images["T1w"].path
    how = Preprocessing(("T1w", "FLAIR"), seed=5, skull_strip="force", omp_nthreads=2)
    graph = segmentation_graph(visit, how, Networks(model), plan)
    assert graph.name == visit.slug
    assert {
        ("brain", "mask", "bias_T1w", "mask"),
        ("brain", "mask", "bias_FLAIR", "mask"),
        ("brain", "mask", "register_FLAIR", "mask"),
        ("register_FLAIR", "transform", "bias_FLAIR", "transform"),
        ("bias_T1w", "corrected", "corrected", "in1"),
        ("bias_FLAIR", "corrected", "corrected", "in2"),
        ("register_FLAIR", "transform", "transforms", "in1"),
        ("corrected", "out", "channels", "images"),
        ("transforms", "out", "channels", "transforms"),
        ("channels", "channels", "cascade", "channels"),
        ("channels", "brain", "cascade", "brain"),
        ("cascade", "probability", "lesions", "probability"),
        ("cascade", "members", "lesions", "members"),
        ("corrected", "out", "lesions", "images"),
        ("transforms", "out", "lesions", "transforms"),
        ("lesions", "lesions", "outputs", "lesions"),
        ("lesions", "lesions", "figures", "lesions"),
        ("cascade", "uncertainty", "outputs", "uncertainty"),
        ("cascade", "uncertainty", "figures", "uncertainty"),
        ("qualities", "out", "outputs", "qualities"),
        ("bias_FLAIR", "corrected", "pack_FLAIR", "image"),
        ("register_FLAIR", "transform", "pack_FLAIR", "transform"),
        ("pack_FLAIR", "packed", "packed", "in2"),
        ("packed", "out", "outputs", "packed"),
        ("bias_FLAIR", "corrected", "figures", "image"),
        ("cascade", "first_probability", "figures", "first_probability"),
        ("register_FLAIR", "transform", "draw_FLAIR", "transform"),
        ("bias_T1w", "corrected", "draw_FLAIR", "t1w"),
        ("bias_FLAIR", "corrected", "field_FLAIR", "image"),
        ("outputs", "stats", "field_FLAIR", "after"),
        ("draw_FLAIR", "measured", "measured", "in2"),
        ("measured", "out", "report", "measured"),
        ("channels", "contrast", "report", "sequences"),
        ("figures", "contrast", "report", "contrast"),
    } <= edges(graph)
    assert ("register_FLAIR", "transform", "draw_T1w", "transform") not in edges(graph)
    assert ("outputs", "stats", "field_T1w", "after") not in edges(graph)
    assert "register_T1w" not in graph.list_node_names()
    assert not any("T2w" in name for name in graph.list_node_names())
    assert graph.get_node("lesions").inputs.spaces == ["T1w", "FLAIR"]
    assert graph.get_node("brain").inputs.mode == "force"
    assert graph.get_node("brain").n_procs == graph.get_node("cascade").n_procs == 2
    assert graph.get_node("register_FLAIR").inputs.seed == 5
    assert not graph.get_node("cascade").is_gpu_node()


def test_the_cascade_is_a_gpu_node_where_there_is_one(visit: Visit, plan: OutputPlan) -> None:
    model = visit.images["T1w"].path
    graph = segmentation_graph(visit, Preprocessing(("T1w", "FLAIR")), Networks(model, "cuda:1"), plan)
    gpu_nodes = [name for name in graph.list_node_names() if graph.get_node(name).is_gpu_node()]
    assert gpu_nodes == ["cascade"]
    assert graph.get_node("cascade").inputs.device == "cuda:1"


def test_channels_follow_the_models_order(visit: Visit, plan: OutputPlan) -> None:
    model = visit.images["T1w"].path
    for sequences in (("T1w", "FLAIR", "T2w"), ("T2w", "FLAIR"), ("FLAIR",)):
        graph = segmentation_graph(visit, Preprocessing(sequences), Networks(model), plan)
        channels = graph.get_node("channels").inputs
        assert channels.channels == list(sequences)
        # Of all images, by which the tissues are told apart; the T1w is the first.
        assert channels.sequences[0] == "T1w"
        assert sorted(channels.sequences) == sorted(needed_sequences(sequences))


def test_a_t1w_model_needs_no_registration(visit: Visit, t1w_plan: OutputPlan) -> None:
    graph = segmentation_graph(visit, Preprocessing(("T1w",)), Networks(visit.images["T1w"].path), t1w_plan)
    assert not any("register" in name for name in graph.list_node_names())
    assert graph.get_node("lesions").inputs.spaces == ["T1w"]


def test_without_a_t1w_the_flair_stands_in_for_it(visit: Visit, plan: OutputPlan) -> None:
    """One graph serves both: nothing is registered, all results are on the FLAIR's grid, no T1w is drawn."""
    flair = visit.images["FLAIR"]
    alone = replace(visit, images={"FLAIR": flair}, absent=("T1w",))
    graph = segmentation_graph(alone, Preprocessing(("T1w", "FLAIR")), Networks(flair.path), replace(plan, visit=alone))
    brain, channels = graph.get_node("brain").inputs, graph.get_node("channels").inputs
    assert (brain.image, brain.sequence) == (str(flair.path), "FLAIR")
    assert (channels.sequences, channels.channels) == (["FLAIR"], ["T1w", "FLAIR"])
    assert graph.get_node("lesions").inputs.spaces == ["FLAIR"]
    assert not any("T1w" in name or "register" in name for name in graph.list_node_names())
    assert ("bias_FLAIR", "corrected", "draw_FLAIR", "t1w") in edges(graph)
    assert ("bias_FLAIR", "corrected", "figures", "t1w") not in edges(graph)


def test_labelled_graph(visit: Visit) -> None:
    graph = labelled_graph(visit, Preprocessing(("T1w", "FLAIR")), visit.images["T2w"].path)
    assert {
        ("channels", "brain", "lesion", "brain"),
        ("transforms", "out", "lesion", "transforms"),
    } <= edges(graph)
    assert not {"cascade", "outputs"} & set(graph.list_node_names())


def test_threads_and_device_do_not_change_the_hash(visit: Visit, t1w_plan: OutputPlan) -> None:
    model = visit.images["T1w"].path
    hashes = set()
    for threads, device in ((1, "cpu"), (2, "cuda")):
        graph = segmentation_graph(
            visit, Preprocessing(("T1w",), omp_nthreads=threads), Networks(model, device), t1w_plan
        )
        hashes.add(tuple(graph.get_node(name).interface.inputs.get_hashval()[1] for name in ("brain", "cascade")))
    assert len(hashes) == 1


def test_only_steps_of_raw_images_read_their_files_to_know_them(visit: Visit, plan: OutputPlan) -> None:
    graph = segmentation_graph(visit, Preprocessing(("T1w", "FLAIR")), Networks(visit.images["T1w"].path), plan)
    by_content = {name for name in graph.list_node_names() if graph.get_node(name).config is None}
    assert by_content == {"brain", "bias_T1w", "bias_FLAIR", "register_FLAIR"}


def test_version_model_and_options_change_the_hash(visit: Visit, t1w_plan: OutputPlan) -> None:
    def hash_of(**inputs: object) -> str:
        graph = segmentation_graph(visit, Preprocessing(("T1w",)), Networks(visit.images["T1w"].path), t1w_plan)
        node = graph.get_node("cascade")
        node.inputs.trait_set(**inputs)
        return node.interface.inputs.get_hashval(hash_method="timestamp")[1]

    assert len({hash_of(), hash_of(version="other"), hash_of(model_sha256="1" * 64)}) == 3


def test_memory_is_planned_by_the_largest_image(visit: Visit, plan: OutputPlan) -> None:
    """Of 400 x 400 x 512 voxels, 82 million, at 21 bytes: 1.7 GB; what takes 0.8 GB anyway keeps it for small ones."""

    def planned(shape: tuple[int, ...]) -> dict[str, float]:
        path = visit.images["FLAIR"].path
        nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)).to_filename(path)
        graph = segmentation_graph(visit, Preprocessing(("T1w", "FLAIR")), Networks(path), plan)
        return {name: graph.get_node(name).mem_gb for name in graph.list_node_names()}

    small, large = planned((100, 100, 100)), planned((400, 400, 512))
    assert small["register_FLAIR"] == small["bias_T1w"] == 0.8
    assert large["register_FLAIR"] == large["bias_T1w"] == large["draw_FLAIR"] == pytest.approx(1.72, abs=0.01)
    assert large["outputs"] == pytest.approx(2.21, abs=0.01)
    assert large["brain"] == small["brain"] == 2.5
    assert large["corrected"] == 0.1
    assert max(planned((600, 600, 400)).values()) == 2.5


def test_memory_is_planned_for_a_template_of_finer_voxels(
    visit: Visit, plan: OutputPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tpl-Fine").mkdir()
    fine = nib.Nifti1Image(np.zeros((400, 400, 512), np.uint8), np.eye(4) / 2)
    fine.to_filename(tmp_path / "tpl-Fine" / "tpl-Fine_desc-brain_T1w.nii.gz")
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path))
    graph = segmentation_graph(
        visit,
        Preprocessing(("T1w", "FLAIR")),
        Networks(visit.images["T1w"].path),
        replace(plan, output_spaces=("Fine",)),
    )
    assert graph.get_node("outputs").mem_gb == pytest.approx(2.21, abs=0.01)
