"""The output plan of a visit: where its outputs go and how they are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bids_cascade.config import Inputs, LesionRule, ParticipantConfig, needed_sequences
from bids_cascade.dataset.visits import Visit
from bids_cascade.derivatives.flags import Flags, join_flags
from bids_cascade.derivatives.learnt import sources_of
from bids_cascade.derivatives.record import versions
from bids_cascade.models.store import StoredModel


@dataclass(frozen=True)
class OutputPlan:
    """The outputs of a visit: where they are written, and the content of their sidecars.

    Attributes
    ----------
    visit : Visit
        With the images in use, the T1w image first; read FLAIR for T1w below if it has none.
    bids_dir, out_dir : Path
        Roots of the raw and of the derivative dataset.
    model_name, model_sha256 : str
    rule : LesionRule
    gate : pair of float
        Lower and higher probability of stage 1 for :func:`bids_cascade.cascade.gate.open_gate`.
    precision : str
        ``single`` or ``half``: of the networks' arithmetic.
    provenance : mapping
        All else that determined the results, for the sidecar of the table of volumes.
    learnt_from : sequence of mapping, or None
        The datasets that the model was trained on, for the sidecars of the masks; None if unknown.
    flags : mapping of str to str
        Reasons by quality flag of the visit's images.
    anatomy : bool
        Whether to find the regions of lesions.
    output_spaces : tuple of str
        Templates in whose spaces images are written.
    """

    visit: Visit
    bids_dir: Path
    out_dir: Path
    model_name: str
    model_sha256: str
    rule: LesionRule
    gate: tuple[float, float]
    precision: str = "single"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    learnt_from: Sequence[Mapping[str, Any]] | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    anatomy: bool = True
    output_spaces: tuple[str, ...] = ()

    def joined_flags(self, of_registrations: Sequence[Flags]) -> Flags:
        """Return the flags of the visit's images joined with later ones."""
        return join_flags(self.flags, *of_registrations)

    @property
    def space(self) -> str:
        """The sequence on whose grid all results are: the T1w, or the FLAIR where there is no T1w."""
        return next(iter(self.visit.images))

    @property
    def shown(self) -> str:
        """The sequence on whose own grid lesions are also written, and displayed: the FLAIR if there is one."""
        return "FLAIR" if "FLAIR" in self.visit.images else "T1w"


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
            "FirstStageWeight": cascade.first_stage_weight,
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
