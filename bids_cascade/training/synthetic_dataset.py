"""A BIDS dataset of synthetic heads with known lesions: which heads it has, and how each is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from bids_cascade.config import SynthesizeConfig
from bids_cascade.derivatives.synthetic import discard_head, read_origin, write_head
from bids_cascade.errors import BadDataError, BidsCascadeError
from bids_cascade.outcomes import VisitOutcome
from bids_cascade.sources import hash_sources
from bids_cascade.synthesis.config import SynthesisConfig
from bids_cascade.synthesis.head import make_visit
from bids_cascade.training.heads import anatomy_of, patients_of

_PROTOCOL_FRACTIONS = {"3d": (1.0, 0.0, 0.0, 0.0), "2d": (0.0, 0.0, 1.0, 0.0)}

_SEED = 1
"""Appended to a head's seed and number, so that no head equals one of a training with the same seed."""


@dataclass(frozen=True)
class HeadTask:
    """A head to make, with all that its process needs."""

    participant: str
    seed: tuple[int, int, int]
    label_map: Path
    lesion_masks: tuple[Path, ...]
    synthesis: SynthesisConfig
    out_dir: Path
    fingerprint: str


def plan_heads(
    maps: Sequence[Path], masks: tuple[Path, ...], out_dir: Path, config: SynthesizeConfig
) -> list[HeadTask]:
    """Return the heads to make, each label map's one after the other.

    Parameters
    ----------
    maps : sequence of Path
        Label maps, used in turn.
    masks : tuple of Path
        Lesion masks and collections of single lesions.
    out_dir : Path
        Root of the new dataset.
    config : SynthesizeConfig
    """
    synthesis = SynthesisConfig()
    if config.protocol in _PROTOCOL_FRACTIONS:
        fractions = _PROTOCOL_FRACTIONS[config.protocol]
        synthesis = replace(synthesis, acquisition=replace(synthesis.acquisition, protocol_fractions=fractions))
    synthesis = replace(synthesis, lesions=replace(synthesis.lesions, none_fraction=config.lesion_free_fraction))
    code = hash_sources("synthesis", "imaging/anatomies.py")
    digest = hashlib.sha256(json.dumps([code, asdict(synthesis)]).encode())
    for path in masks:
        digest.update(path.read_bytes())
    tasks = []
    for number in range(1, config.n_heads + 1):
        path = maps[(number - 1) % len(maps)]
        own = digest.copy()
        own.update(f"{config.seed} {number}".encode() + path.read_bytes())
        seed = (config.seed, number, _SEED)
        tasks.append(HeadTask(f"synth{number:03d}", seed, path, masks, synthesis, out_dir, own.hexdigest()))
    # Label map by label map, since preparing one takes as long as making a head.
    return sorted(tasks, key=lambda task: (task.label_map, task.participant))


def make_head(task: HeadTask) -> tuple[VisitOutcome, dict[str, Any] | None]:
    """Make and write one head, unless it exists already; return its outcome and its row of participants.tsv."""
    name = f"sub-{task.participant}"
    try:
        # One thread of matrix products, so that sums come in one order on every machine.
        with threadpool_limits(limits=1, user_api="blas"):
            row = _read_row(task) or _write(task)
    except BidsCascadeError as error:
        return VisitOutcome(name, error.exit_code, f"FAILED: {error}"), None
    return VisitOutcome(name, n_lesions=row["n_lesions"], volume_ml=row["lesion_volume_ml"]), row


def _write(task: HeadTask) -> dict[str, Any]:
    anatomy, patients = anatomy_of(task.label_map), patients_of(task.lesion_masks)
    discard_head(task.out_dir, task.participant)
    try:
        visit = make_visit(anatomy, patients, task.seed, task.synthesis)
    except ValueError as error:
        raise BadDataError(f"{task.label_map}: {error}") from error
    return write_head(visit, task.seed[:2], task.fingerprint, task.out_dir, task.participant)


def _read_row(task: HeadTask) -> dict[str, Any] | None:
    """Return the row of a head that an earlier run made from the same inputs, or None."""
    origin = read_origin(task.out_dir, task.participant)
    return origin["Participant"] if origin and origin["Fingerprint"] == task.fingerprint else None
