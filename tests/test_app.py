"""The whole app through its command line: a raw dataset in, derivatives, a table and an exit code out."""

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cascade.packing import unpack_model
from bids_cascade.cli import main
from bids_cascade.dataset.validation import find_validator
from bids_cascade.derivatives.learnt import sources_of
from bids_cascade.imaging.fingerprint import hash_voxels
from bids_cascade.models.store import PACKAGED_MODEL, load_model

EXPECTED = [
    "_desc-brain_mask.json",
    "_desc-brain_mask.nii.gz",
    "_desc-lesions_stats.json",
    "_desc-lesions_stats.tsv",
    "_desc-preproc_T1w.json",
    "_desc-preproc_T1w.nii.gz",
    "_desc-quality_stats.json",
    "_desc-quality_stats.tsv",
    "_from-FLAIR_to-T1w_mode-image_xfm.txt",
    "_label-lesion_roi.json",
    "_label-lesion_roi.nii.gz",
    "_space-FLAIR_label-L_mask.json",
    "_space-FLAIR_label-L_mask.nii.gz",
    "_space-FLAIR_label-L_probseg.json",
    "_space-FLAIR_label-L_probseg.nii.gz",
    "_space-T1w_desc-preproc_FLAIR.json",
    "_space-T1w_desc-preproc_FLAIR.nii.gz",
    "_space-T1w_label-L_desc-uncertainty_probseg.json",
    "_space-T1w_label-L_desc-uncertainty_probseg.nii.gz",
    "_space-T1w_label-L_mask.json",
    "_space-T1w_label-L_mask.nii.gz",
    "_space-T1w_label-L_probseg.json",
    "_space-T1w_label-L_probseg.nii.gz",
    "_space-T1w_seg-lesions_dseg.json",
    "_space-T1w_seg-lesions_dseg.nii.gz",
    "_space-T1w_seg-lesions_dseg.tsv",
]
FIGURES = [
    "bias_FLAIR.svg",
    "bias_T1w.svg",
    "brain_T1w.svg",
    "lesions_FLAIR.svg",
    "registration_FLAIR.svg",
    "sizes_dseg.svg",
    "viewer_FLAIR.html",
]


