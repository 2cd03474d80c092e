import nibabel as nib
import numpy as np
import pytest

from bids_cascade.errors import BadDataError
from bids_cascade.imaging.contrast import check_contrast, check_intensities, measure_contrast

DISTANCE_MM = np.linalg.norm(np.indices((140, 140, 140)) - 69.5, axis=0)
BRAIN = DISTANCE_MM < 65
# Fluid and cortex at the rim, white matter, ventricles.
TISSUE = np.digitize(DISTANCE_MM, [14, 56, 62])
LEVELS = {"T1w": (0.1, 1.0, 0.6, 0.1), "FLAIR": (0.1, 1.0, 1.1, 0.1), "T2w": (3.0, 1.0, 1.5, 3.0)}
NAMES = {"T1w": "sub-01_T1w.nii.gz", "FLAIR": "sub-01_FLAIR.nii.gz", "T2w": "sub-01_T2w.nii.gz"}


def scan(shown: str) -> np.ndarray:
    noise = np.random.default_rng(len(shown)).normal(0, 0.1, BRAIN.shape)
    return np.where(BRAIN, np.array(LEVELS[shown])[TISSUE] + noise, 0).astype(np.float32)


def measure(**shown: str):
    return measure_contrast(np.stack([scan(one) for one in shown.values()]), BRAIN, 1.0, list(shown))


def test_right_sequences_are_told_from_each_other() -> None:
    found = measure(T1w="T1w", FLAIR="FLAIR", T2w="T2w")
    assert list(found["T1w"]) == ["depth_contrast"]
    # Between white matter of 1 and, of the outer 3 mm, fluid of .1: .9, over a spread of some .35.
    assert 2 < found["T1w"]["depth_contrast"] < 3
    assert 1 < found["FLAIR"]["depth_contrast"] < 3
    assert found["T2w"]["depth_contrast"] < -2
    assert 0.6 < found["FLAIR"]["t1w_correlation"] < 0.9
    assert found["T2w"]["t1w_correlation"] < -0.7
    # From grey matter of .6 to white of 1 over a spread of about .2 in T1w, and from 1.1 to 1 over .1 in FLAIR.
    assert 2 < found["FLAIR"]["tissue_order"] < 4
    check_contrast(found, NAMES)


def test_larger_voxels_tell_the_same() -> None:
    fine, channels = measure(T1w="T1w", FLAIR="FLAIR"), np.stack([scan("T1w"), scan("FLAIR")])[:, ::2, ::2, ::2]
    coarse = measure_contrast(channels, BRAIN[::2, ::2, ::2], 2.0, ("T1w", "FLAIR"))
    assert coarse["FLAIR"]["t1w_correlation"] == pytest.approx(fine["FLAIR"]["t1w_correlation"], abs=0.1)
    assert coarse["T1w"]["depth_contrast"] == pytest.approx(fine["T1w"]["depth_contrast"], rel=0.2)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ({"T1w": "T1w", "FLAIR": "T2w"}, r"sub-01_FLAIR.* can't be a FLAIR image.*may be a T2w"),
        ({"T1w": "T1w", "FLAIR": "T1w"}, r"sub-01_FLAIR.* looks like a copy of sub-01_T1w"),
        ({"T1w": "FLAIR", "FLAIR": "T1w"}, r"sub-01_T1w\S* and sub-01_FLAIR\S* seem to be swapped"),
        ({"T1w": "T1w", "FLAIR": "FLAIR", "T2w": "FLAIR"}, None),
        ({"T1w": "FLAIR", "FLAIR": "FLAIR"}, r"sub-01_FLAIR.* looks like a copy of sub-01_T1w"),
        ({"T1w": "T2w", "FLAIR": "FLAIR"}, r"sub-01_T1w.* can't be a T1w image.*may be a T2w image, or inverted"),
        ({"T1w": "T2w"}, r"sub-01_T1w.* can't be a T1w image"),
        ({"FLAIR": "FLAIR"}, None),
        ({"FLAIR": "T2w"}, r"sub-01_FLAIR.* can't be a FLAIR image.*may be a T2w image"),
        ({"FLAIR": "T1w"}, r"sub-01_FLAIR.* can't be a FLAIR image.*may be a T1w image"),
    ],
)
def test_what_cannot_be_is_refused_by_name(shown, said) -> None:
    found = measure(**shown)
    if said is None:
        check_contrast(found, NAMES)
        return
    with pytest.raises(BadDataError, match=said):
        check_contrast(found, NAMES)


def test_an_inverted_t1w_is_refused() -> None:
    channels = np.stack([np.where(BRAIN, 1 - scan("T1w"), 0), scan("FLAIR")]).astype(np.float32)
    with pytest.raises(BadDataError, match="can't be a T1w image"):
        check_contrast(measure_contrast(channels, BRAIN, 1.0, ("T1w", "FLAIR")), NAMES)


def test_too_little_brain_tells_nothing() -> None:
    small = DISTANCE_MM < 15
    found = measure_contrast(np.stack([scan("T1w"), scan("T2w")]) * small, small, 1.0, ("T1w", "FLAIR"))
    assert found == {
        "T1w": {"depth_contrast": None},
        "FLAIR": {"depth_contrast": None, "t1w_correlation": None, "tissue_order": None},
    }
    check_contrast(found, NAMES)


def test_masks_and_label_maps_are_no_scans() -> None:
    mask = nib.Nifti1Image(BRAIN.astype(np.uint8), np.eye(4))
    labels = nib.Nifti1Image(TISSUE.astype(np.float32), np.eye(4))
    labels.set_filename("sub-01_T1w.nii.gz")
    with pytest.raises(BadDataError, match=r"sub-01_T1w.* has 4 different intensities in the brain"):
        check_intensities(labels, mask)
    check_intensities(nib.Nifti1Image(scan("T1w"), np.eye(4)), mask)


@pytest.mark.data
def test_real_sequences_are_plausible_but_not_in_each_others_place(shared_data) -> None:
    folder = shared_data / "labelled-1mm/sub-ljubljana26/anat"
    paths = {name: folder / f"sub-ljubljana26_{name}.nii.gz" for name in LEVELS}
    t1w, flair, t2w = (nib.load(path).get_fdata(dtype=np.float32) for path in paths.values())
    found = measure_contrast(np.stack([t1w, flair, t2w]), t1w != 0, 1.0, list(paths))
    assert found["T1w"]["depth_contrast"] == pytest.approx(1.8, abs=0.2)
    assert found["FLAIR"]["tissue_order"] == pytest.approx(1.2, abs=0.2)
    check_contrast(found, NAMES)
    with pytest.raises(BadDataError, match="seem to be swapped"):
        check_contrast(measure_contrast(np.stack([flair, t1w]), t1w != 0, 1.0, ["T1w", "FLAIR"]), NAMES)
    for name, other in (("T1w", t2w), ("T1w", t1w.max() - t1w), ("FLAIR", t2w), ("FLAIR", t1w)):
        pair = {"T1w": t1w, "FLAIR": flair} | {name: other}
        with pytest.raises(BadDataError):
            check_contrast(measure_contrast(np.stack(list(pair.values())), t1w != 0, 1.0, list(pair)), NAMES)
