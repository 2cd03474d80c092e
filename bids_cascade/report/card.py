"""The model card: what a model was trained on and how good it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bids_cascade.cascade.calibration import UNCHANGED
from bids_cascade.cascade.packing import AnyNetworkConfig
from bids_cascade.config import WHITE_MATTER, WHOLE_VOLUME, CascadeConfig, PaddedNetworkConfig
from bids_cascade.dataset.tables import NOT_AVAILABLE
from bids_cascade.models.store import StoredModel
from bids_cascade.report.methods import calibration_formula

_COLUMNS = (
    *("visit", "dice", "sensitivity", "precision", "lesion_sensitivity", "lesion_precision", "lesion_f1"),
    *("true_ml", "found_ml"),
    *("measure", "cascade_mean", "cascade_median", "flair_threshold_mean", "flair_threshold_median", "difference"),
)
"""The columns of a card's tables in their order, which a model's header doesn't keep."""


_NORMALISATIONS = {
    WHITE_MATTER: "white matter is 1 (`cascade/normalisation.py`)",
    WHOLE_VOLUME: "z-score over the whole field of view (`cascade/zscore.py`)",
}


def model_card(stored: StoredModel) -> str:
    """Return the model's card as Markdown, from the model's header alone."""
    header, provenance = stored.header, stored.header.provenance
    config = header.cascade
    lines = [
        f"# Model card: {header.name}",
        "",
        f"- File: `{stored.path.name}`, SHA-256 `{stored.sha256}`",
        f"- Licence: {header.licence or 'not stated'}",
        f"- Sequences, in channel order: {', '.join(config.sequences)}",
        f"- Grid: {config.voxel_size_mm:g} mm isotropic, RAS; intensities: {_NORMALISATIONS[config.normalisation]}",
        f"- Candidates: {config.candidate_sequence} above {config.candidate_level:g}; stage 2 where stage 1 "
        f"gives more than {config.gate_probability:g}, and in all above {config.hard_negative_probability:g} that "
        "is connected with it",
        f"- Lesion: probability of at least {config.threshold:g}, components of at least "
        f"{config.min_lesion_volume_mm3:g} mm³ (26-connected) whose highest probability is at least "
        f"{config.peak_probability:g}; the cavities that they enclose are filled up to "
        f"{config.rule.largest_cavity_mm3:g} mm³",
        *_networks(header.networks),
        f"- {stored.n_weights:,} weights together",
        *_calibration(config),
        *(["- Stage 2 evaluates each scan and its mirror image, and the mean counts"] if config.mirrored else []),
        *([f"- Scans may lack {', '.join(config.optional_sequences)}"] if config.optional_sequences else []),
        "",
        "## Training",
        "",
        *(_members(provenance["members"]) if "members" in provenance else _origin(provenance)),
        "Not a medical device; for research only.",
    ]
    return "\n".join(lines) + "\n"


def _members(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the record of each of the joined files."""
    n_files = "one model file, with its" if len(members) == 1 else f"{len(members)} model files, each with its"
    lines = [f"Joined from {n_files} own record and accuracy:", ""]
    for member in members:
        lines += [f"# {member['name']}", "", f"- SHA-256 of its file: `{member['sha256']}`"]
        lines += [f"- Licence: {member['licence'] or 'not stated'}"]
        if member["changed"]:
            lines.append(f"- Alone it had: {_text(member['changed'])}")
        lines += _origin(member["provenance"])
    return [f"##{line}" if line.startswith("#") else line for line in lines]


def _origin(provenance: Mapping[str, Any]) -> list[str]:
    return [
        *_bullets(provenance, skip=("validation", "cross_validation", "history", "learnt_from")),
        "",
        "## Accuracy",
        "",
        *_figures(provenance.get("validation", [])),
        "",
        *_cross_validation(provenance.get("cross_validation")),
    ]


def _networks(of_cascades: Sequence[tuple[AnyNetworkConfig, AnyNetworkConfig]]) -> list[str]:
    """Describe each kind of networks once; the two stages of a cascade have the same."""
    kinds = Counter(first for first, _ in of_cascades)
    return [
        f"- {'Cascade' if n == 1 else f'{n} cascades, averaged,'} of two networks{' each' if n > 1 else ''}: patch "
        f"{network.patch_size}³{_kind(network)}, features {network.features}, dense {network.dense}"
        for network, n in kinds.items()
    ]


def _kind(network: AnyNetworkConfig) -> str:
    if isinstance(network, PaddedNetworkConfig):
        return ", zero-padded convolutions (nicMSlesions): runs patch-wise only, minutes instead of seconds a visit"
    return f" at scales {network.scales}"


def _calibration(config: CascadeConfig) -> list[str]:
    if config.calibration == UNCHANGED and not config.prevalence_weight and not config.first_stage_weight:
        return []
    of_first = ", with p1 the probability of stage 1" if config.first_stage_weight else ""
    of_scan = ", the prevalence that of the scan" if config.prevalence_weight else ""
    formula = calibration_formula(*config.calibration, config.prevalence_weight, config.first_stage_weight)
    return [f"- Calibration: probability p becomes {formula}{of_first}{of_scan}"]


def _bullets(fields: Mapping[str, Any], skip: Sequence[str]) -> list[str]:
    return [f"- {name.replace('_', ' ')}: {_text(value)}" for name, value in fields.items() if name not in skip]


def _text(value: Any) -> str:
    if value is None:
        return NOT_AVAILABLE
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["No figures on subjects held out from training: the accuracy on other subjects is unknown."]
    return [
        "On subjects held out from training (unless the threshold was given, it was chosen on them):",
        "",
        *_table(rows),
    ]


def _cross_validation(summary: Mapping[str, Any] | None) -> list[str]:
    if not summary:
        return []
    return [
        "## Cross-validation",
        "",
        f"{summary['folds']} cascades of this recipe, each trained without some of the subjects and applied to them "
        f"through the participant level: {summary['visits']} visits of {summary['subjects']} subjects. Thresholds were "
        "chosen inside the training part. Mean with 95 % interval (bootstrap over subjects) and median, beside a "
        "single threshold on FLAIR chosen on the same training part; the last column is the difference of the means.",
        "",
        *_table(summary["figures"]),
        "",
    ]


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows as a Markdown table, the columns in the order of :data:`_COLUMNS`, then others."""
    columns = sorted(rows[0], key=lambda name: (_COLUMNS.index(name) if name in _COLUMNS else len(_COLUMNS), name))
    head = ["| " + " | ".join(name.replace("_", " ") for name in columns) + " |", "|" + "---|" * len(columns)]
    return head + ["| " + " | ".join(_text(row[name]) for name in columns) + " |" for row in rows]