@pytest.fixture(scope="module")
def dataset(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the phantom participant 01 among others that can't be processed."""
    folder = tmp_path_factory.mktemp("app") / "dataset"
    shutil.copytree(phantom_dataset, folder)
    whole = {suffix: folder / "sub-01" / "anat" / f"sub-01_{suffix}.nii.gz" for suffix in ("T1w", "FLAIR")}
    for label in ("cut", "nan", "lacking", "apart"):
        anat = folder / f"sub-{label}" / "anat"
        anat.mkdir(parents=True)
        for suffix, path in whole.items():
            shutil.copy(path, anat / f"sub-{label}_{suffix}.nii.gz")
    cut = folder / "sub-cut" / "anat" / "sub-cut_T1w.nii.gz"
    cut.write_bytes(cut.read_bytes()[:100_000])
    (folder / "sub-lacking" / "anat" / "sub-lacking_FLAIR.nii.gz").unlink()
    t1w = nib.Nifti1Image.from_filename(whole["T1w"])
    holed = np.asarray(t1w.dataobj, np.float32).copy()
    holed[10, 10, 10] = np.nan
    nib.Nifti1Image(holed, t1w.affine).to_filename(folder / "sub-nan" / "anat" / "sub-nan_T1w.nii.gz")
    flair = nib.Nifti1Image.from_filename(whole["FLAIR"])
    far = flair.affine.copy()
    far[:3, 3] += 1000
    nib.Nifti1Image(np.asarray(flair.dataobj), far).to_filename(
        folder / "sub-apart" / "anat" / "sub-apart_FLAIR.nii.gz"
    )
    with (folder / "participants.tsv").open("a") as table:
        table.writelines(f"sub-{label}\tn/a\n" for label in ("cut", "nan", "lacking", "apart"))
    return folder


@pytest.fixture(scope="module")
def done(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int, str]:
    """Run the participant level once: the output folder, the work folder, the exit code and what was printed."""
    folder = tmp_path_factory.mktemp("participant")
    out, work = folder / "out", folder / "work"
    from contextlib import redirect_stdout
    from io import StringIO

    said = StringIO()
    with redirect_stdout(said):
        code = main(
            [str(dataset), str(out), "participant", "--no-anatomy", "--work-dir", str(work), "--skip-bids-validation"]
        )
    return out, work, code, said.getvalue()


def anat(out: Path) -> Path:
    return out / "sub-01" / "anat"


def test_the_good_visit_is_done_and_the_others_are_named(done) -> None:
    _, _, code, said = done
    rows = {line.split()[0]: line for line in said.splitlines() if line.startswith("sub-")}
    assert code == 1, "different failures have no exit code in common"
    assert set(rows) == {"sub-01", "sub-cut", "sub-nan", "sub-lacking", "sub-apart"}
    assert "FAILED" not in rows["sub-01"]
    assert "sub-cut_T1w.nii.gz" in rows["sub-cut"]
    assert "NaN or infinite" in rows["sub-nan"]
    assert "no FLAIR image" in rows["sub-lacking"]
    assert "does not overlap" in rows["sub-apart"]
    assert "1 of 5 visits done, 4 not" in said


def test_outputs_are_complete_and_only_of_the_good_visit(done) -> None:
    out, *_ = done
    assert sorted(path.name.removeprefix("sub-01") for path in anat(out).iterdir()) == EXPECTED
    assert sorted(path.name for path in out.iterdir()) == [
        ".bidsignore",
        "README.md",
        "dataset_description.json",
        "logs",
        "sub-01",
        "sub-01.html",
        "sub-apart.html",
        "sub-cut.html",
        "sub-lacking.html",
        "sub-nan.html",
    ]
    figures = sorted((out / "sub-01" / "figures").iterdir())
    assert [path.name.removeprefix("sub-01_desc-") for path in figures] == FIGURES
    assert list(out.glob("logs/*/options.json"))
    assert list(out.glob("logs/*/crash-*.txt"))


def test_outputs_are_valid_bids(done) -> None:
    validator = find_validator()
    if validator is None:
        pytest.skip("needs bids-validator-deno")
    out, *_ = done
    found = subprocess.run([validator, str(out), "--json"], capture_output=True, text=True, check=False)
    issues = json.loads(found.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_pages_of_good_and_bad_visits(done) -> None:
    out, *_ = done
    good = (out / "sub-01.html").read_text()
    for name in FIGURES:
        assert f"./sub-01/figures/sub-01_desc-{name}" in good
    stats = json.loads((anat(out) / "sub-01_desc-lesions_stats.json").read_text())
    assert f"the model {stats['ModelName']} (SHA-256 {stats['ModelSHA256']})" in good
    assert "NaN or infinite" in (out / "sub-nan.html").read_text()
    assert "Traceback" not in (out / "sub-nan.html").read_text(), "it is noticed before any work"
    assert "Traceback" in (out / "sub-apart.html").read_text()
    assert "no FLAIR image" in (out / "sub-lacking.html").read_text()
    record = json.loads((out / "logs" / "visits" / "sub-apart.json").read_text())
    assert record["exit_code"] == 65
    assert (out / record["crash_reports"][0]).is_file()


def test_images_fit_their_grids_and_their_tables(done, dataset: Path) -> None:
    out, *_ = done

    def image(suffix: str) -> nib.Nifti1Image:
        return nib.Nifti1Image.from_filename(anat(out) / f"sub-01_{suffix}.nii.gz")

    for space in ("T1w", "FLAIR"):
        raw = nib.Nifti1Image.from_filename(dataset / "sub-01" / "anat" / f"sub-01_{space}.nii.gz")
        for kind in ("mask", "probseg"):
            there = image(f"space-{space}_label-L_{kind}")
            assert there.shape == raw.shape
            np.testing.assert_allclose(there.affine, raw.affine, atol=1e-4)
    mask, labels = image("space-T1w_label-L_mask"), image("space-T1w_seg-lesions_dseg")
    lesion = np.asarray(mask.dataobj) > 0
    np.testing.assert_array_equal(lesion, np.asarray(labels.dataobj) > 0)
    probability = np.asarray(image("space-T1w_label-L_probseg").dataobj)
    assert probability.min() >= 0
    assert probability.max() <= 1
    config = load_model(PACKAGED_MODEL).header.cascade
    assert (probability[lesion] >= config.threshold).all()
    voxel_mm3 = abs(np.linalg.det(mask.affine[:3, :3]))
    header, *rows = (anat(out) / "sub-01_space-T1w_seg-lesions_dseg.tsv").read_text().splitlines()
    volumes = [float(row.split("\t")[header.split("\t").index("volume_mm3")]) for row in rows]
    assert volumes == sorted(volumes, reverse=True)
    assert sum(volumes) == pytest.approx(lesion.sum() * voxel_mm3, rel=1e-4)
    header, row = (anat(out) / "sub-01_desc-lesions_stats.tsv").read_text().splitlines()
    stats = dict(zip(header.split("\t"), map(float, row.split("\t")), strict=True))
    assert stats["n_lesions"] == len(volumes) == np.asarray(labels.dataobj).max()
    assert stats["n_lesions_14mm3"] == sum(volume >= 14 for volume in volumes)
    assert stats["lesion_volume_t1w_ml"] == pytest.approx(sum(volumes) / 1000, rel=1e-4)
    brain = np.asarray(image("desc-brain_mask").dataobj) > 0
    assert stats["brain_volume_ml"] == pytest.approx(brain.sum() * voxel_mm3 / 1000, rel=1e-4)
    assert brain[lesion].mean() > 0.99


def test_most_known_lesions_are_found(done, dataset: Path) -> None:
    from bids_cascade.demo.cli import score_participant

    out, *_ = done
    score = score_participant(dataset, out, "01")
    assert score.n_found >= score.n_known / 2
    assert score.dice > 0.4


def test_the_group_level_reads_what_is_there(done, dataset: Path, tmp_path: Path) -> None:
    ran, *_ = done
    out = tmp_path / "out"
    shutil.copytree(ran, out)
    assert main([str(dataset), str(out), "group"]) == 0
    header, *lines = (out / "group_visits.tsv").read_text().splitlines()
    rows = {line.split("\t")[0]: dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines}
    assert set(rows) == {"sub-01", "sub-apart", "sub-cut", "sub-lacking", "sub-nan"}
    assert [name for name, row in rows.items() if row["status"] == "complete"] == ["sub-01"]
    assert (rows["sub-lacking"]["status"], rows["sub-lacking"]["status_reason"]) == ("missing", "no FLAIR image")
    assert rows["sub-cut"]["status"] == "failed"
    stats = (anat(out) / "sub-01_desc-lesions_stats.tsv").read_text().splitlines()
    known = dict(zip(*(line.split("\t") for line in stats), strict=True))
    assert {name: rows["sub-01"][name] for name in known} == known
    assert len((out / "group_lesions.tsv").read_text().splitlines()) == 1 + int(known["n_lesions"])
    validator = find_validator()
    if validator is not None:
        found = subprocess.run([validator, str(out)], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout


def test_sidecars_say_where_it_comes_from(done) -> None:
    out, *_ = done
    sidecar = json.loads((anat(out) / "sub-01_space-FLAIR_label-L_mask.json").read_text())
    model = load_model(PACKAGED_MODEL)
    assert sidecar["Type"] == "Lesion"
    assert sidecar["ModelSHA256"] == model.sha256
    assert sidecar["Threshold"] == model.header.cascade.threshold
    assert sidecar["SpatialReference"] == "bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz"
    probability = json.loads((anat(out) / "sub-01_space-FLAIR_label-L_probseg.json").read_text())
    assert probability["Sources"] == [f"bids:raw:sub-01/anat/sub-01_{suffix}.nii.gz" for suffix in ("T1w", "FLAIR")]


def test_the_registration_is_the_known_one(done) -> None:
    from bids_cascade.demo.phantom import make_phantom
    from bids_cascade.imaging.registration import read_itk_transform

    out, *_ = done
    found = read_itk_transform(anat(out) / "sub-01_from-FLAIR_to-T1w_mode-image_xfm.txt")
    known = make_phantom(1, t1w_voxel_mm=(1.2, 1.2, 1.2), flair_voxel_mm=(1.2, 1.2, 3.6)).t1w_to_flair
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-80, 60) for z in (-40, 60)]).T
    assert np.linalg.norm(((found - known) @ corners)[:3], axis=0).max() < 1.5


