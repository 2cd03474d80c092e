"""What a visit's report is made of: figures, viewer and quality measures, as files of one folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib

from bids_cascade.dataset.derivatives import write_tsv
from bids_cascade.imaging.quality import describe_columns, find_flags, measure
from bids_cascade.imaging.scan import Scan
from bids_cascade.lesions.components import Lesion
from bids_cascade.report.figures import draw_bias, draw_brain, draw_lesions, draw_registration, draw_sizes
from bids_cascade.report.viewer import viewer_page


@dataclass(frozen=True, eq=False)
class VisitContent:
    """What a visit's report shows.

    Attributes
    ----------
    scans : mapping of str to Scan
        By sequence, the T1w image first.
    similarity : mapping of str to float
        Of each sequence but the T1w image, after registration.
    shown : str
        The sequence to show the lesions on.
    lesion : nibabel.Nifti1Image
        Lesion mask on the grid of that sequence.
    probability, first_probability : nibabel.Nifti1Image
        Of lesion, by the whole cascade and by stage 1, in the world of the T1w image.
    gate_probability : float
        Stage 1's probability above which a voxel is a candidate.
    lesions : sequence of Lesion
    """

    scans: Mapping[str, Scan]
    similarity: Mapping[str, float]
    shown: str
    lesion: nib.Nifti1Image
    probability: nib.Nifti1Image
    first_probability: nib.Nifti1Image
    gate_probability: float
    lesions: Sequence[Lesion]


def draw_visit(content: VisitContent, folder: Path) -> list[Path]:
    """Write a visit's figures, viewer and quality measures into a folder; return the files."""
    row = measure(content.scans, content.lesion, content.similarity, content.shown)
    flags = find_flags(row)
    descriptions = {
        **describe_columns(row),
        "quality_flags": {"Description": "What should be looked at, joined by ;"},
        "QualityFlags": flags,
    }
    quality = folder / "desc-quality_stats.tsv"
    write_tsv([{**row, "quality_flags": ";".join(flags) or None}], [*row, "quality_flags"], quality, descriptions)
    files = [quality, quality.with_suffix(".json")]
    for name, text in _figures(content):
        files.append(folder / f"desc-{name}")
        files[-1].write_bytes(text)
    return files


def _figures(content: VisitContent) -> Iterator[tuple[str, bytes]]:
    """Give each figure as a name, such as ``brain_T1w.svg``, and its bytes."""
    t1w, *others = content.scans
    shown = content.scans[content.shown]
    first, lesion = content.first_probability, content.lesion
    yield f"lesions_{content.shown}.svg", draw_lesions(shown, lesion, first, content.gate_probability)
    viewer = viewer_page(shown, lesion, content.probability, first, content.lesions)
    yield f"viewer_{content.shown}.html", viewer.encode()
    yield f"brain_{t1w}.svg", draw_brain(content.scans[t1w])
    for name in others:
        yield f"registration_{name}.svg", draw_registration(content.scans[t1w], content.scans[name], name)
    for name, scan in content.scans.items():
        yield f"bias_{name}.svg", draw_bias(scan)
    yield "sizes_dseg.svg", draw_sizes([lesion.volume_mm3 for lesion in content.lesions])
