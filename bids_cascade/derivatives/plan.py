"""The output plan of a visit: where its outputs go and how they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bids_cascade.config import Inputs, ParticipantConfig, needed_sequences
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.learnt import sources_of
from bids_cascade.derivatives.record import versions
from bids_cascade.derivatives.write import OutputPlan
from bids_cascade.models.store import StoredModel


def plan_outputs(
    visit: Visit, inputs: Inputs, config: ParticipantConfig, model: StoredModel, flags: Mapping[str, str] | None = None
) -> OutputPlan:
    """Return the output plan of a complete visit, with the quality flags of its images."""
    cascade = model.header.cascade.with_choices(config.threshold, config.min_lesion_volume_mm3)
    ordered = {name: visit.images[name] for name in needed_sequences(cascade.sequences, visit.absent)}
    return OutputPlan(
        visit=replace(visit, images=ordered),
        bids_dir=inputs.bids_dir,
        out_dir=inputs.out_dir,
        model_name=model.header.name,
        model_sha256=model.sha256,
        rule=cascade.rule,
        gate=cascade.gate,
        learnt_from=sources_of(model.header.provenance),
        precision="half" if config.half_precision else "single",
        provenance={
            "Sequences": cascade.sequences,
            "CandidateSequence": cascade.candidate_sequence,
            "CandidateLevel": cascade.candidate_level,
            "GateProbability": cascade.gate_probability,
            "GateExtentProbability": cascade.hard_negative_probability,
            "NumberOfCascades": len(model.header.networks),
            "Calibration": cascade.calibration,
            "PrevalenceWeight": cascade.prevalence_weight,
            "Mirrored": cascade.mirrored,
            "VoxelSize": cascade.voxel_size_mm,
            "VoxelSizeUnits": "mm",
            "Normalisation": cascade.normalisation,
            "PatchWise": model.header.patch_wise,
            "RandomSeed": config.seed,
            "SoftwareVersions": versions(),
        },
        flags=flags or {},
        anatomy=config.anatomy,
        output_spaces=config.output_spaces,
    )
