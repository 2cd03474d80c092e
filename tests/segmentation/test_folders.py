from pathlib import Path

from bids_cascade.dataset.visits import Visit
from bids_cascade.segmentation.folders import clear_visit_leftovers, refuse_links

VISITS = [Visit(label, "1", images={}) for label in ("01", "02")]
HALF_WRITTEN = f".{'0' * 32}.sub-01_ses-1_desc-brain_mask.nii.gz"


def test_a_visit_whose_folder_is_a_link_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    (elsewhere / "anat").mkdir(parents=True)
    (out / "sub-01").mkdir(parents=True)
    link = out / "sub-01" / "ses-1"
    link.symlink_to(elsewhere)
    kept, refused = refuse_links(VISITS, out)
    assert kept == VISITS[1:]
    assert list(refused) == ["sub-01_ses-1"]
    assert refused["sub-01_ses-1"].exit_code == 73
    assert str(link) in refused["sub-01_ses-1"].message
    link.unlink()
    assert refuse_links(VISITS, out) == (VISITS, {})


def test_only_half_written_files_of_these_visits_go(tmp_path: Path) -> None:
    left = [tmp_path, tmp_path / "sub-01" / "ses-1" / "anat", tmp_path / "sub-01" / "figures"]
    others = tmp_path / "sub-03" / "ses-1" / "anat"
    for folder in (*left, others):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / HALF_WRITTEN).touch()
    whole = left[1] / "sub-01_ses-1_desc-brain_mask.nii.gz"
    whole.touch()
    clear_visit_leftovers(VISITS, tmp_path)
    assert not any((folder / HALF_WRITTEN).exists() for folder in left)
    assert whole.exists()
    assert (others / HALF_WRITTEN).exists()
