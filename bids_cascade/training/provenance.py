"""The provenance that a model file records of its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bids_cascade.cascade.two_stage import TrainedCascade
from bids_cascade.config import Inputs, TrainConfig
from bids_cascade.dataset.description import read_description
from bids_cascade.derivatives.learnt import Source, dataset_name, describe_source, sources_of
from bids_cascade.derivatives.record import versions
from bids_cascade.models.store import (
    load_model,
)
from bids_cascade.training.heads import find_images
from bids_cascade.training.prepare import Prepared


def provenance_of(trained: TrainedCascade, inputs: Inputs, config: TrainConfig) -> dict[str, Any]:
    """Return what a model was trained on, and how."""
    description = read_description(inputs.bids_dir)
    return {
        "dataset": dataset_name(inputs.bids_dir),
        "dataset_licence": description.get("License", "not stated"),
        "labels": config.labels if "/" not in config.labels else Path(config.labels).name,
        "training_subjects": list(trained.training_subjects),
        "validation_subjects": list(trained.validation_subjects),
        "training": asdict(config.training),
        **_heads_origin(config),
        **_start_origin(config),
        "epochs": {f"stage {stage}": len(epochs) for stage, epochs in trained.history.items()},
        "versions": versions(),
    }


def training_sources(prepared: Sequence[Prepared], inputs: Inputs, config: TrainConfig) -> list[Source]:
    """Return the training sources of a model, and those of the model it was started from."""
    own = describe_source(inputs.bids_dir, (visit.visit for visit in prepared), config.cascade.sequences)
    earlier = sources_of(load_model(config.start_from).header.provenance) if config.start_from else None
    return [own, *(earlier or ())]


def _heads_origin(config: TrainConfig) -> dict[str, Any]:
    """Return the origin of the synthetic heads that a model was trained on."""
    if config.heads is None:
        return {}
    maps, masks = (find_images(paths) for paths in (config.heads.label_maps, config.heads.lesion_masks))
    about = {"n": config.heads.n_heads, "seed": config.heads.seed, "label maps": len(maps), "lesion masks": len(masks)}
    about["insertions"] = config.heads.n_insertions
    return {"synthetic_heads": {**about, "names": [path.name for path in (*maps, *masks)]}}


def _start_origin(config: TrainConfig) -> dict[str, Any]:
    """Return which model training began with."""
    if config.start_from is None:
        return {}
    start = load_model(config.start_from)
    origin = {"name": start.header.name, "sha256": start.sha256, "licence": start.header.licence}
    n_cascades = len(start.header.networks)
    if n_cascades > 1:
        origin["cascade"] = f"the first of {n_cascades}"
    return {"start": {**origin, "kept_fraction": config.kept_fraction}}