def test_a_second_run_resumes_and_gives_equal_bytes(done, dataset: Path, capsys) -> None:
    out, work, *_ = done
    before = {path: path.read_bytes() for path in anat(out).iterdir()}
    shutil.rmtree(out)
    arguments = [
        str(dataset),
        str(out),
        "participant",
        "--no-anatomy",
        "--work-dir",
        str(work),
        "--skip-bids-validation",
    ]
    assert main([*arguments, "--participant-label", "sub-01", "-v"]) == 0
    seconds = dict(re.findall(r"sub-01: (.+) done in ([\d.]+) s", capsys.readouterr().err))
    assert len(seconds) == 16
    del seconds["writing results"], seconds["writing the report"]
    assert set(seconds.values()) == {"0.0"}, "nothing but the writing is done again"
    assert (out / "sub-01.html").is_file()
    assert {path: path.read_bytes() for path in anat(out).iterdir()} == before


def test_a_fresh_run_gives_equal_masks(done, dataset: Path, tmp_path: Path) -> None:
    out, *_ = done
    arguments = [str(dataset), str(tmp_path / "out"), "participant", "--no-anatomy", "-w", str(tmp_path / "work")]
    assert main([*arguments, "--skip-bids-validation", "--participant-label", "01"]) == 0
    for path in anat(out).glob("*.nii.gz"):
        assert path.read_bytes() == (anat(tmp_path / "out") / path.name).read_bytes(), path.name


