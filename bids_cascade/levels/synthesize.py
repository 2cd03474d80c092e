"""The synthesize level: label maps and lesion masks in, a BIDS dataset of synthetic heads with known lesions out."""

from __future__ import annotations

import logging
from pathlib import Path

from bids_cascade.config import SynthesizeConfig
from bids_cascade.derivatives.synthetic import prepare_synthetic, rows_of_others, write_participants
from bids_cascade.outcomes import count, exit_code_of, format_table
from bids_cascade.progress_bar import progress_bar
from bids_cascade.surroundings import say
from bids_cascade.training.heads import find_images, map_heads
from bids_cascade.training.synthetic_dataset import make_head, plan_heads

_LOGGER = logging.getLogger(__name__)


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
    tasks = plan_heads(maps, masks, out_dir, config)
    _LOGGER.info(
        "%s of %s and %s",
        *(count(len(tasks), "head"), count(len(maps), "label map"), count(len(masks), "lesion mask")),
    )
    results, rows = [], []
    with progress_bar(len(tasks), "heads") as bar:
        for task, (result, row) in zip(tasks, map_heads(make_head, tasks, n_procs), strict=True):
            bar.update()
            results.append(result)
            rows += [{"participant_id": f"sub-{task.participant}", **row}] if row else []
            contents = result.message or f"{count(result.n_lesions or 0, 'lesion')}, {result.volume_ml:.2f} ml"
            _LOGGER.info("%s: %s; %d of %s made", result.name, contents, len(results), count(len(tasks), "head"))
    rows += rows_of_others(out_dir, {task.participant for task in tasks})
    write_participants(out_dir, sorted(rows, key=lambda row: (len(row["participant_id"]), row["participant_id"])))
    say(format_table(results))
    return exit_code_of(results)
