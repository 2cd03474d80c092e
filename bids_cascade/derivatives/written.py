"""What has been written of a visit: its volumes and flags, and whether it is what a plan would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_cascade.dataset.tables import read_object, read_tsv
from bids_cascade.derivatives.flags import Flags, flags_of, read_quality_flags
from bids_cascade.derivatives.names import derivative_path, sidecar_path
from bids_cascade.derivatives.plan import OutputPlan
from bids_cascade.derivatives.read import read_results
from bids_cascade.errors import BidsCascadeError
from bids_cascade.imaging.quality_rules import AGREEMENT

LEARNT_FROM_KEY = "ModelLearntFrom"
"""Key in the sidecar of a mask: the datasets that the model was trained on."""


def model_fields(plan: OutputPlan) -> dict[str, Any]:
    """Return the fields of sidecars that identify the model and its thresholds."""
    return {
        "ModelName": plan.model_name,
        "ModelSHA256": plan.model_sha256,
        "SequencesUsed": list(plan.visit.images),
        "Threshold": plan.rule.threshold,
        "MinLesionVolume": plan.rule.min_lesion_volume_mm3,
        "MinLesionVolumeUnits": "mm^3",
        "PeakProbability": plan.rule.peak_probability,
        "LargestFilledCavity": plan.rule.largest_cavity_mm3,
        "LargestFilledCavityUnits": "mm^3",
        "Precision": plan.precision,
    }


def read_stats(plan: OutputPlan) -> tuple[dict[str, str], Flags] | None:
    """Return a visit's volumes, as text by column, and its quality flags; None where they have not been written."""
    path = stats_path(plan)
    if not path.is_file():
        return None
    (row,) = read_tsv(path).dicts()
    quality = read_quality_flags(quality_path(plan)) or {}
    return row, flags_of(read_object(sidecar_path(path))) | quality


def read_agreement(plan: OutputPlan) -> float | None:
    """Return the cascades' agreement on a visit whose volumes have been written; None for a single cascade."""
    stats = read_stats(plan)
    return float(stats[0][AGREEMENT]) if stats and AGREEMENT in stats[0] else None


def has_outputs(plan: OutputPlan) -> bool:
    """Return whether a visit's derivatives are complete and were made with the plan's model and thresholds.

    Completeness is decided by :func:`bids_cascade.derivatives.read.read_results`, as at the group level.
    """
    try:
        read_results(plan.out_dir, plan.visit.key)
        sidecar = read_object(sidecar_path(stats_path(plan)))
    except BidsCascadeError:
        return False
    return sidecar.items() >= model_fields(plan).items()


def stats_path(plan: OutputPlan) -> Path:
    """Return the path of a visit's table of volumes, which marks complete results."""
    return derivative_path(plan.out_dir, plan.visit, "stats", ".tsv", desc="lesions")


def quality_path(plan: OutputPlan) -> Path:
    """Return the path of a visit's table of quality measures."""
    return derivative_path(plan.out_dir, plan.visit, "stats", ".tsv", desc="quality")
