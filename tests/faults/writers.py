"""Kills at each marked write of anatomy, which needs a real patient's visit, of comparisons and of the group level."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from bids_cascade.config import Inputs, ParticipantConfig, Selection
from bids_cascade.derivatives.read import read_results
from bids_cascade.errors import BidsCascadeError
from bids_cascade.levels.listing import list_participants
from bids_cascade.visit_key import VisitKey
from tests.faults.kills import kill_once
from tests.faults.scene import DATA, Row, Scene, coarse_patient, is_wanted, leftovers
from tests.longitudinal.left_visits import LATEST, NEW, OLD, leave_visit
from tests.small_head import make_visit

_LABEL, _SPACE = "P14", "MNI152NLin2009aSym"
_KILL, _TERM = signal.SIGKILL, signal.SIGTERM
_OPTIONS = ("--output-spaces", _SPACE)
_STEP, _STAGED, _ANAT = "work:bids_cascade/sub_*/", "out:.sub-*/sub-*/ses-1/anat/", "out:sub-*/ses-*/anat/"
_Point = tuple[str, str, signal.Signals]
OF_ANATOMY: tuple[_Point, ...] = (
    # In the order of the work: a step that an earlier run has done is not seen again.
    (f"{_STEP}lesions", "main", _TERM),
    (f"{_STEP}template_{_SPACE}", "main", _KILL),
    (f"{_STEP}anatomy", "worker", _KILL),
    (f"{_STEP}draw_anatomy", "main", _KILL),
    (f"{_STAGED}*_label-lesion_roi.json", "main", _KILL),
    (f"{_STAGED}*_space-{_SPACE}_desc-preproc_T1w.json", "group", _KILL),
    (f"{_STAGED}*_seg-regions_dseg.tsv", "worker", _KILL),
    (f"{_STAGED}*_desc-lesionfilled_T1w.json", "main", _KILL),
    (f"{_STAGED}*_to-{_SPACE}_mode-image_xfm.h5", "group", _KILL),
    (f"{_ANAT}*_desc-lesionfilled_T1w.nii.gz", "main", _KILL),
)
OF_CHANGE: tuple[_Point, ...] = (
    (f"{_ANAT}*_from-ses1_to-T1w_mode-image_xfm.txt", "main", _KILL),
    (f"{_ANAT}*_seg-lesions_desc-change_dseg.tsv", "main", _KILL),
    (f"{_ANAT}*_seg-voxels_desc-change_dseg.json", "group", _TERM),
    (f"{_ANAT}*_desc-change_FLAIR.json", "main", _KILL),
    ("out:sub-*/figures/*_desc-changeviewer_FLAIR.html", "main", _KILL),
    (f"{_ANAT}*_desc-change_stats.tsv", "main", _KILL),
    (f"{_ANAT}*_desc-changefromfirst_dseg.tsv", "main", _KILL),
    ("out:sub-01.html", "main", _KILL),
)
OF_GROUP: tuple[_Point, ...] = (
    ("out:group_visits.tsv", "main", _KILL),
    ("out:group_*_desc-lesionfrequency_probseg.json", "main", _KILL),
)


def run_writers(folder: Path) -> Iterator[Row]:
    """Kill the levels again and again as they write, then compare with what was left alone."""
    root = folder / "writers"
    if DATA.is_dir():
        coarse_patient(root / "dataset", ("1",))
        visit = Scene(root, root / "dataset")
        yield from _kill_all(visit, OF_ANATOMY, "one visit with its anatomy", _OPTIONS)
        group = Scene(root, root / "dataset", level="group")
        yield from _kill_all(group, OF_GROUP, "the group level")
    change = Scene(root / "change", leave_visits(root / "change"), level="longitudinal")
    yield from _kill_all(change, OF_CHANGE, "three visits compared")


def leave_visits(root: Path) -> Path:
    """Leave what the participant level would of three visits of a small head; return a dataset without images."""
    dataset = root / "dataset"
    dataset.mkdir(parents=True)
    (dataset / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.10.0"}')
    for out in ("out", "out_alone"):
        for session, lesions in enumerate(({OLD: 4}, {OLD: 4, NEW: 3}, {OLD: 4, NEW: 3, LATEST: 3}), start=1):
            leave_visit(root / out, f"sub-01_ses-{session}", make_visit(lesions, seed=session))
    return dataset


def _kill_all(scene: Scene, points: Sequence[_Point], what: str, options: Sequence[str] = ()) -> Iterator[Row]:
    """Kill a level at all points, run it to its end, and compare with one that was left alone."""
    out, work = scene.folder / "out", scene.folder / "work"
    wanted = [point for point in points if is_wanted(point[0])]
    if not wanted:
        return
    for point in wanted:
        row = kill_once(scene, out, work, point, "writers", options)
        yield _with_listing(row, scene.dataset, out) if scene.level == "participant" else row
    end = scene.run(out, work, *options)
    left = leftovers(out, work, scene.temporary)
    happened = f"exit {end.code}; leftovers: {left or 'none'}"
    yield Row("writers", f"{what}: the same command to its end", happened, not (end.code or left))
    alone = scene.folder / "out_alone"
    end = scene.run(alone, scene.folder / "work_alone", *options)
    differ = _differences(out, alone)
    happened = f"exit {end.code}; {'differ: ' + ', '.join(differ) if differ else 'same bytes'}"
    yield Row("writers", f"{what}: results beside those of a run left alone", happened, not (end.code or differ))


def _with_listing(row: Row, dataset: Path, out: Path) -> Row:
    """Add whether the patient is listed as unfinished exactly if the visit has no whole results."""
    inputs = Inputs(dataset, out, Selection(), validate=False)
    listed = list_participants(inputs, ParticipantConfig(output_spaces=_OPTIONS[1:]), unfinished=True)
    try:
        read_results(out, VisitKey(_LABEL, "1"))
        whole = True
    except BidsCascadeError:
        whole = False
    happened = f"{row.happened}; {'whole' if whole else 'not whole'}, unfinished: {' '.join(listed) or 'none'}"
    return Row(row.part, row.tried, happened, row.kept and listed == ([] if whole else [_LABEL]))


def _differences(out: Path, other: Path) -> list[str]:
    """Return the names of files that differ between two output folders, or are in one of them alone.

    Logs tell of runs, and pages show them.
    """
    found = [
        {path.relative_to(one): path for path in one.rglob("*") if path.is_file() and "logs" not in path.parts}
        for one in (out, other)
    ]
    names = sorted(name for name in {*found[0], *found[1]} if len(name.parts) > 1 or name.suffix != ".html")
    return [
        name.name
        for name in names
        if not all(name in one for one in found) or found[0][name].read_bytes() != found[1][name].read_bytes()
    ]
