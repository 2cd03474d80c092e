"""The plugin must survive what kills a worker, and remember why nodes failed."""

from pathlib import Path

import pytest
from nipype import config
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bids_cascade.workflow.plugin import KILLED, Failure, ResilientMultiProcPlugin, failure_of


def die(folder):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return folder


def work(folder, file):
    import time
    from pathlib import Path

    time.sleep(0.3)
    Path(folder, file).touch()
    return file


def refuse(folder):
    from bids_cascade.errors import BadDataError

    raise BadDataError(f"{folder}: not what it should be")


def function_node(function, name: str, **inputs: str) -> Node:
    node = Node(Function(function=function, input_names=list(inputs), output_names=["out"]), name, mem_gb=0.1)
    node.inputs.trait_set(**inputs)
    return node


def run(tmp_path: Path, nodes: list[Node], **plugin_args: object) -> ResilientMultiProcPlugin:
    config.update_config(
        {
            "execution": {
                "crashdump_dir": str(tmp_path),
                "crashfile_format": "txt",
                "poll_sleep_duration": "0.05",
                "stop_on_first_crash": "false",
            }
        }
    )
    graph = Workflow("graph", base_dir=str(tmp_path))
    graph.add_nodes(nodes)
    plugin = ResilientMultiProcPlugin({"n_procs": 2, "memory_gb": 4, "mp_context": "forkserver", **plugin_args})
    try:
        graph.run(plugin=plugin)
    except RuntimeError:
        assert plugin.failures
    return plugin


def test_a_killed_worker_fails_its_own_node_and_no_other(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    nodes = [function_node(die, "killed", folder=str(tmp_path))]
    nodes += [function_node(work, name, folder=str(tmp_path), file=name) for name in names]
    plugin = run(tmp_path, nodes)
    assert plugin.failures == {"graph.killed": Failure(KILLED, 1)}
    assert all((tmp_path / name).exists() for name in names)


def test_an_own_error_keeps_its_line_and_its_exit_code(tmp_path: Path) -> None:
    plugin = run(tmp_path, [function_node(refuse, "refused", folder="scan.nii.gz")])
    assert plugin.failures == {"graph.refused": Failure("scan.nii.gz: not what it should be", 65)}
    assert list(tmp_path.glob("crash-*refused*.txt"))


@pytest.mark.parametrize(
    ("traceback", "expected"),
    [
        ("Traceback\n  File x\nValueError: no such thing\n", Failure("ValueError: no such thing", 1)),
        (
            "Traceback\nbids_cascade.errors.MissingInputError: a.nii.gz is not there\n\nWhen creating this crash",
            Failure("a.nii.gz is not there", 66),
        ),
        (
            "numpy.linalg.LinAlgError: Singular matrix\n\nfurther words",
            Failure("numpy.linalg.LinAlgError: Singular matrix", 1),
        ),
        ("something else", Failure("something else", 1)),
    ],
)
def test_what_a_traceback_comes_down_to(traceback: str, expected: Failure) -> None:
    assert failure_of(traceback) == expected


def test_the_resource_monitor_leaves_its_samples_in_the_folder_given(tmp_path: Path) -> None:
    samples = tmp_path / "work"
    samples.mkdir()
    before = set(Path.cwd().glob(".proc-*"))
    config.enable_resource_monitor()
    try:
        node = function_node(work, "node", folder=str(tmp_path), file="done")
        run(tmp_path, [node], worker_folder=str(samples), resource_monitor=True)
    finally:
        config.update_config({"monitoring": {"enabled": "false"}})
        config._resource_monitor = None
    assert (tmp_path / "done").exists()
    assert list(samples.glob(".proc-*"))
    assert set(Path.cwd().glob(".proc-*")) == before
