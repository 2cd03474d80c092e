"""Copies of labelled scans with inserted lesions, to train on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bids_cascade.cascade.samples import LabelledVisit
from bids_cascade.config import HeadsConfig
from bids_cascade.errors import BadDataError
from bids_cascade.nifti_file import read_header
from bids_cascade.synthesis.insertion import insert_lesions, single_lesions
from bids_cascade.training.heads import find_images, patients_of
from bids_cascade.training.prepare import Prepared

_LOGGER = logging.getLogger(__name__)


def with_insertions(prepared: Sequence[Prepared], config: HeadsConfig, seed: int) -> Iterator[LabelledVisit]:
    """Yield as many copies of each visit as configured, each with other lesions inserted.

    Visits that lack a sequence are left out: possible places of lesions are found in both sequences.

    Parameters
    ----------
    prepared : sequence of Prepared
        With the channels T1w and FLAIR.
    config : HeadsConfig
        Its lesion masks include a collection of single lesions.
    seed : int

    Raises
    ------
    BadDataError
        When there is no such collection.
    """
    if not config.n_insertions:
        return
    pool = single_lesions(patients_of(find_images(config.lesion_masks)))
    if pool is None:
        raise BadDataError(
            "--insertions needs a collection of single lesions (an NPZ file) among --lesion-masks; found masks only"
        )
    for visit in prepared:
        if visit.data.absent:
            _LOGGER.info("%s: no copies with further lesions, as it lacks %s", visit.name, *visit.visit.absent)
            continue
        slice_mm = max(read_header(visit.visit.images["FLAIR"].path).header.get_zooms()[:3])
        for number in range(config.n_insertions):
            rng = np.random.default_rng([seed, number, int(visit.sha256[:8], 16)])
            channels, lesion = insert_lesions(
                visit.data.channels, visit.data.brain, visit.data.lesion, pool, float(slice_mm), rng
            )
            yield replace(visit.data, channels=channels.astype(np.float16), lesion=lesion)
