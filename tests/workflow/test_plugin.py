"""The plugin must finish visits early, survive what kills a worker, and remember why nodes failed."""

import os
import signal
import time
from pathlib import Path
from threading import Event, Thread, get_ident

import pytest
from nipype import config
from nipype.interfaces.utility import Function, Merge
from nipype.pipeline.engine import Node, Workflow

from bids_cascade.children import start_fork_server
from bids_cascade.workflow.plugin import KILLED, Failure, ResilientMultiProcPlugin, failure_of, run_step, wait_for


@pytest.fixture(scope="module", autouse=True)
def fork_server() -> None:
    """Start workers from a process that has imported what takes long."""
    start_fork_server(["bids_cascade.bound", "torch", "bids_cascade.workflow.plugin"])


def die(folder):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return folder


def stumble(folder):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)
    return folder


def kill_fork_server(folder):
    import os
    import signal
    import time
    from pathlib import Path

    if Path(folder, "killed").exists():
        return folder
    Path(folder, "killed").touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def lose_disk(folder):
    try:
        raise OSError(28, "No space left on device", "/work/step/result.pklz")
    except OSError:
        raise FileNotFoundError(2, "No such file or directory")  # noqa: B904  as a library may say it


def work(folder, file):
    import time
    from pathlib import Path

    time.sleep(0.3)
    Path(folder, file).touch()
    return file


def refuse(folder):
    from bids_cascade.errors import BadDataError

    raise BadDataError(f"{folder}: not what it should be")


def pass_on(value):
    return value


def function_node(function, name: str, n_procs: int = 1, **inputs: str) -> Node:
    interface = Function(function=function, input_names=list(inputs), output_names=["out"])
    node = Node(interface, name, n_procs=n_procs, mem_gb=0.1)
    node.inputs.trait_set(**inputs)
    return node


def visit_graph(name: str, n_threads: int = 1, fails: bool = False) -> Workflow:
    """Return a graph with the steps `a`, `b` and `c`, of which `a` and `c` take several threads."""
    graph = Workflow(name)
    a = function_node(refuse, "a", n_threads, folder=name) if fails else function_node(pass_on, "a", n_threads, value=1)
    b, c = function_node(pass_on, "b", value=""), function_node(pass_on, "c", n_threads, value="")
    listed = Node(Merge(1), "list", mem_gb=0.1, run_without_submitting=True)
    graph.connect([(a, listed, [("out", "in1")]), (listed, b, [("out", "value")]), (b, c, [("out", "value")])])
    return graph


