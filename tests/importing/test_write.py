from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.config import Selection
from bids_cascade.dataset.labels import find_labels
from bids_cascade.dataset.layout import open_dataset
from bids_cascade.dataset.validation import find_validator
from bids_cascade.dataset.visits import find_visits
from bids_cascade.errors import BadDataError, MissingInputError, OutputError
from bids_cascade.importing.datasets import PUBLIC_DATASETS
from bids_cascade.importing.write import import_dataset
from bids_cascade.whole_file import hold_folder

from .conftest import LAYOUTS, Tree, write_image


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_written_is_what_the_app_reads_and_is_valid_bids(make_tree: Tree, tmp_path: Path, name: str) -> None:
    source = make_tree(tmp_path / "source", LAYOUTS[name])
    before, out = content(source), tmp_path / "bids"
    visits = import_dataset(PUBLIC_DATASETS[name], source, out)
    assert content(source) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bids", "source"]
    chosen = find_visits(open_dataset(out, Selection()), ("T1w", "FLAIR"), Selection())
    assert {visit.name for visit in chosen} == {visit.name for visit in visits}
    labels = find_labels("manual", out, chosen)
    by_name = {visit.name: visit for visit in visits}
    assert set(labels) == {visit.name for visit in visits if visit.masks}
    for visit in chosen:
        for sequence, choice in visit.images.items():
            assert choice.path.read_bytes() == by_name[visit.name].images[sequence].read_bytes()
            assert not choice.rejected
        if visit.name in labels and by_name[visit.name].masks["manual"].value is None:
            assert labels[visit.name].read_bytes() == by_name[visit.name].masks["manual"].path.read_bytes()
    last_rater = max(name for visit in visits for name in visit.masks)
    for folder in (out, *{out / "derivatives" / name for name in ("manual", last_rater)}):
        done = subprocess.run([find_validator() or "", str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_raters_are_kept_apart_and_their_consensus_is_named(make_tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "bids"
    import_dataset(PUBLIC_DATASETS["msseg2016"], make_tree(tmp_path / "source", LAYOUTS["msseg2016"]), out)
    assert sorted(folder.name for folder in (out / "derivatives").iterdir()) == [
        "manual",
        *(f"rater{n}" for n in range(1, 8)),
    ]
    stem = "sub-TrainingCenter01Patient01/anat/sub-TrainingCenter01Patient01_space-orig_label-L_desc-"
    assert (out / f"derivatives/manual/{stem}consensus_mask.nii.gz").is_file()
    assert (out / f"derivatives/rater3/{stem}rater3_mask.nii.gz").is_file()
    sidecar = json.loads((out / f"derivatives/rater3/{stem}rater3_mask.json").read_text())
    assert sidecar["Sources"] == [
        "bids:raw:sub-TrainingCenter01Patient01/anat/sub-TrainingCenter01Patient01_FLAIR.nii.gz"
    ]
    assert "rater 3 alone" in sidecar["Description"]
    assert "`derivatives/manual`: the consensus of seven raters" in (out / "README.md").read_text()
    table = (out / "participants.tsv").read_text().splitlines()
    assert table[:2] == ["participant_id\tcentre\tsplit", "sub-TestingCenter03Patient02\tCenter_03\ttesting"]


def test_other_pathology_is_no_lesion(make_tree: Tree, tmp_path: Path) -> None:
    source, out = make_tree(tmp_path / "source", LAYOUTS["wmh2017"]), tmp_path / "bids"
    write_image(source / "training/Utrecht/0/wmh.nii.gz", values=(0, 1, 2))
    import_dataset(PUBLIC_DATASETS["wmh2017"], source, out, link=True)
    (path,) = (out / "derivatives/manual/sub-Utrecht0/anat").glob("*.nii.gz")
    mask, before = nib.load(path), nib.load(source / "training/Utrecht/0/wmh.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(before.dataobj) == 1)
    np.testing.assert_array_equal(mask.affine, before.affine)
    assert not path.is_symlink()


def test_links_lead_to_the_source(make_tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path / "source", LAYOUTS["isbi2015"])
    monkeypatch.chdir(tmp_path)
    import_dataset(PUBLIC_DATASETS["isbi2015"], Path("source"), Path("bids"), link=True)
    image = tmp_path / "bids/sub-training01/ses-1/anat/sub-training01_ses-1_FLAIR.nii"
    assert image.is_symlink()
    assert os.readlink(image) == str(tmp_path / "source/training01/preprocessed/training01_01_flair_pp.nii")


def test_a_source_that_does_not_fit_is_refused_in_a_line_and_nothing_is_left(make_tree: Tree, tmp_path: Path) -> None:
    public = PUBLIC_DATASETS["mslesseg"]
    other = make_tree(tmp_path / "other", LAYOUTS["isbi2015"])
    off_grid = make_tree(tmp_path / "off", LAYOUTS["mslesseg"])
    write_image(off_grid / "train/P1/T1/P1_T1_MASK.nii.gz", shape=(3, 4, 6))
    broken = make_tree(tmp_path / "broken", LAYOUTS["mslesseg"])
    (broken / "train/P1/T1/P1_T1_T2.nii.gz").write_bytes(b"no image")
    twice = make_tree(tmp_path / "twice", [f"{copy}/{name}" for copy in "ab" for name in LAYOUTS["mslesseg"]])
    (tmp_path / "empty").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "train.ZIP").touch()
    for source, error, message in (
        (tmp_path / "none", MissingInputError, "no such folder"),
        (tmp_path / "empty", MissingInputError, "expected train/P1/T1/P1_T1_FLAIR.nii.gz.*; found nothing"),
        (tmp_path / "packed", MissingInputError, "found train.ZIP; unpack the archives in it first"),
        (other, MissingInputError, "does not hold MSLesSeg: expected .*; found test01, training01, training02"),
        (off_grid, BadDataError, r"P1_T1_MASK.nii.gz has \(3, 4, 6\) voxels; expected \(3, 4, 5\), as"),
        (broken, BadDataError, "P1_T1_T2.nii.gz"),
        (twice, BadDataError, "are both sub-P54_ses-1 of MSLesSeg|are both sub-P1_ses-1 of MSLesSeg"),
    ):
        with pytest.raises(error, match=message) as refused:
            import_dataset(public, source, tmp_path / "bids")
        assert "\n" not in str(refused.value)
    assert not [path for path in tmp_path.iterdir() if "bids" in path.name]


def test_masks_that_lie_elsewhere_are_named(make_tree: Tree, tmp_path: Path, caplog) -> None:
    source = make_tree(tmp_path / "source", LAYOUTS["mslesseg"])
    path = source / "train/P1/T1/P1_T1_MASK.nii.gz"
    mask = nib.load(path)
    flipped = mask.affine @ np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 2
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj)[::-1], flipped), path)
    import_dataset(PUBLIC_DATASETS["mslesseg"], source, tmp_path / "flipped")
    assert not caplog.messages, "the same grid, stored the other way round"
    flipped[1, 3] = 1.5
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj)[::-1], flipped), path)
    import_dataset(PUBLIC_DATASETS["mslesseg"], source, tmp_path / "moved")
    assert caplog.messages == [
        "the headers of 1 of 4 masks place them up to 1.5 mm away from their FLAIR image, so neither evaluation "
        f"nor training can use them; the first is {path}"
    ]


