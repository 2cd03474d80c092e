"""Estimates the time of a model that runs one patch after the other."""

from __future__ import annotations

import logging

from bids_cascade.config import RunConfig
from bids_cascade.models.store import StoredModel

_LOGGER = logging.getLogger(__name__)

_PATCHES_PER_ML = 213.0
"""Candidates among the 1000 voxels of 1 mm^3 in an ml of brain, measured on the Ljubljana scan of 1 mm (239,223 in 1122
ml)."""
_BRAIN_ML = 1200.0
_PATCHES_PER_S = 900.0
"""Of one thread of an AMD EPYC with AVX-512 (2 GHz or more); in half precision twice as many."""


def warn_of_patches(model: StoredModel, run: RunConfig) -> None:
    """Warn that a model runs patch-wise, with an estimate of the time."""
    per_ml = _PATCHES_PER_ML / model.header.cascade.voxel_volume_mm3
    minutes = _BRAIN_ML * per_ml * len(model.header.networks) / (_PATCHES_PER_S * run.omp_nthreads) / 60
    _LOGGER.warning(
        "%s was converted from nicMSlesions and runs patch-wise: about %.0f min a visit on %d processor%s%s",
        model.path,
        max(1.0, minutes),
        run.omp_nthreads,
        "s" if run.omp_nthreads > 1 else "",
        ", less on the GPU" if run.device != "cpu" else "; --half-precision halves it",
    )
