from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_cascade.anatomy.template import BUILT_IN, template_image
from bids_cascade.cohort.frequency import lesion_frequency, template_masks
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.names import derivative_path
from bids_cascade.errors import BadDataError
from bids_cascade.imaging.images import save_image
from bids_cascade.report.frequency import read_maps, write_frequency_maps
from bids_cascade.visit_key import VisitKey


def leave_mask(out_dir: Path, key: VisitKey, *voxels: tuple[int, int, int]) -> None:
    data = np.zeros(template_image().shape, np.uint8)
    for voxel in voxels:
        data[voxel] = 1
    path = derivative_path(
        out_dir, Visit(key.participant, key.session, {}), "mask", ".nii.gz", space=BUILT_IN, label="L"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_image(data, template_image().affine, path, np.uint8)


KEYS = [VisitKey("01", "1"), VisitKey("01", "2"), VisitKey("02", None), VisitKey("03", None)]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    leave_mask(tmp_path, KEYS[0], (90, 100, 80), (91, 100, 80))
    leave_mask(tmp_path, KEYS[1], (90, 100, 80))
    leave_mask(tmp_path, KEYS[2], (90, 100, 80), (95, 100, 80))
    return tmp_path


def test_each_participant_counts_once_however_many_visits_it_has(out: Path) -> None:
    masks = template_masks(out, KEYS)
    assert {name: len(paths) for name, paths in masks.items()} == {"01": 2, "02": 1}
    found = lesion_frequency(masks.values())
    assert found is not None
    assert (found.n_participants, found.n_visits) == (2, 3)
    assert found.fraction[90, 100, 80] == 1.0
    assert found.fraction[91, 100, 80] == 0.25
    assert found.fraction[95, 100, 80] == 0.5
    assert np.count_nonzero(found.fraction) == 3


def test_nobody_has_no_map() -> None:
    assert lesion_frequency([]) is None


def test_a_mask_on_another_grid_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    save_image(np.zeros((30, 30, 30), np.uint8), np.eye(4), path, np.uint8)
    with pytest.raises(BadDataError, match=r"mask\.nii\.gz has \(30, 30, 30\)"):
        lesion_frequency([[path]])


def test_maps_of_all_and_of_groups_are_written_and_earlier_ones_go(out: Path) -> None:
    write_frequency_maps(out, KEYS, {"relapsing": ["01"], "no one": ["03"]})
    assert [(view.group, view.n_participants, view.highest) for view in read_maps(out)] == [
        (None, 2, 1.0),
        ("relapsing", 1, 1.0),
    ]
    assert all((out / view.picture).is_file() and (out / view.image).is_file() for view in read_maps(out))
    write_frequency_maps(out, KEYS, {})
    assert [view.group for view in read_maps(out)] == [None]


def test_groups_whose_names_differ_in_signs_alone_keep_their_own_maps(out: Path) -> None:
    write_frequency_maps(out, KEYS, {"+": ["01"], "-": ["02"], "all": ["01", "02"], "ALL": ["02"]})
    found = {view.group: (view.n_participants, view.image) for view in read_maps(out)}
    assert {group: n for group, (n, _) in found.items()} == {None: 2, "+": 1, "-": 1, "all": 2, "ALL": 1}
    assert len({image.lower() for _, image in found.values()}) == 5


def test_pictures_of_groups_have_one_scale_and_show_the_slices_of_all(out: Path) -> None:
    leave_mask(out, KEYS[3], (90, 100, 82))
    write_frequency_maps(out, KEYS, {"one": ["01"], "others": ["02", "03"]})
    pictures = {view.group: (out / view.picture).read_text() for view in read_maps(out)}
    assert "up to 67%" in pictures[None]
    assert "up to 100%" in pictures["one"]
    assert "up to 100%" in pictures["others"], "where at most half of the participants have a lesion in one voxel"
    assert len({picture.count("<image") for picture in pictures.values()}) == 1
