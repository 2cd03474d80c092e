from __future__ import annotations

import numpy as np

from bids_cascade.cascade.doubt import doubtful_lesions


def test_only_lesions_hardly_brighter_than_their_ring_are_doubtful() -> None:
    flair, brain, lesion = np.ones((30, 12, 12)), np.ones((30, 12, 12), bool), np.zeros((30, 12, 12), bool)
    flair[17:26] = 0.5  # where a lesion of 0.8 is bright
    for start, level in ((4, 1.5), (11, 1.1), (20, 0.8)):
        lesion[start : start + 3, 4:7, 4:7] = True
        flair[start : start + 3, 4:7, 4:7] = level
    doubtful = doubtful_lesions(flair, brain, lesion, 0.15)
    assert not doubtful[:9].any()
    assert (doubtful[9:16] == lesion[9:16]).all()
    assert lesion[9:16].any()
    assert not doubtful[16:].any()


def test_other_lesions_and_what_is_no_brain_are_no_surroundings() -> None:
    flair, brain, lesion = np.zeros((12, 12, 12)), np.zeros((12, 12, 12), bool), np.zeros((12, 12, 12), bool)
    lesion[5, 5, 5] = True
    flair[5, 5, 5] = 0.2
    assert not doubtful_lesions(flair, brain, lesion, 0.15).any()  # nothing to compare it with
    brain[:] = True
    assert not doubtful_lesions(flair, brain, lesion, 0.15).any()
    assert doubtful_lesions(flair, brain, lesion, 0.25)[5, 5, 5]


def test_no_lesion_is_doubtful_where_there_is_none() -> None:
    nothing = np.zeros((5, 5, 5), bool)
    assert not doubtful_lesions(np.ones((5, 5, 5)), ~nothing, nothing, 0.15).any()
