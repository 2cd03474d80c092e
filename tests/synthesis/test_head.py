"""Whole synthetic heads, for training and as scans."""

from dataclasses import replace

import numpy as np
import pytest

from bids_cascade.synthesis import head as module
from bids_cascade.synthesis.anatomy import Tissue
from bids_cascade.synthesis.config import AcquisitionConfig, LesionConfig, SynthesisConfig, WarpConfig
from bids_cascade.synthesis.head import SEQUENCES, make_training_head, make_visit

WITH_LESIONS = SynthesisConfig(lesions=LesionConfig(none_fraction=0, kept=(1.0, 1.0)))
THIN = replace(WITH_LESIONS, acquisition=AcquisitionConfig(protocol_fractions=(1.0, 0.0, 0.0, 0.0)))


@pytest.fixture(scope="module")
def head(anatomy, patients):
    return make_training_head(anatomy, patients, 5, THIN)


def test_training_head_is_on_one_grid(head) -> None:
    shape = head.brain.shape
    assert head.channels.shape == (len(SEQUENCES), *shape)
    assert head.channels.dtype == np.float32
    assert head.lesion.shape == head.lesion_fraction.shape == head.tissue.shape == shape
    assert np.array_equal(head.affine[:3, :3], np.eye(3))
    assert (head.lesion_fraction[head.lesion] >= LesionConfig().drawn_fraction).all()
    assert head.about["label_map"] == "invented"
    assert set(head.about["lesion_masks"]) <= {"first", "second"}


def test_brain_has_a_margin_and_holds_the_lesions(head) -> None:
    inside = np.argwhere(head.brain)
    assert inside.min() >= 5
    assert (np.array(head.brain.shape) - inside.max(axis=0) > 5).all()
    assert head.lesion.any()
    assert head.brain[head.lesion].all()


def test_what_is_dark_is_drawn_inside_a_lesion_only() -> None:
    fraction, flair = np.array([[0.3, 0.4, 0.4, 0.95, 0.95], [2.0, 2.0, 1.0, 2.0, 0.2]], np.float32)
    assert module._drawn(fraction, flair, LesionConfig(), False).tolist() == [False, True, False, True, True]
    assert module._drawn(fraction, flair, LesionConfig(), True).tolist() == [False, False, False, True, True]


def test_contrasts_are_those_of_t1w_and_flair(head) -> None:
    t1w, flair = head.channels
    white = (head.tissue == Tissue.WHITE) & ~head.lesion
    fluid = head.tissue == Tissue.LATERAL_VENTRICLE
    cortex = head.tissue == Tissue.CORTEX
    for channel in (t1w, flair):
        assert np.isclose(np.median(channel[white]), 1, atol=0.12)
        assert np.median(channel[fluid]) < 0.7
    assert np.median(t1w[cortex]) < np.median(t1w[white]) - 0.1
    assert np.median(flair[head.lesion]) > np.median(flair[white]) + 0.15
    assert np.median(t1w[head.lesion]) < np.median(t1w[white])


def test_equal_seeds_give_equal_heads(anatomy, patients, head) -> None:
    again = make_training_head(anatomy, patients, 5, THIN)
    assert np.array_equal(again.channels, head.channels)
    assert np.array_equal(again.lesion_fraction, head.lesion_fraction)
    assert not np.array_equal(make_training_head(anatomy, patients, 6, THIN).brain, head.brain)


def test_lesions_are_labelled_where_the_flair_shows_them(anatomy, patients) -> None:
    """Also where registration has left it beside the T1w."""
    quiet = AcquisitionConfig(protocol_fractions=(1.0, 0.0, 0.0, 0.0), flair_noise_sd=(0.0, 0.0))
    warp = WarpConfig(misregistration_mm=(3.0, 3.0))
    head = make_training_head(anatomy, patients, 5, replace(WITH_LESIONS, acquisition=quiet, warp=warp))
    fraction = head.lesion_fraction - head.lesion_fraction.mean()
    overlaps = {
        step: float((np.roll(fraction, (step,) * 3, (0, 1, 2)) * head.channels[1] * head.brain).sum())
        for step in (-3, 0, 3)
    }
    assert max(overlaps, key=overlaps.__getitem__) == 0


def test_head_without_lesions(anatomy, patients) -> None:
    head = make_training_head(anatomy, patients, 0, SynthesisConfig(lesions=LesionConfig(none_fraction=1)))
    assert not head.lesion.any()
    assert not head.lesion_fraction.any()
    assert head.about["lesion_masks"] == []


def test_thick_slices_are_smooth_across_and_average_the_truth(anatomy, patients) -> None:
    acquisition = AcquisitionConfig(
        protocol_fractions=(0.0, 1.0, 0.0, 0.0), slice_mm=(6.0, 6.0), flair_noise_sd=(0.0, 0.0)
    )
    head = make_training_head(anatomy, patients, 5, replace(WITH_LESIONS, acquisition=acquisition))
    step = [np.abs(np.diff(channel, 2, axis=2))[40:60, 40:60, 30:60] for channel in head.channels]
    # Between two slices' centres the FLAIR is linear; the T1w, in thin ones, is not.
    assert np.median(step[1]) < 0.3 * np.median(step[0])
    assert head.lesion.any()


def test_visit_is_two_scans_of_one_head(anatomy, patients) -> None:
    visit = make_visit(anatomy, patients, 3, THIN)
    assert tuple(visit.scans) == SEQUENCES
    for scan in visit.scans.values():
        assert scan.signal.shape == scan.lesion.shape == scan.brain.shape
        assert scan.signal.min() >= 0
        low, high = AcquisitionConfig().white_level
        assert low <= scan.white_level <= high
        skull = scan.signal[~scan.brain]
        assert np.percentile(skull, 99) > 0.5  # the scalp is there
        assert scan.brain[scan.lesion].all()
    t1w, flair = (visit.scans[sequence] for sequence in SEQUENCES)
    volumes = [scan.lesion.sum() * abs(np.linalg.det(scan.affine[:3, :3])) for scan in (t1w, flair)]
    assert np.isclose(*volumes, rtol=0.15)
    # A lesion's place in one scan, moved, is its place in the other.
    centres = [
        (np.argwhere(scan.lesion) @ scan.affine[:3, :3].T + scan.affine[:3, 3]).mean(axis=0) for scan in (t1w, flair)
    ]
    assert np.linalg.norm(visit.motion[:3, :3] @ centres[0] + visit.motion[:3, 3] - centres[1]) < 1


def test_equal_seeds_give_equal_visits(anatomy, patients) -> None:
    first, second = (make_visit(anatomy, patients, (1, 2)) for _ in range(2))
    for sequence in SEQUENCES:
        assert np.array_equal(first.scans[sequence].signal, second.scans[sequence].signal)


def test_without_patients(anatomy) -> None:
    with pytest.raises(ValueError, match="no lesion mask to draw lesions from"):
        make_training_head(anatomy, [], 0)