def test_what_is_there_is_never_overwritten(make_tree: Tree, tmp_path: Path) -> None:
    source, public = make_tree(tmp_path / "source", LAYOUTS["mslesseg"]), PUBLIC_DATASETS["mslesseg"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        import_dataset(public, source, mine)
    with pytest.raises(OutputError, match="lies in the source"):
        import_dataset(public, source, source / "bids")
    assert (mine / "file").read_text() == "mine"
    empty = tmp_path / "empty"
    empty.mkdir()
    import_dataset(public, source, empty)
    assert (empty / "dataset_description.json").is_file()


def test_leftovers_of_killed_imports_go_and_what_another_writes_stays(make_tree: Tree, tmp_path: Path) -> None:
    source, out = make_tree(tmp_path / "source", LAYOUTS["mslesseg"]), tmp_path / "bids"
    killed, living, others = (
        tmp_path / f".{name}" for name in (f"bids.{'0' * 32}", f"bids.{'1' * 32}", f"a.{'0' * 32}")
    )
    for folder in (killed, others):
        folder.mkdir()
    with hold_folder(living):
        import_dataset(PUBLIC_DATASETS["mslesseg"], source, out)
    assert {path.name for path in tmp_path.iterdir()} == {"source", "bids", living.name, others.name}
    assert not list(out.glob(".*"))


def test_an_import_that_breaks_off_leaves_nothing(make_tree: Tree, tmp_path: Path, monkeypatch) -> None:
    from bids_cascade.importing import write

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write.shutil, "copyfile", fail)
    source = make_tree(tmp_path / "source", LAYOUTS["mslesseg"])
    with pytest.raises(Exception, match="No space left on device") as refused:
        import_dataset(PUBLIC_DATASETS["mslesseg"], source, tmp_path / "bids")
    assert refused.value.exit_code == 74
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
