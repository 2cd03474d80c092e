"""Processes end with the one that started them, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

START = """
import os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.forkserver import _forkserver
from bids_cascade.children import end_with_parent, end_workers, start_fork_server

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # whole lines, whoever else writes

def wait(seconds):
    say("worker", os.getpid())
    time.sleep(seconds)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test in the background inherits as ignored
    start_fork_server(["bids_cascade.bound"])
    pool = ProcessPoolExecutor(2, get_context("forkserver"), end_with_parent)
    futures = [pool.submit(wait, 60) for _ in range(2)]
    say("server", _forkserver._forkserver_pid)
    try:
        for future in futures:
            future.result()
    except BaseException as error:
        end_workers(pool)
        say("ended", type(error).__name__)
"""


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("killed", ["main", "server"])
def test_nobody_stays_behind(tmp_path: Path, repository: Path, killed: str) -> None:
    script = tmp_path / "start.py"
    script.write_text(START)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as main:
        assert main.stdout
        said = [main.stdout.readline().split() for _ in range(3)]
        processes = {name: int(pid) for name, pid in said} | {"main": main.pid}
        workers = [int(pid) for name, pid in said if name == "worker"]
        os.kill(processes[killed], signal.SIGKILL)
        others = [*workers, processes["server"]]
        deadline = time.monotonic() + 45  # less than the workers would stay
        while any(map(is_running, others)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(is_running, others))
        if killed == "server":
            assert main.stdout.read() == "ended BrokenProcessPool\n"


def test_an_interrupt_of_the_whole_group_is_left_to_the_app(tmp_path: Path, repository: Path) -> None:
    script = tmp_path / "start.py"
    script.write_text(START)
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    ) as main:
        assert main.stdout
        for _ in range(3):
            main.stdout.readline()
        os.killpg(main.pid, signal.SIGINT)
        stdout, stderr = main.communicate(timeout=45)  # less than the workers would stay: nobody waits for them
        assert stdout == "ended KeyboardInterrupt\n"
        assert stderr == "", "no tracebacks of workers"


def test_a_worker_whose_server_was_quicker_ends_although_the_app_lives() -> None:
    """Forked just before the server was killed, it finds that out when it is told to end with it."""
    script = """
import os, time
from bids_cascade.children import end_with_parent
server = os.fork()
if not server:
    end_with_parent()
    server = os.getpid()
    if os.fork():
        os._exit(0)
    while os.getppid() == server:
        time.sleep(0.01)
    end_with_parent()
    print("still here", flush=True)
    os._exit(0)
os.waitpid(server, 0)
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stdout == ""