def test_train_makes_a_model_that_the_participant_level_takes(dataset: Path, done, tmp_path: Path, capsys) -> None:
    _, work, *_ = done
    out = tmp_path / "trained"
    few = ["--max-epochs", "2", "--crops-per-epoch", "12", "--features", "8", "16", "--dense", "32"]
    few += ["--model-name", "tiny"]
    selected = ["--participant-label", "01", "-w", str(work), "--skip-bids-validation"]
    assert main([str(dataset), str(out), "train", "--labels", "truth", *few, *selected]) == 0
    assert sorted(path.name for path in (out / "models").iterdir()) == [
        "tiny.md",
        "tiny.safetensors",
        "tiny_curves.json",
        "tiny_curves.png",
        "tiny_curves.tsv",
    ]
    stored = load_model(out / "models" / "tiny.safetensors")
    assert stored.header.provenance["training_subjects"] == ["01"]
    assert stored.sha256 in (out / "models" / "tiny.md").read_text()
    assert len((out / "models" / "tiny_curves.tsv").read_text().splitlines()) == 1 + 2 * 2
    first = stored.path.read_bytes()
    assert main([str(dataset), str(out), "train", "--labels", "truth", *few, *selected]) == 0
    assert stored.path.read_bytes() == first
    again = ["participant", "--no-anatomy", "--model", str(stored.path), *selected]
    assert main([str(dataset), str(tmp_path / "out"), *again]) == 0
    sidecar = json.loads((anat(tmp_path / "out") / "sub-01_space-T1w_label-L_mask.json").read_text())
    assert sidecar["ModelName"] == "tiny"
    assert sidecar["ModelLearntFrom"] == stored.header.provenance["learnt_from"]
    (source,) = sidecar["ModelLearntFrom"]
    assert source["Participants"] == ["01"]
    scan = dataset / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz"
    assert hash_voxels(scan) in source["ImageSHA256"]


