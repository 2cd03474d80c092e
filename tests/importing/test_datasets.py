"""Each publisher's layout, and the variants of it that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from bids_cascade.errors import MissingInputError
from bids_cascade.importing.datasets import PUBLIC_DATASETS
from bids_cascade.importing.source import SourceVisit, label_of

from .conftest import LAYOUTS, Tree


def found(name: str, root: Path) -> dict[str, SourceVisit]:
    return {visit.name: visit for visit in PUBLIC_DATASETS[name].find(root)}


def below(root: Path, visit: SourceVisit) -> dict[str, str]:
    """Return where each image and mask is, from the folder on."""
    files = dict(visit.images) | {name: mask.path for name, mask in visit.masks.items()}
    return {name: path.relative_to(root).as_posix() for name, path in files.items()}


def test_mslesseg(make_tree: Tree, tmp_path: Path) -> None:
    visits = found("mslesseg", make_tree(tmp_path, LAYOUTS["mslesseg"]))
    assert set(visits) == {"sub-P1_ses-1", "sub-P1_ses-2", "sub-P10_ses-1", "sub-P54_ses-1"}
    assert below(tmp_path, visits["sub-P1_ses-2"]) == {
        "T1w": "train/P1/T2/P1_T2_T1.nii.gz",
        "FLAIR": "train/P1/T2/P1_T2_FLAIR.nii.gz",
        "T2w": "train/P1/T2/P1_T2_T2.nii.gz",
        "manual": "train/P1/T2/P1_T2_MASK.nii.gz",
    }
    assert below(tmp_path, visits["sub-P54_ses-1"])["manual"] == "test/P54/P54_MASK.nii.gz"
    assert [visits[name].columns["split"] for name in ("sub-P1_ses-1", "sub-P54_ses-1")] == ["train", "test"]


def test_msseg2016_raw_before_preprocessed_and_raters_apart(make_tree: Tree, tmp_path: Path) -> None:
    visits = found("msseg2016", make_tree(tmp_path, LAYOUTS["msseg2016"]))
    assert set(visits) == {
        "sub-TrainingCenter01Patient01",
        "sub-TrainingCenter07Patient01",
        "sub-TestingCenter03Patient02",
    }
    place = "Training/Center_07/Patient_01"
    files = below(tmp_path, visits["sub-TrainingCenter07Patient01"])
    assert files["ce-gadolinium_T1w"] == f"{place}/Raw_Data/GADO.nii.gz"
    assert files["PDw"] == f"{place}/Raw_Data/DP.nii.gz"
    assert files["manual"] == f"{place}/Masks/Consensus.nii.gz"
    assert files["rater7"] == f"{place}/Masks/ManualSegmentation_7.nii.gz"
    assert visits["sub-TestingCenter03Patient02"].columns == {"centre": "Center_03", "split": "testing"}


def test_msseg2016_both_parts_may_count_from_one(make_tree: Tree, tmp_path: Path) -> None:
    names = [name.replace("Center_03/Patient_02", "Center_01/Patient_01") for name in LAYOUTS["msseg2016"]]
    visits = found("msseg2016", make_tree(tmp_path, names))
    assert set(visits) == {f"sub-{one}Patient01" for one in ("TrainingCenter01", "TrainingCenter07", "TestingCenter01")}


def test_msseg2016_preprocessed_alone_and_the_release_of_2016(make_tree: Tree, tmp_path: Path) -> None:
    names = [name for name in LAYOUTS["msseg2016"] if "Raw_Data" not in name]
    visits = found("msseg2016", make_tree(tmp_path / "a", names))
    place = "Training/Center_01/Patient_01"
    files = below(tmp_path / "a", visits["sub-TrainingCenter01Patient01"])
    assert files["T1w"] == f"{place}/Preprocessed_Data/T1_preprocessed.nii.gz"
    first = [f"01016SACH/{name}.nii.gz" for name in ("3DFLAIR", "3DT1", "3DT1GADO", "T2", "DP", "Consensus")]
    visits = found("msseg2016", make_tree(tmp_path / "b", [*first, "01016SACH/ManualSegmentation_1.nii.gz"]))
    files = below(tmp_path / "b", visits["sub-01016SACH"])
    assert files["FLAIR"] == "01016SACH/3DFLAIR.nii.gz"
    assert files["manual"] == "01016SACH/Consensus.nii.gz"
    assert files["rater1"] == "01016SACH/ManualSegmentation_1.nii.gz"


def test_isbi2015_has_no_consensus(make_tree: Tree, tmp_path: Path) -> None:
    visits = found("isbi2015", make_tree(tmp_path, LAYOUTS["isbi2015"]))
    assert set(visits) == {
        "sub-training01_ses-1",
        "sub-training01_ses-2",
        "sub-training02_ses-1",
        "sub-test01_ses-1",
    }
    assert below(tmp_path, visits["sub-training01_ses-2"]) == {
        "T1w": "training01/preprocessed/training01_02_mprage_pp.nii",
        "FLAIR": "training01/preprocessed/training01_02_flair_pp.nii",
        "T2w": "training01/preprocessed/training01_02_t2_pp.nii",
        "PDw": "training01/preprocessed/training01_02_pd_pp.nii",
        "manual": "training01/masks/training01_02_mask1.nii",
        "rater1": "training01/masks/training01_02_mask1.nii",
        "rater2": "training01/masks/training01_02_mask2.nii",
    }
    assert not visits["sub-test01_ses-1"].masks


@pytest.mark.parametrize("prefix", ["", "patient{n}_"])
@pytest.mark.parametrize("order", ["{kind}/patient{n}", "patient{n}/{kind}"])
def test_ljubljana_raw_before_coregistered_in_either_order(make_tree: Tree, tmp_path: Path, prefix, order) -> None:
    kinds, images = ("coregistered", "raw"), ("FLAIR", "T1W", "T1WKS", "T2W", "consensus_gt")
    names = [
        f"{order}/{prefix}{image}.nii.gz".format(kind=kind, n=n)
        for kind in kinds
        for n in ("01", "30")
        for image in images
    ]
    visits = found("ljubljana", make_tree(tmp_path, names))
    assert set(visits) == {"sub-patient01", "sub-patient30"}
    files = below(tmp_path, visits["sub-patient30"])
    folder = order.format(kind="raw", n="30")
    assert files["T1w"] == f"{folder}/{prefix.format(n='30')}T1W.nii.gz"
    assert files["ce-gadolinium_T1w"] == f"{folder}/{prefix.format(n='30')}T1WKS.nii.gz"
    assert files["manual"] == f"{folder}/{prefix.format(n='30')}consensus_gt.nii.gz"


def test_ljubljana_with_a_mask_before_raw_without(make_tree: Tree, tmp_path: Path) -> None:
    names = [name for name in LAYOUTS["ljubljana"] if name != "raw/patient02/consensus_gt.nii.gz"]
    visits = found("ljubljana", make_tree(tmp_path, names))
    assert below(tmp_path, visits["sub-patient01"])["manual"] == "raw/patient01/consensus_gt.nii.gz"
    files = below(tmp_path, visits["sub-patient02"])
    assert files["manual"] == "coregistered/patient02/consensus_gt.nii.gz"
    assert files["FLAIR"] == "coregistered/patient02/FLAIR.nii.gz"


def test_wmh2017(make_tree: Tree, tmp_path: Path) -> None:
    visits = found("wmh2017", make_tree(tmp_path, LAYOUTS["wmh2017"]))
    assert set(visits) == {"sub-Utrecht0", "sub-AmsterdamGE3T100", "sub-AmsterdamPhilipsVUPETMR01161"}
    ge = visits["sub-AmsterdamGE3T100"]
    assert below(tmp_path, ge) == {
        "T1w": "training/Amsterdam/GE3T/100/orig/3DT1.nii.gz",
        "FLAIR": "training/Amsterdam/GE3T/100/orig/FLAIR.nii.gz",
        "manual": "training/Amsterdam/GE3T/100/wmh.nii.gz",
        "rater3": "additional_annotations/observer_o3/training/Amsterdam/GE3T/100/result.nii.gz",
        "rater4": "additional_annotations/observer_o4/training/Amsterdam/GE3T/100/result.nii.gz",
    }
    assert ge.columns == {"site": "Amsterdam GE3T", "split": "training"}
    assert {mask.value for mask in ge.masks.values()} == {1}


def test_wmh2017_of_2017_without_splits_and_bias_corrected_alone(make_tree: Tree, tmp_path: Path) -> None:
    names = [f"Utrecht/{n}/{name}.nii.gz" for n in (0, 2) for name in ("pre/FLAIR", "pre/T1", "wmh")]
    visits = found("wmh2017", make_tree(tmp_path, names))
    assert set(visits) == {"sub-Utrecht0", "sub-Utrecht2"}
    assert below(tmp_path, visits["sub-Utrecht2"])["T1w"] == "Utrecht/2/pre/T1.nii.gz"


@pytest.mark.parametrize("name", LAYOUTS)
def test_folders_above_hidden_files_and_other_sets_do_not_matter(make_tree: Tree, tmp_path: Path, name: str) -> None:
    whole = make_tree(tmp_path, [f"unpacked here/data/{file}" for file in LAYOUTS[name]])
    make_tree(tmp_path, [f"unpacked here/data/{Path(file).parent}/._{Path(file).name}" for file in LAYOUTS[name][:1]])
    make_tree(tmp_path / "other", LAYOUTS[name])
    assert set(found(name, whole / "unpacked here")) == set(found(name, tmp_path / "other"))
    for other in set(LAYOUTS) - {name}:
        assert not found(other, tmp_path / "other"), f"{other} takes {name} for itself"


@pytest.mark.parametrize("name", LAYOUTS)
def test_everything_is_found_in_folders_of_folders_with_spaces(make_tree: Tree, tmp_path: Path, name: str) -> None:
    """As when archives are unpacked in archives, on a system that adds folders of its own."""
    top = tmp_path / "My Data" / f"{name} (1)" / "Data Set FINAL v2"
    make_tree(top, LAYOUTS[name])
    make_tree(tmp_path / "My Data" / "__MACOSX", LAYOUTS[name])
    make_tree(tmp_path / "plain", LAYOUTS[name])
    plain, nested = found(name, tmp_path / "plain"), found(name, tmp_path / "My Data")
    assert [below(top, visit) for visit in nested.values()] == [
        below(tmp_path / "plain", visit) for visit in plain.values()
    ]
    assert [visit.columns for visit in nested.values()] == [visit.columns for visit in plain.values()]


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_that_is_there_compressed_too_is_one_file(make_tree: Tree, tmp_path: Path, name: str) -> None:
    root = make_tree(tmp_path, LAYOUTS[name])
    before = set(found(name, root))
    for path in list(root.rglob("*.nii*")):
        twin = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
        twin.write_bytes(path.read_bytes())
    visits = PUBLIC_DATASETS[name].find(root)
    assert len(visits) == len(before)
    assert all(path.name.endswith(".nii.gz") for visit in visits for path in visit.images.values())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_missing_t1w_image_is_named(make_tree: Tree, tmp_path: Path, name: str) -> None:
    root = make_tree(tmp_path, LAYOUTS[name])
    first = PUBLIC_DATASETS[name].find(root)[0]
    first.images["T1w"].unlink()
    if name == "wmh2017":
        (first.images["T1w"].parent / "T1.nii.gz").unlink()
    with pytest.raises(MissingInputError, match=r"its T1w image is not there: expected .* \(\.nii\.gz or \.nii\)") as e:
        PUBLIC_DATASETS[name].find(root)
    assert "\n" not in str(e.value)


def test_labels_are_letters_and_digits() -> None:
    assert label_of("Center_01", "Patient_02") == "Center01Patient02"
    assert label_of("é_ß", "A-1") == "A1"
