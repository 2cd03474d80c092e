"""Two visits of a small head compared from their images on."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from bids_cascade.change.compare import Comparison, compare_visits
from bids_cascade.change.thresholds import ChangeThresholds
from bids_cascade.change.visit import FinishedVisit

OLD, NEW, GROWING = (-10.0, 0.0, 6.0), (11.0, -2.0, -4.0), (0.0, -14.0, 5.0)


@pytest.fixture(scope="module")
def visits(small_head) -> tuple[FinishedVisit, FinishedVisit]:
    """An old lesion, one that grows, and a new one; the head has moved."""
    pose = small_head.turned([3, -2, 4], [1.5, -1, 2])
    later = small_head.make_visit({OLD: 4, GROWING: 5, NEW: 3}, pose, seed=1)
    return small_head.make_visit({OLD: 4, GROWING: 3}), later


@pytest.fixture(scope="module")
def found(visits) -> Comparison:
    return compare_visits(*visits)


def at(found: Comparison, centre_mm) -> int:
    """Return the label at a point of the head, which is the earlier visit's world."""
    to_grid = np.linalg.inv(found.space.half_to_earlier @ found.grid.affine)
    return int(found.result.labels[tuple(np.rint(to_grid @ [*centre_mm, 1])[:3].astype(int))])


def test_each_lesion_is_called_what_it_is(found):
    assert found.flags == {}
    kinds = {one.number: one.kind for one in found.result.lesions}
    assert [kinds[at(found, centre)] for centre in (OLD, GROWING, NEW)] == ["stable", "enlarging", "new"]
    assert len(kinds) == 3


def test_volumes_are_those_of_the_balls(found):
    by_number = {one.number: one for one in found.result.lesions}
    new, growing = by_number[at(found, NEW)], by_number[at(found, GROWING)]
    assert new.before_mm3 == 0
    assert new.after_mm3 == pytest.approx(4 / 3 * np.pi * 3**3, rel=0.4)
    assert growing.change_mm3 == pytest.approx(4 / 3 * np.pi * (5**3 - 3**3), rel=0.3)
    assert new.z > 5


def test_the_motion_of_the_head_is_found(found, small_head):
    motion = np.linalg.inv(small_head.turned([3, -2, 4], [1.5, -1, 2]))
    corners = np.array([[x, y, z, 1] for x in (-15, 15) for y in (-15, 15) for z in (-15, 15)]).T
    apart = (found.space.earlier_to_later - motion) @ corners
    assert np.linalg.norm(apart[:3], axis=0).max() < 1


def test_below_the_limits_no_change_is_called(visits):
    limits = ChangeThresholds(least_correlation=0.999, most_inconsistency_mm=0.001, least_overlap=1.01)
    found = compare_visits(*visits, limits)
    assert list(found.flags) == [
        "visits_hardly_overlap",
        "visits_may_be_of_two_people",
        "visit_registration_inconsistent",
    ]
    assert found.result is None


def test_the_noise_floor_is_that_of_a_copy_of_the_earlier_visit(visits):
    def segment(scans, brain):
        bright = ndimage.gaussian_filter(scans["FLAIR"].get_fdata() / 800, 0.8)
        probability = np.clip((bright - 1.1) / 0.2, 0, 0.95).astype(np.float32)
        affine = brain.affine
        return nib.Nifti1Image(probability, affine), nib.Nifti1Image((probability >= 0.5).astype(np.uint8), affine)

    earlier, later = (
        replace(one, **dict(zip(("probability", "mask"), segment(one.scans, one.brain), strict=True))) for one in visits
    )
    result = compare_visits(earlier, later, segment=segment).result
    assert result.floor.n_copies == 1
    assert result.floor.calls == {"new": 0, "enlarging": 0, "shrinking": 0, "resolved": 0}
    assert 0 < result.floor.volume_sd_ml < 0.2
    assert result.growth_sd >= ChangeThresholds().growth_sd
    assert "new" in {one.kind for one in result.lesions}


def test_a_visit_that_cannot_be_compared_with_itself_is_compared_with_no_other(visits):
    def segment(scans, brain):
        scans["T1w"] = scans["FLAIR"] = visits[0].brain  # nothing that could be matched
        return brain, brain

    found = compare_visits(*visits, segment=segment)
    assert list(found.flags) == ["visit_cannot_be_compared_with_itself"]
    assert found.result is None