def test_train_begins_with_another_model(dataset: Path, done, tmp_path: Path, capsys) -> None:
    _, work, *_ = done
    few = ["--max-epochs", "1", "--crops-per-epoch", "6", "--learning-rate", "1e-6", "--start-from", "default"]
    few += ["--second-stage-only"]
    selected = ["--participant-label", "01", "-w", str(work), "--skip-bids-validation"]
    assert main([str(dataset), str(tmp_path / "out"), "train", "--labels", "truth", *few, *selected]) == 0
    start, adapted = load_model(), load_model(tmp_path / "out" / "models" / "cascade.safetensors")
    said = {"name": start.header.name, "sha256": start.sha256, "licence": start.header.licence, "kept_fraction": 0.0}
    assert adapted.header.provenance["start"].items() >= said.items()
    own, *earlier = adapted.header.provenance["learnt_from"]
    assert own["Participants"] == ["01"]
    assert earlier == sources_of(start.header.provenance)
    assert adapted.header.licence.endswith(f"; started from {start.header.name}: {start.header.licence}")
    weights = [unpack_model(stored.path.read_bytes())[0] for stored in (start, adapted)]
    name = "cascade1.stage2.dense.0.weight"
    np.testing.assert_allclose(*(one[name] for one in weights), atol=1e-4)
    assert not np.array_equal(*(one[name] for one in weights))
    name = "cascade1.stage1.dense.0.weight"
    np.testing.assert_array_equal(*(one[name] for one in weights))
    flair = ["--sequences", "FLAIR"]
    assert main([str(dataset), str(tmp_path / "flair"), "train", "--labels", "truth", *few, *selected, *flair]) == 65
    said = capsys.readouterr().err
    assert "the model to start from takes T1w FLAIR; expected FLAIR, or --sequences T1w FLAIR" in said
    missing = ["--start-from", str(tmp_path / "none")]
    assert main([str(dataset), str(tmp_path / "flair"), "train", "--labels", "truth", *selected, *missing]) == 66
    assert not (tmp_path / "flair").exists()


def test_train_without_masks(dataset: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "none").mkdir()
    arguments = [str(dataset), str(tmp_path / "out"), "train", "-w", str(tmp_path / "work"), "--skip-bids-validation"]
    assert main([*arguments, "--labels", str(tmp_path / "none")]) == 66
    assert main([*arguments, "--labels", "nowhere"]) == 66
    assert "nowhere" in capsys.readouterr().err


