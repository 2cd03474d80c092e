"""The synthesize level: label maps and lesion masks in, a BIDS dataset of synthetic heads with known lesions out."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from bids_cascade.config import SynthesizeConfig
from bids_cascade.derivatives.synthetic import (
    discard_head,
    prepare_synthetic,
    read_origin,
    rows_of_others,
    write_head,
    write_participants,
)
from bids_cascade.errors import BadDataError, BidsCascadeError
from bids_cascade.outcomes import VisitOutcome, exit_code_of, format_table
from bids_cascade.progress_bar import progress_bar
from bids_cascade.sources import hash_sources
from bids_cascade.surroundings import say
from bids_cascade.synthesis.config import SynthesisConfig
from bids_cascade.synthesis.head import make_visit
from bids_cascade.training.heads import anatomy_of, find_images, map_heads, patients_of

_LOGGER = logging.getLogger(__name__)

_PROTOCOL_FRACTIONS = {"3d": (1.0, 0.0, 0.0, 0.0), "2d": (0.0, 0.0, 1.0, 0.0)}

_SEED = 1
"""Appended to a head's seed and number, so that no head equals one of a training with the same seed."""


@dataclass(frozen=True)
class _Task:
    """A head to make, with all that its process needs."""

    participant: str
    seed: tuple[int, int, int]
    label_map: Path
    lesion_masks: tuple[Path, ...]
    synthesis: SynthesisConfig
    out_dir: Path
    fingerprint: str


def run_synthesize(label_maps: Path, out_dir: Path, config: SynthesizeConfig, n_procs: int) -> int:
    """Make the heads that don't exist yet; return the exit code.

    Parameters
    ----------
    label_maps : Path
        Folder of label maps, or one label map.
    out_dir : Path
        Root of the new dataset.
    config : SynthesizeConfig
    n_procs : int
        Processes; the heads do not depend on it.
    """
    maps = find_images([label_maps])
    masks = find_images(config.lesion_masks)
    prepare_synthetic(out_dir, [label_maps.as_uri(), *(path.absolute().as_uri() for path in config.lesion_masks)])
    tasks = _plan(maps, masks, out_dir, config)
    _LOGGER.info("%d heads of %d label maps and %d lesion masks", len(tasks), len(maps), len(masks))
    results, rows = [], []
    with progress_bar(len(tasks), "heads") as bar:
        for task, (result, row) in zip(tasks, map_heads(_make, tasks, n_procs), strict=True):
            bar.update()
            results.append(result)
            rows += [{"participant_id": f"sub-{task.participant}", **row}] if row else []
            contents = result.message or f"{result.n_lesions} lesions, {result.volume_ml:.2f} ml"
            _LOGGER.info("%s: %s; %d of %d heads made", result.name, contents, len(results), len(tasks))
    rows += rows_of_others(out_dir, {task.participant for task in tasks})
    write_participants(out_dir, sorted(rows, key=lambda row: (len(row["participant_id"]), row["participant_id"])))
    say(format_table(results))
    return exit_code_of(results)


def _plan(maps: Sequence[Path], masks: tuple[Path, ...], out_dir: Path, config: SynthesizeConfig) -> list[_Task]:
    """Return the heads to make, each label map's one after the other."""
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
        tasks.append(_Task(f"synth{number:03d}", seed, path, masks, synthesis, out_dir, own.hexdigest()))
    # Label map by label map, since preparing one takes as long as making a head.
    return sorted(tasks, key=lambda task: (task.label_map, task.participant))


def _make(task: _Task) -> tuple[VisitOutcome, dict[str, Any] | None]:
    """Make and write one head, unless it exists already."""
    name = f"sub-{task.participant}"
    try:
        # One thread of matrix products, so that sums come in one order on every machine.
        with threadpool_limits(limits=1, user_api="blas"):
            row = _read_row(task) or _write(task)
    except BidsCascadeError as error:
        return VisitOutcome(name, error.exit_code, f"FAILED: {error}"), None
    return VisitOutcome(name, n_lesions=row["n_lesions"], volume_ml=row["lesion_volume_ml"]), row


def _write(task: _Task) -> dict[str, Any]:
    anatomy, patients = anatomy_of(task.label_map), patients_of(task.lesion_masks)
    discard_head(task.out_dir, task.participant)
    try:
        visit = make_visit(anatomy, patients, task.seed, task.synthesis)
    except ValueError as error:
        raise BadDataError(f"{task.label_map}: {error}") from error
    return write_head(visit, task.seed[:2], task.fingerprint, task.out_dir, task.participant)


def _read_row(task: _Task) -> dict[str, Any] | None:
    """Return the row of a head that an earlier run made from the same inputs, or None."""
    origin = read_origin(task.out_dir, task.participant)
    return origin["Participant"] if origin and origin["Fingerprint"] == task.fingerprint else None
