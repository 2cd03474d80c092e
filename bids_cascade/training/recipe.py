"""Fingerprints that identify the results of trainings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bids_cascade.config import TrainConfig
from bids_cascade.dataset.tables import read_object
from bids_cascade.errors import BidsCascadeError
from bids_cascade.models.store import (
    load_model,
)
from bids_cascade.sources import hash_sources
from bids_cascade.training.heads import heads_fingerprint
from bids_cascade.training.prepare import Prepared


def fingerprint_of(prepared: Sequence[Prepared], *choices: Any) -> str:
    """Return a hash of visits, with all their voxels, and of choices, which are JSON values or paths."""
    digest = hashlib.sha256(json.dumps(choices, default=str).encode())
    for visit in prepared:
        digest.update(f"{visit.name} {visit.sha256}\n".encode())
    return digest.hexdigest()


def recipe_of(prepared: Sequence[Prepared], config: TrainConfig) -> str:
    """Return a hash of everything that determines the result of a training, or of its cross-validation."""
    heads = config.heads and (
        config.heads.n_heads,
        config.heads.n_insertions,
        heads_fingerprint(config.heads, config.cascade.sequences),
    )
    start = (load_model(config.start_from).sha256, config.kept_fraction) if config.start_from else None
    options = (
        asdict(config.cascade),
        asdict(config.training),
        heads,
        start,
        config.choose_threshold,
        config.features,
        config.dense,
        config.convolutions,
    )
    return fingerprint_of(prepared, hash_sources("cascade"), *options)


def read_cross_validation(out_dir: Path, recipe: str) -> dict[str, Any] | None:
    """Return the result of a recipe's cross-validation; None if there is none in the output folder."""
    try:
        result = read_object(out_dir / "cross-validation" / "result.json")
    except BidsCascadeError:
        return None
    return result["card"] if result.get("recipe") == recipe else None
