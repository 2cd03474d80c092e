"""The synthesize level: files in, files out, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.cli import main
from bids_cascade.config import SynthesizeConfig
from bids_cascade.dataset.validation import Validation
from bids_cascade.derivatives.files import write_json
from bids_cascade.levels.synthesize import run_synthesize

from ..synthesis.conftest import make_labels


def synthesize(sources: Path, out: Path, *more: str, masks: Path | None = None) -> int:
    arguments = [sources / "maps", out, "synthesize", "--lesion-masks", masks or sources / "masks"]
    return main([*map(str, arguments), "--nprocs", "1", *more])


@pytest.fixture(scope="module")
def dataset(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "heads"
    assert synthesize(sources, out, "--n-heads", "3", "--lesion-free-fraction", "0", "--random-seed", "4") == 0
    return out


def data(path: Path) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj)


def test_scans_and_truth_are_on_one_grid(dataset: Path) -> None:
    for label in ("synth001", "synth002", "synth003"):
        truth = dataset / "derivatives" / "truth" / f"sub-{label}" / "anat"
        for sequence in ("T1w", "FLAIR"):
            scan = nib.Nifti1Image.from_filename(dataset / f"sub-{label}" / "anat" / f"sub-{label}_{sequence}.nii.gz")
            mask = nib.Nifti1Image.from_filename(truth / f"sub-{label}_space-{sequence}_label-L_mask.nii.gz")
            assert scan.get_data_dtype() == np.int16
            assert scan.shape == mask.shape
            assert np.allclose(scan.affine, mask.affine)
            assert set(np.unique(mask.dataobj)) == {0, 1}
            if sequence == "T1w":
                brain = data(truth / f"sub-{label}_desc-brain_mask.nii.gz") > 0
                assert brain[np.asarray(mask.dataobj) > 0].all()


def test_table_says_what_is_in_each_head(dataset: Path) -> None:
    lines = [line.split("\t") for line in (dataset / "participants.tsv").read_text().splitlines()]
    assert lines[0] == ["participant_id", "seed", "label_map", "lesion_masks", "n_lesions", "lesion_volume_ml"]
    rows = {line[0]: line[1:] for line in lines[1:]}
    assert [rows[f"sub-synth00{number}"][1] for number in (1, 2, 3)] == ["a", "b", "a"]
    assert rows["sub-synth002"][0] == "4 2"
    mask = nib.Nifti1Image.from_filename(
        dataset / "derivatives/truth/sub-synth002/anat/sub-synth002_space-FLAIR_label-L_mask.nii.gz"
    )
    volume_ml = np.asarray(mask.dataobj).sum() * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    assert np.isclose(float(rows["sub-synth002"][4]), volume_ml, atol=1e-3)


def test_it_is_valid_bids(dataset: Path) -> None:
    Validation(dataset).finish()
    Validation(dataset / "derivatives" / "truth").finish()


def test_second_run_makes_only_what_is_missing(sources: Path, dataset: Path, capsys) -> None:
    scans = sorted(dataset.rglob("*_FLAIR.nii.gz"))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in scans}
    table = (dataset / "participants.tsv").read_bytes()
    scans[1].with_name(scans[1].name.replace(".nii.gz", ".json")).unlink()
    assert synthesize(sources, dataset, "--n-heads", "3", "--lesion-free-fraction", "0", "--random-seed", "4") == 0
    changed = [path for path, (time, _) in before.items() if path.stat().st_mtime_ns != time]
    assert changed == [scans[1]]
    assert scans[1].read_bytes() == before[scans[1]][1]
    assert (dataset / "participants.tsv").read_bytes() == table
    assert "3 of 3 visits done" in capsys.readouterr().out


def test_a_killed_run_leaves_no_head_that_counts_as_whole(sources: Path, tmp_path: Path, monkeypatch) -> None:
    asked = ("--n-heads", "1", "--random-seed", "4")
    assert synthesize(sources, tmp_path / "o", *asked) == 0
    scan = tmp_path / "o/sub-synth001/anat/sub-synth001_T1w.nii.gz"
    before = scan.read_bytes()

    def killed(content: object, path: Path) -> None:
        if "derivatives" not in path.parts and "anat" in path.parts:
            raise KeyboardInterrupt
        write_json(content, path)

    monkeypatch.setattr("bids_cascade.derivatives.synthetic.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        run_synthesize(sources / "maps", tmp_path / "o", SynthesizeConfig((sources / "masks",), 1, seed=5), 1)
    assert scan.read_bytes() != before
    monkeypatch.undo()
    assert synthesize(sources, tmp_path / "o", *asked) == 0
    assert scan.read_bytes() == before


def test_heads_of_earlier_runs_stay_in_the_table(sources: Path, tmp_path: Path) -> None:
    assert synthesize(sources, tmp_path / "o", "--n-heads", "2", "--random-seed", "4") == 0
    assert synthesize(sources, tmp_path / "o", "--n-heads", "1", "--random-seed", "6") == 0
    rows = (tmp_path / "o" / "participants.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[:2] for row in rows] == [["sub-synth001", "6 1"], ["sub-synth002", "4 2"]]


def test_processes_change_nothing(sources: Path, dataset: Path, tmp_path: Path) -> None:
    more = ("--n-heads", "3", "--lesion-free-fraction", "0", "--random-seed", "4", "--nprocs", "2")
    assert synthesize(sources, tmp_path / "again", *more) == 0
    for path in dataset.rglob("*.nii.gz"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(dataset)).read_bytes()


def test_protocol_and_lesion_free_heads(sources: Path, tmp_path: Path) -> None:
    assert synthesize(sources, tmp_path / "o", "--n-heads", "1", "--protocol", "2d", "--lesion-free-fraction", "1") == 0
    sidecar = json.loads((tmp_path / "o/sub-synth001/anat/sub-synth001_T1w.json").read_text())["Synthesis"]
    assert sidecar["Protocol"]["voxel_mm"][2] >= 2.5
    assert sidecar["Participant"]["n_lesions"] == 0
    assert not list((tmp_path / "o").rglob(".*.nii.gz"))
    truth = tmp_path / "o/derivatives/truth/sub-synth001/anat/sub-synth001_space-T1w_label-L_mask.nii.gz"
    assert not data(truth).any()


def test_bad_label_map_does_not_stop_the_others(sources: Path, tmp_path: Path, capsys) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    labels, affine = make_labels()
    nib.Nifti1Image(labels, affine).to_filename(maps / "good.nii.gz")
    labels[50, 60, 60] = 1999
    nib.Nifti1Image(labels, affine).to_filename(maps / "bad.nii.gz")
    (tmp_path / "masks").symlink_to(sources / "masks")
    assert synthesize(tmp_path, tmp_path / "o", "--n-heads", "2") == 65
    printed = capsys.readouterr().out
    assert f"{maps / 'bad.nii.gz'} can't be used as a label map: it has labels of unknown meaning: 1999" in printed
    assert "1 of 2 visits done, 1 not" in printed
    assert (tmp_path / "o/sub-synth002/anat/sub-synth002_T1w.nii.gz").exists()
    assert not (tmp_path / "o/sub-synth001").exists()
    assert "sub-synth001" not in (tmp_path / "o/participants.tsv").read_text()


def test_label_map_with_fractions_and_empty_mask(sources: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "maps").mkdir()
    labels, affine = make_labels()
    nib.Nifti1Image(labels + np.float32(0.5), affine).to_filename(tmp_path / "maps" / "a.nii.gz")
    assert synthesize(tmp_path, tmp_path / "o", "--n-heads", "1", masks=sources / "masks") == 65
    assert "holds fractions; expected a label map" in capsys.readouterr().out
    empty = np.zeros((40, 40, 40), np.uint8)
    empty[0, 0, 0] = 1
    nib.Nifti1Image(empty - empty, affine).to_filename(tmp_path / "empty.nii.gz")
    assert synthesize(sources, tmp_path / "p", "--n-heads", "1", masks=tmp_path / "empty.nii.gz") == 65
    assert "empty.nii.gz has the value 0 everywhere" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{maps}", "{out}", "synthesize"], 64, "synthesize needs --lesion-masks"),
        (["{maps}", "{out}", "synthesize", "--lesion-masks", "{out}/none"], 66, "none does not exist"),
        (["{out}", "{out}/x", "synthesize", "--lesion-masks", "{masks}"], 66, "holds no .nii or .nii.gz file"),
        (["{maps}", "{masks}", "synthesize", "--lesion-masks", "{masks}"], 73, "not empty and not a synthetic dataset"),
        (["{maps}", "{out}", "synthesize", "--lesion-free-fraction", "2"], 64, "a fraction from 0 to 1, found `2`"),
        (["{maps}", "{out}", "synthesize", "--protocol", "4d"], 64, "invalid choice"),
    ],
)
def test_what_is_refused(sources: Path, tmp_path: Path, capsys, arguments, code, message) -> None:
    places = {"maps": sources / "maps", "masks": sources / "masks", "out": tmp_path}
    assert main([argument.format(**places) for argument in arguments]) == code
    assert message in capsys.readouterr().err
