"""What the Slurm scripts make of a task; tests/container/run.sh submits them to a real Slurm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from bids_cascade import cli


def run_task(repository: Path, folder: Path, number: int, app: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the script of the job array for one task, with another program in place of the app."""
    (folder / "list.txt").write_text("01\n02\n")
    command = [str(repository / "hpc" / "slurm_array.sh"), str(folder / "list.txt"), "/data", "/out", *options]
    job = {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": "2", "CUDA_VISIBLE_DEVICES": ""}
    environment = {"PATH": os.environ["PATH"], "BIDS_CASCADE": app, **job}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_task_processes_its_own_participant_only(repository: Path, tmp_path: Path) -> None:
    done = run_task(repository, tmp_path, 2, "echo", "--participant-label", "01", "02", "--threshold", "0.4")
    options = cli.build_parser().parse_args(done.stdout.split())
    assert options.participant_label == ["02"]
    assert options.analysis_level == "participant"
    assert (str(options.bids_dir), str(options.output_dir), options.threshold) == ("/data", "/out", 0.4)


@pytest.mark.parametrize(
    ("app", "prefix"), [("bash -c env --", "APPTAINERENV"), ("singularity exec", "SINGULARITYENV")]
)
def test_the_limits_of_the_job_get_past_cleanenv(repository: Path, tmp_path: Path, monkeypatch, app, prefix) -> None:
    singularity = tmp_path / "bin" / "singularity"
    singularity.parent.mkdir()
    singularity.write_text("#!/bin/sh\nenv\n")
    singularity.chmod(0o755)
    monkeypatch.setenv("PATH", f"{singularity.parent}:{os.environ['PATH']}")
    said = run_task(repository, tmp_path, 1, app).stdout.splitlines()
    assert f"{prefix}_SLURM_CPUS_PER_TASK=2" in said
    assert f"{prefix}_CUDA_VISIBLE_DEVICES=" in said
    assert not [line for line in said if line.startswith(f"{prefix}_SLURM_MEM_PER_NODE")]


def test_a_task_beyond_the_list_is_refused(repository: Path, tmp_path: Path) -> None:
    done = run_task(repository, tmp_path, 3, "echo")
    assert done.returncode == 66
    assert "there is no participant on line 3" in done.stderr


def submit(repository: Path, folder: Path, *arguments: str, unfinished: str = "") -> subprocess.CompletedProcess[str]:
    """Submit with a program that lists these participants in place of the app, and one that notes jobs as sbatch."""
    programs = {"sbatch": f'echo "$*" >> {folder / "jobs"}\necho 42', "app": f"printf '{unfinished}'"}
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "BIDS_CASCADE": "app"}
    command = [str(repository / "hpc" / "submit.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_submitting_needs_two_folders(repository: Path, tmp_path: Path) -> None:
    done = submit(repository, tmp_path, "--gpu", "/data")
    assert done.returncode == 64
    assert "usage:" in done.stderr


def test_a_mistyped_dataset_is_refused_before_anything_is_made(repository: Path, tmp_path: Path) -> None:
    done = submit(repository, tmp_path, str(tmp_path / "dta"), str(tmp_path / "out"))
    assert done.returncode == 16
    assert f"no such folder: {tmp_path / 'dta'}" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize(("unfinished", "n_arrays"), [("01\\n02\\n", 1), ("", 0)])
def test_unfinished_participants_are_submitted_and_the_group_level_after_them(
    repository: Path, tmp_path: Path, unfinished: str, n_arrays: int
) -> None:
    (tmp_path / "data").mkdir()
    done = submit(repository, tmp_path, str(tmp_path / "data"), str(tmp_path / "out"), unfinished=unfinished)
    assert done.returncode == 0, done.stderr
    *arrays, group = (tmp_path / "jobs").read_text().splitlines()
    assert len(arrays) == n_arrays
    assert all("--array=1-2" in job and "slurm_array.sh" in job for job in arrays)
    assert "slurm_group.sh" in group
    assert ("--dependency=afterany:42" in group) == bool(arrays)


def test_the_plugin_file_is_one(repository: Path) -> None:
    content = yaml.safe_load((repository / "hpc" / "slurmgraph.yml").read_text())
    assert content["plugin"] == "SLURMGraph"
    assert "--kill-on-invalid-dep=yes" in content["plugin_args"]["sbatch_args"]
