"""Kills at each marked write of anatomy, comparisons and the group level; needs a real patient's visits."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

from bids_cascade.config import Inputs, ParticipantConfig, Selection
from bids_cascade.derivatives.read import list_sessions_with_results, read_results
from bids_cascade.errors import BidsCascadeError
from bids_cascade.levels.listing import list_participants
from bids_cascade.visit_key import VisitKey
from tests.faults.kills import kill_once
from tests.faults.scene import DATA, Row, Scene, coarse_patient, is_wanted, leftovers

_SESSIONS, _LABEL, _SPACE = ("1", "2"), "P14", "MNI152NLin2009aSym"
_KILL, _TERM = signal.SIGKILL, signal.SIGTERM
_STAGED, _ANAT = "out:.sub-*/sub-*/ses-1/anat/", "out:sub-*/ses-*/anat/"
_OPTIONS = ("--output-spaces", _SPACE)
POINTS: tuple[tuple[str, tuple[str, str, signal.Signals]], ...] = (
    ("participant", (f"work:bids_cascade/*/template_{_SPACE}", "main", _KILL)),
    ("participant", ("work:bids_cascade/*/anatomy", "worker", _KILL)),
    ("participant", ("work:bids_cascade/*/lesions", "main", _TERM)),
    ("participant", (f"{_STAGED}*_label-lesion_roi.json", "main", _KILL)),
    ("participant", (f"{_STAGED}*_space-{_SPACE}_desc-preproc_T1w.json", "group", _KILL)),
    ("participant", (f"{_STAGED}*_seg-regions_dseg.tsv", "worker", _KILL)),
    ("participant", (f"{_STAGED}*_desc-lesionfilled_T1w.json", "main", _KILL)),
    ("participant", (f"{_STAGED}*_to-{_SPACE}_mode-image_xfm.h5", "group", _KILL)),
    ("participant", ("work:bids_cascade/*/draw_anatomy", "main", _KILL)),
    ("participant", (f"{_ANAT}*_from-ses1_to-T1w_mode-image_xfm.txt", "main", _KILL)),
    ("longitudinal", (f"{_ANAT}*_seg-lesions_desc-change_dseg.tsv", "main", _KILL)),
    ("longitudinal", (f"{_ANAT}*_seg-voxels_desc-change_dseg.json", "group", _TERM)),
    ("longitudinal", (f"{_ANAT}*_desc-change_FLAIR.json", "main", _KILL)),
    ("longitudinal", ("out:sub-*/figures/*_desc-changeviewer_FLAIR.html", "main", _KILL)),
    ("longitudinal", (f"{_ANAT}*_desc-change_stats.tsv", "main", _KILL)),
    ("group", ("out:group_visits.tsv", "main", _KILL)),
    ("group", ("out:group_*_desc-lesionfrequency_probseg.json", "main", _KILL)),
)


def run_writers(folder: Path) -> Iterator[Row]:
    """Kill the levels again and again as they write, then compare with what was left alone."""
    if not DATA.is_dir():
        return
    root = folder / "writers"
    coarse_patient(root / "dataset", _SESSIONS)
    scenes = {level: Scene(root, root / "dataset", level=level) for level, _ in POINTS}
    out, work = root / "out", root / "work"
    for level, point in POINTS:
        if is_wanted(point[0]):
            options = _OPTIONS if level == "participant" else ()
            row = kill_once(scenes[level], out, work, point, "writers", options)
            yield _with_listing(row, root / "dataset", out)
    codes = _run_all(scenes, out, work)
    left = leftovers(out, work, root / "tmp")
    happened = f"exit {codes}; leftovers: {left or 'none'}"
    yield Row("writers", "the same commands to their end", happened, not (any(codes) or left))
    codes = _run_all(scenes, root / "out_alone", root / "work_alone")
    differ = _differences(out, root / "out_alone")
    happened = f"exit {codes}; {'differ: ' + ', '.join(differ) if differ else 'same bytes'}"
    yield Row("writers", "results beside those of runs left alone", happened, not (any(codes) or differ))


def _run_all(scenes: dict[str, Scene], out: Path, work: Path) -> list[int]:
    """Run the levels one after the other; return their exit codes."""
    return [scene.run(out, work, *(_OPTIONS if level == "participant" else ())).code for level, scene in scenes.items()]


def _with_listing(row: Row, dataset: Path, out: Path) -> Row:
    """Add whether the patient is listed as unfinished exactly if a visit has no whole results."""
    inputs = Inputs(dataset, out, Selection(), validate=False)
    listed = list_participants(inputs, ParticipantConfig(output_spaces=_OPTIONS[1:]), unfinished=True)
    whole = 0
    for session in list_sessions_with_results(out, _LABEL):
        try:
            read_results(out, VisitKey(_LABEL, session))
            whole += 1
        except BidsCascadeError:
            continue
    right = listed == ([] if whole == len(_SESSIONS) else [_LABEL])
    happened = f"{row.happened}; {whole} of {len(_SESSIONS)} visits whole; unfinished: {' '.join(listed) or 'none'}"
    return Row(row.part, row.tried, happened, row.kept and right)


def _differences(out: Path, other: Path) -> list[str]:
    """Return the names of files, but for logs, that differ between two output folders or are in one of them alone."""
    found = [
        {path.relative_to(one): path for path in one.rglob("*") if path.is_file() and "logs" not in path.parts}
        for one in (out, other)
    ]
    names = sorted({*found[0], *found[1]})
    return [
        name.name for name in names if not all(name in one for one in found) or not _same(*(one[name] for one in found))
    ]


def _same(one: Path, other: Path) -> bool:
    """Return whether two files are equal, pages but for the times and folders of their runs."""
    if one.suffix == ".html" and one.parent.name != "figures":
        return True
    return one.read_bytes() == other.read_bytes()
