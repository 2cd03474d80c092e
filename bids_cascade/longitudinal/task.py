"""What a process needs to compare the visits of one participant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bids_cascade.change.rescan import Segmenter, segment_again
from bids_cascade.derivatives.read import Processing
from bids_cascade.models.store import StoredModel, load_ensemble


@dataclass(frozen=True)
class ComparisonTask:
    """A participant, with all that its process needs.

    Attributes
    ----------
    out_dir, bids_dir : Path
        Results, and the raw dataset.
    participant : str
        Label.
    seed : int
    model : StoredModel or None
        For the noise floor of visits that were segmented with it.
    """

    out_dir: Path
    bids_dir: Path
    participant: str
    seed: int
    model: StoredModel | None = None

    def segmenter(self, processing: Processing) -> Segmenter | None:
        """Return a function that repeats a segmentation; None if that needs another model, or takes too long."""
        if self.model is None or self.model.sha256 != processing.model_sha256 or self.model.header.patch_wise:
            return None
        ensemble = load_ensemble(self.model.path)
        rule = replace(
            ensemble.config.rule, threshold=processing.threshold, min_lesion_volume_mm3=processing.min_lesion_volume_mm3
        )
        return partial(segment_again, ensemble, rule, half=processing.precision == "half")
