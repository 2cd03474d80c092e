"""The model card: what a model was made from and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bids_cascade.models.store import StoredModel


def model_card(stored: StoredModel) -> str:
    """Return the model's card as Markdown, from what the model says of itself alone."""
    header, provenance = stored.header, stored.header.provenance
    config, (network, _) = header.cascade, header.networks
    lines = [
        f"# Model card: {header.name}",
        "",
        f"- File: `{stored.path.name}`, SHA-256 `{stored.sha256}`",
        f"- Licence: {header.licence or 'not stated'}",
        f"- Sequences, in channel order: {', '.join(config.sequences)}",
        f"- Grid: {config.voxel_size_mm:g} mm isotropic, RAS; intensities: z-score over the brain",
        f"- Candidates: {config.candidate_sequence} z-score above {config.candidate_z:g}; stage 2 where stage 1 "
        f"gives more than {config.gate_probability:g}",
        f"- Lesion: probability of at least {config.threshold:g}, components of at least "
        f"{config.min_lesion_volume_mm3:g} mm³ (26-connected)",
        f"- Networks: two, patch {network.patch_size}³, features {network.features}, dense {network.dense}; "
        f"{stored.n_weights:,} weights together",
        "",
        "## How it was made",
        "",
        *_bullets(provenance, skip=("validation", "history")),
        "",
        "## How good it is",
        "",
        *_figures(provenance.get("validation", [])),
        "",
        "Not a medical device; for research only.",
    ]
    return "\n".join(lines) + "\n"


def _bullets(fields: Mapping[str, Any], skip: Sequence[str]) -> list[str]:
    return [f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in fields.items() if name not in skip]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(one) for one in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["No subject was held out: nothing is known about how good it is on others."]
    columns = sorted(rows[0], key=lambda name: (name != "visit", name))
    table = [
        "On subjects held out from training (they decided when it stopped):",
        "",
        "| " + " | ".join(name.replace("_", " ") for name in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    return table + ["| " + " | ".join(_text(row[name]) for name in columns) + " |" for row in rows]