def run(
    tmp_path: Path, nodes: list[Node] | list[Workflow], logs: Path | None = None, **plugin_args: object
) -> ResilientMultiProcPlugin:
    config.update_config(
        {
            "execution": {
                "crashdump_dir": str(logs or tmp_path),
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


@pytest.mark.parametrize(
    ("n_procs", "n_threads", "expected"),
    [
        (1, 1, "1a 1b 1c 2a 3a 3b 3c 4a 4b 4c 5a 5b 5c"),
        (2, 2, "1a 2a 3a 1b 3b 1c 4a 4b 3c 5a 5b 4c 5c"),  # two visits under way, for the sake of throughput
    ],
)
def test_visits_under_way_go_before_others(tmp_path: Path, n_procs: int, n_threads: int, expected: str) -> None:
    starts = []

    def note(node: Node, status: str) -> None:
        if status == "start":
            starts.append(f"{node.fullname.split('.')[1][-1]}{node.name}")

    visits = [visit_graph(f"sub_{number}", n_threads, fails=number == 2) for number in range(1, 6)]
    run(tmp_path, visits, n_procs=n_procs, status_callback=note)
    assert " ".join(starts) == expected


def test_no_third_visit_begins_while_two_are_under_way(tmp_path: Path) -> None:
    under_way: list[set[str]] = [set()]

    def note(node: Node, status: str) -> None:
        visit = node.fullname.split(".")[1]
        if status == "start":
            under_way.append(under_way[-1] | {visit})
        elif node.name == "c":
            under_way.append(under_way[-1] - {visit})

    run(tmp_path, [visit_graph(f"sub_{number}") for number in range(1, 6)], n_procs=2, status_callback=note)
    assert set().union(*under_way) == {f"sub_{number}" for number in range(1, 6)}
    assert max(map(len, under_way)) == 2


def test_other_ends_of_a_process_are_not_called_a_lack_of_memory(tmp_path: Path) -> None:
    plugin = run(tmp_path, [function_node(stumble, "stumbled", folder=str(tmp_path))])
    failure = plugin.failures["graph.stumbled"]
    assert "terminated by SIGSEGV" in failure.message
    assert "memory" not in failure.message


def test_a_worker_that_can_not_be_set_up_says_why(tmp_path: Path) -> None:
    node = function_node(work, "node", folder=str(tmp_path), file="done")
    plugin = run(tmp_path, [node], worker_folder=str(tmp_path / "none"))
    (failure,) = plugin.failures.values()
    assert failure == Failure(f"reading or writing failed: No such file or directory: '{tmp_path / 'none'}'", 74)
    assert not (tmp_path / "done").exists()


def test_a_killed_fork_server_costs_nothing(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    nodes = [function_node(kill_fork_server, "killing", folder=str(tmp_path))]
    nodes += [function_node(work, name, folder=str(tmp_path), file=name) for name in names]
    plugin = run(tmp_path, nodes)
    assert plugin.failures == {}
    assert all((tmp_path / name).exists() for name in ["killed", *names])


def test_what_the_system_refused_is_found_behind_what_a_library_says(tmp_path: Path) -> None:
    plugin = run(tmp_path, [function_node(lose_disk, "lost", folder=str(tmp_path))])
    said = "reading or writing failed: No space left on device: '/work/step/result.pklz'"
    assert plugin.failures == {"graph.lost": Failure(said, 74)}


@pytest.mark.parametrize("free", [(1, 9), (9999, 0)], ids=["bytes", "inodes"])
def test_a_full_work_folder_is_named(tmp_path: Path, monkeypatch, free: tuple[int, int]) -> None:
    node = function_node(refuse, "refused", folder="x")
    node.base_dir = str(tmp_path)
    monkeypatch.setattr(node, "run", lambda updatehash: Path(tmp_path, "result_brain.pklz").read_bytes())
    assert "No such file" in failure_of("".join(run_step(node, False, 1)["traceback"])).message
    blocks, inodes = free
    disk = os.statvfs_result((4096, 4096, 9999, blocks, blocks, 9, inodes, inodes, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda folder: disk)
    said = f"No space left on device in the work folder {tmp_path}; make room, or choose another with -w"
    assert failure_of("".join(run_step(node, False, 1)["traceback"])) == Failure(said, 74)


def test_a_crash_report_that_can_not_be_written_hides_no_failure(tmp_path: Path) -> None:
    (tmp_path / "logs").touch()
    nodes = [function_node(refuse, "refused", folder="scan.nii.gz")]
    nodes += [function_node(work, "good", folder=str(tmp_path), file="good")]
    plugin = run(tmp_path, nodes, logs=tmp_path / "logs")
    assert plugin.failures == {"graph.refused": Failure("scan.nii.gz: not what it should be", 65)}
    assert (tmp_path / "good").exists()


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
        (
            "Traceback\nOSError: [Errno 28] No space left on device\n",
            Failure("reading or writing failed: No space left on device", 74),
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


def test_a_signal_that_another_thread_has_received_ends_the_wait() -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    waited = Event()

    def receive() -> None:
        time.sleep(0.2)
        signal.pthread_kill(get_ident(), signal.SIGUSR1)
        waited.wait(60)  # the thread lives on, as those of a pool do

    before = signal.signal(signal.SIGUSR1, stop)
    thread = Thread(target=receive)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            wait_for(Event())
        assert thread.is_alive()
    finally:
        waited.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
