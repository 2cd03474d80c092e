"""Files of the networks' maps: of one cascade, and of several that disagree."""

from pathlib import Path

import nibabel as nib
import numpy as np

from bids_cascade.cascade.ensemble import EnsembleSegmentation
from bids_cascade.lesions.maps import save_maps

AFFINE = np.diag([2.0, 2, 4, 1])


def volume(value: float) -> np.ndarray:
    return np.full((3, 4, 5), value, np.float32)


def test_one_cascade_has_no_members_and_no_uncertainty(tmp_path: Path) -> None:
    files = save_maps(EnsembleSegmentation(volume(0.25), volume(0.5)), AFFINE, tmp_path)
    assert (files["members"], files["uncertainty"]) == ([], [])
    assert {Path(files["probability"]), Path(files["first_probability"])} == set(tmp_path.iterdir())
    image = nib.load(files["probability"])
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert image.get_data_dtype() == np.float32
    assert np.unique(image.dataobj) == [0.5]
    assert np.unique(nib.load(files["first_probability"]).dataobj) == [0.25]


def test_two_cascades_are_written_in_order_with_half_their_distance(tmp_path: Path) -> None:
    files = save_maps(EnsembleSegmentation(volume(0.25), volume(0.5), (volume(0.25), volume(0.75))), AFFINE, tmp_path)
    assert [float(nib.load(path).dataobj[0, 0, 0]) for path in files["members"]] == [0.25, 0.75]
    assert np.unique(nib.load(files["uncertainty"][0]).dataobj) == [0.25]