def test_a_damaged_model_is_bad_data(dataset: Path, tmp_path: Path, capsys) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(PACKAGED_MODEL.read_bytes()[:-100])
    arguments = [str(dataset), str(tmp_path / "out"), "participant", "--no-anatomy", "-w", str(tmp_path / "work")]
    assert main([*arguments, "--model", str(damaged)]) == 65
    assert "damaged.safetensors: not a usable model" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_template_that_is_not_there_is_named_before_anything_is_done(
    dataset: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    templates = tmp_path / "templates" / "tpl-Cut"
    templates.mkdir(parents=True)
    (templates / "tpl-Cut_desc-brain_T1w.nii.gz").write_bytes(b"cut off")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPLATEFLOW_HOME", "templates")  # a relative path, though the app leaves the current folder
    arguments = [str(dataset), str(tmp_path / "out"), "participant", "-w", str(tmp_path / "work"), "--output-spaces"]
    assert main([*arguments, "MNI152NLin2009aSym", "Nowhere"]) == 66
    assert f"{tmp_path}/templates/tpl-Nowhere holds no T1w image" in capsys.readouterr().err
    assert main([*arguments, "Cut"]) == 65
    assert "tpl-Cut_desc-brain_T1w.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_sequences_the_dataset_lacks(dataset: Path, tmp_path: Path, capsys) -> None:
    arguments = [str(dataset), str(tmp_path / "out"), "participant", "--no-anatomy", "-w", str(tmp_path / "work")]
    assert main([*arguments, "--skip-bids-validation", "--participant-label", "lacking"]) == 66
    said = capsys.readouterr()
    assert "none of the selected visits (1) has a FLAIR image" in said.err
    assert "sub-lacking  not processed: no FLAIR image" in said.out


def test_foreign_plugins_tell_failures_apart(dataset: Path, tmp_path: Path, capsys) -> None:
    plugin = tmp_path / "plugin.yml"
    plugin.write_text("plugin: MultiProc\nplugin_args: {n_procs: 2, mp_context: forkserver}\n")
    arguments = [str(dataset), str(tmp_path / "out"), "participant", "--no-anatomy", "-w", str(tmp_path / "work")]
    arguments += ["--skip-bids-validation", "--use-plugin", str(plugin)]
    assert main([*arguments, "--participant-label", "cut", "nan"]) == 65
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "sub-cut_T1w.nii.gz" in rows["sub-cut"]
    assert "sub-nan_T1w.nii.gz has 1 voxels that are NaN" in rows["sub-nan"]


def test_a_batch_system_takes_the_steps_over(
    dataset: Path, done, repository: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    _, work, *_ = done
    # A queue that runs each job as it is submitted; tests/container/run.sh has a real one.
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.write_text('#!/bin/bash\nbash "${@: -1}" >"${@: -1}.log" 2>&1\necho "Submitted batch job 1"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(repository))
    arguments = [
        str(dataset),
        str(tmp_path / "out"),
        "participant",
        "--no-anatomy",
        "-w",
        str(work),
        "--skip-bids-validation",
    ]
    # The work folder has results of another threshold, which nipype's plugin would take for this one's if told to.
    arguments += ["--participant-label", "01", "--threshold", "0.9"]
    plugin = tmp_path / "plugin.yml"
    plugin.write_text((repository / "hpc" / "slurmgraph.yml").read_text() + "  dont_resubmit_completed_jobs: true\n")
    assert main([*arguments, "--use-plugin", str(plugin)]) == 75
    said = capsys.readouterr()
    assert "sub-01  submitted to the batch system: rerun without --use-plugin" in said.out
    assert "dont_resubmit_completed_jobs is ignored" in said.err
    files = anat(tmp_path / "out")
    assert sorted(path.name.removeprefix("sub-01") for path in files.iterdir()) == EXPECTED
    probability, mask = (
        np.asarray(nib.Nifti1Image.from_filename(files / f"sub-01_space-T1w_label-L_{suffix}.nii.gz").dataobj)
        for suffix in ("probseg", "mask")
    )
    assert mask.any()
    assert probability[mask > 0].mean() > 0.85, "found at a threshold of 0.9 on the model's grid"
    assert main(arguments) == 0


def test_participants_are_listed_for_a_job_array(dataset: Path, done, tmp_path: Path, capsys) -> None:
    out, *_ = done
    listing = [str(dataset), str(out), "participant", "--skip-bids-validation", "--list-participants"]
    assert main([*listing, "all"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["01", "apart", "cut", "nan"], "the one without FLAIR has nothing to be processed"
    assert "sub-lacking: not processed: no FLAIR image" in said.err
    assert main([*listing, "unfinished"]) == 0
    assert capsys.readouterr().out.split() == ["apart", "cut", "nan"]
    assert main([*listing, "unfinished", "--threshold", "0.37"]) == 0
    assert capsys.readouterr().out.split() == ["01", "apart", "cut", "nan"], "results of another threshold don't count"
    assert main([str(dataset), str(tmp_path / "none"), *listing[2:], "unfinished", "--participant-label", "01"]) == 0
    assert capsys.readouterr().out == "01\n"
    assert not (tmp_path / "none").exists()


def test_a_broken_link_and_a_visit_in_use_are_named(dataset: Path, tmp_path: Path, capsys) -> None:
    linked, work = tmp_path / "dataset", tmp_path / "work"
    (linked / "sub-01" / "anat").mkdir(parents=True)
    shutil.copy(dataset / "dataset_description.json", linked)
    for suffix in ("T1w", "FLAIR"):
        (linked / "sub-01" / "anat" / f"sub-01_{suffix}.nii.gz").symlink_to(tmp_path / "annexed")
    arguments = ["participant", "--no-anatomy", "-w", str(work), "--skip-bids-validation"]
    assert main([str(linked), str(tmp_path / "out"), *arguments]) == 66
    said = capsys.readouterr().out
    for suffix in ("T1w", "FLAIR"):
        assert f"sub-01_{suffix}.nii.gz does not exist; its target does not exist: fetch it first" in said
    (work / "locks").mkdir(parents=True, exist_ok=True)
    with (work / "locks" / "sub_01").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main([str(dataset), str(tmp_path / "out2"), *arguments, "--participant-label", "01"]) == 75
    assert "another run works on this visit" in capsys.readouterr().out


def test_cleaning_leaves_what_is_not_ours_and_a_rerun_passes_over_what_is_finished(
    dataset: Path, done, tmp_path: Path, capfd
) -> None:
    _, finished, *_ = done
    work = tmp_path / "work"
    shutil.copytree(finished, work)
    (work / "mine.txt").touch()
    arguments = [
        str(dataset),
        str(tmp_path / "out"),
        "participant",
        "--no-anatomy",
        "-w",
        str(work),
        "--skip-bids-validation",
    ]
    arguments += ["--participant-label", "01", "--clean-workdir"]
    assert main(arguments) == 0
    assert (work / "mine.txt").exists()
    assert not (work / "bids_cascade" / "sub_01").exists()
    assert not list(work.glob("tmp_*"))
    row = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("sub-01"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "sub-01").rglob("*")}
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "sub-01").rglob("*")} == before
    said = capfd.readouterr()
    assert "1 visit finished by an earlier run with the same options" in said.err
    again = next(line for line in said.out.splitlines() if line.startswith("sub-01"))
    assert again.split()[:-1] == row.split()[:-1]


def test_a_report_that_fails_costs_no_mask(done, dataset: Path, capsys) -> None:
    out, work, *_ = done
    figures, mask = out / "sub-01" / "figures", anat(out) / "sub-01_space-T1w_label-L_mask.nii.gz"
    before = mask.read_bytes()
    shutil.rmtree(figures)
    figures.touch()  # where a folder is needed
    arguments = [
        str(dataset),
        str(out),
        "participant",
        "--no-anatomy",
        "--work-dir",
        str(work),
        "--skip-bids-validation",
    ]
    assert main([*arguments, "--participant-label", "01"]) == 73
    assert re.search(r"sub-01 .* FAILED: no report: can't create the folder", capsys.readouterr().out)
    assert mask.read_bytes() == before
    assert "no report: can&#39;t create the folder" in (out / "sub-01.html").read_text()
    figures.unlink()
    assert main([*arguments, "--participant-label", "01"]) == 0
    assert "FAILED" not in capsys.readouterr().out
    assert len(list(figures.iterdir())) == len(FIGURES)


def test_results_go_through_no_link(done, dataset: Path, tmp_path: Path, capsys) -> None:
    _, work, *_ = done
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub-01").symlink_to(elsewhere)
    arguments = [
        str(dataset),
        str(out),
        "participant",
        "--no-anatomy",
        "--work-dir",
        str(work),
        "--skip-bids-validation",
    ]
    assert main([*arguments, "--participant-label", "01"]) == 73
    assert f"FAILED: {out / 'sub-01'} is a link" in capsys.readouterr().out
    assert not list(elsewhere.iterdir())


def test_leftovers_of_killed_runs_go(done, dataset: Path, tmp_path: Path) -> None:
    ran, work, *_ = done
    out = tmp_path / "out"
    shutil.copytree(ran, out)
    left = [out / f".sub-01.{'a' * 32}" / "sub-01", work / "tmp_abcdefgh"]
    left += [folder / f".{'b' * 32}.x.json" for folder in (out, out / "logs" / "visits", anat(out))]
    for path in left[:2]:
        path.mkdir(parents=True)
    for path in left[2:]:
        path.write_text("half")
    arguments = [
        str(dataset),
        str(out),
        "participant",
        "--no-anatomy",
        "--work-dir",
        str(work),
        "--skip-bids-validation",
    ]
    assert main([*arguments, "--participant-label", "01"]) == 0
    assert not [path for path in (*left, left[0].parent) if path.exists()]


@pytest.mark.parametrize("level", ["logs", "pages"])
def test_the_closing_table_comes_whatever_can_not_be_written(
    done, dataset: Path, tmp_path: Path, capsys, level: str
) -> None:
    ran, work, *_ = done
    out = tmp_path / "out"
    shutil.copytree(ran, out)
    if level == "logs":
        shutil.rmtree(out / "logs" / "visits")
        (out / "logs" / "visits").touch()
    else:
        (out / "sub-01.html").unlink()
        (out / "sub-01.html").mkdir()
    arguments = [
        str(dataset),
        str(out),
        "participant",
        "--no-anatomy",
        "--work-dir",
        str(work),
        "--skip-bids-validation",
    ]
    assert main([*arguments, "--participant-label", "01"]) == 73
    said = capsys.readouterr().out
    assert re.search(rf"sub-01 +\d+ .* FAILED: no {'record' if level == 'logs' else 'page'}: can't create", said)
    assert "0 of 1 visit done, 1 not" in said


@pytest.mark.slow
@pytest.mark.data
def test_a_real_visit(shared_data: Path, tmp_path: Path, capsys) -> None:
    arguments = [
        str(shared_data / "longitudinal"),
        str(tmp_path / "out"),
        "participant",
        "--no-anatomy",
        "-w",
        str(tmp_path / "work"),
    ]
    assert main([*arguments, "--participant-label", "01", "--session-label", "1"]) == 0
    folder = tmp_path / "out" / "sub-01" / "ses-1" / "anat"
    header, row = (folder / "sub-01_ses-1_desc-lesions_stats.tsv").read_text().splitlines()
    stats = dict(zip(header.split("\t"), map(float, row.split("\t")), strict=True))
    assert 1100 < stats["brain_volume_ml"] < 1600
    # This visit's FLAIR shows little more than bright spots at the occipital horns.
    assert stats["n_lesions"] >= 1
    assert 0 < stats["lesion_volume_flair_ml"] < 3
    t1w_grid = [
        np.asarray(nib.Nifti1Image.from_filename(folder / f"sub-01_ses-1_{name}.nii.gz").dataobj)
        for name in ("space-T1w_desc-preproc_FLAIR", "desc-brain_mask", "space-T1w_label-L_mask")
    ]
    flair, brain, lesion = t1w_grid[0], t1w_grid[1] > 0, t1w_grid[2] > 0
    assert flair[lesion].mean() > np.percentile(flair[brain], 95)
    # The one thing to look at: this T1w ends below the cerebellum.
    warnings = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert warnings[0].partition("WARNING: ")[2].startswith("the edge of the image from which")
