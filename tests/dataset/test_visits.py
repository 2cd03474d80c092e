"""Which visits and which images are found."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bids_cascade.config import Selection
from bids_cascade.dataset.layout import open_dataset
from bids_cascade.dataset.visits import Visit, find_visits
from bids_cascade.errors import NothingSelectedError, UsageError

MakeRaw = Callable[..., Path]


WriteScan = Callable[[Path, tuple[float, ...], tuple[int, ...]], None]
SEQUENCES = ("T1w", "FLAIR")


def visits_of(root: Path, selection: Selection | None = None) -> list[Visit]:
    selection = selection or Selection()
    return find_visits(open_dataset(root, selection), SEQUENCES, selection)


def names_of(visit: Visit) -> dict[str, str]:
    return {sequence: choice.path.name for sequence, choice in visit.images.items()}


def test_visits_with_and_without_sessions_complete_or_not(make_raw: MakeRaw) -> None:
    root = make_raw(
        "sub-10/anat/sub-10_FLAIR.nii",
        "sub-10/anat/sub-10_T1w.nii.gz",
        "sub-2/ses-b/anat/sub-2_ses-b_FLAIR.nii.gz",
        "sub-2/ses-a/anat/sub-2_ses-a_T2w.nii.gz",
        "sub-2/anat/sub-2_T1w.nii.gz",
        "sub-3/func/sub-3_task-rest_bold.nii.gz",
    )
    found = visits_of(root)
    assert [visit.name for visit in found] == ["sub-2", "sub-2_ses-a", "sub-2_ses-b", "sub-10"]
    assert [visit.missing for visit in found] == [("FLAIR",), ("T1w", "FLAIR"), ("T1w",), ()]
    assert names_of(found[3]) == {"T1w": "sub-10_T1w.nii.gz", "FLAIR": "sub-10_FLAIR.nii"}
    assert list(found[3].images) == ["T1w", "FLAIR"]
    assert all(choice.path.is_absolute() for choice in found[3].images.values())


def test_finest_resolution_wins_over_run_and_name(make_raw: MakeRaw) -> None:
    root = make_raw(
        files={
            "sub-1/anat/sub-1_run-1_T1w.nii.gz": (1.0, 1.0, 1.5),
            "sub-1/anat/sub-1_run-2_T1w.nii.gz": (1.0, 1.0, 1.0),
            "sub-1/anat/sub-1_acq-a_FLAIR.nii.gz": (0.5, 0.5, 4.0),
            "sub-1/anat/sub-1_acq-b_FLAIR.nii.gz": (1.0, 1.0, 1.0),
        }
    )
    (visit,) = visits_of(root)
    assert names_of(visit) == {"T1w": "sub-1_run-2_T1w.nii.gz", "FLAIR": "sub-1_acq-b_FLAIR.nii.gz"}
    assert visit.images["T1w"].reason == "finest resolution of 2: voxels of 1 mm^3"
    assert [path.name for path in visit.images["T1w"].rejected] == ["sub-1_run-1_T1w.nii.gz"]


def test_lowest_run_then_name_among_equals(make_raw: MakeRaw, caplog: pytest.LogCaptureFixture) -> None:
    size = (1.0, 1.0, 1.0)
    names = ["run-10_T1w", "run-9_T1w", "acq-b_run-01_FLAIR", "acq-a_run-01_FLAIR", "acq-c_run-02_FLAIR"]
    root = make_raw(files={f"sub-1/anat/sub-1_{name}.nii.gz": size for name in names})
    with caplog.at_level(logging.INFO):
        (visit,) = visits_of(root)
    assert names_of(visit) == {"T1w": "sub-1_run-9_T1w.nii.gz", "FLAIR": "sub-1_acq-a_run-01_FLAIR.nii.gz"}
    assert visit.images["T1w"].reason.startswith("lowest run")
    assert visit.images["FLAIR"].reason.startswith("first by name")
    assert "sub-1: T1w is sub-1_run-9_T1w.nii.gz" in caplog.text


def test_the_whole_head_wins_over_a_finer_slab(make_raw: MakeRaw, write_scan: WriteScan) -> None:
    root = make_raw("sub-1/anat/sub-1_FLAIR.nii")
    write_scan(root / "sub-1/anat/sub-1_T1w.nii", (2.0, 2.0, 2.0), (80, 100, 80))
    write_scan(root / "sub-1/anat/sub-1_acq-slab_T1w.nii", (0.9, 4.0, 0.9), (170, 20, 170))
    (visit,) = visits_of(root)
    assert names_of(visit)["T1w"] == "sub-1_T1w.nii"
    assert visit.images["T1w"].reason == "covers more of the head than the others of 2"


@pytest.mark.parametrize(
    ("slices", "shape", "expected"),
    [
        ((1.0, 1.0, 3.0), (150, 150, 45), "3d"),  # 3 mm3 a voxel, 135 mm high: both show the head
        ((0.4, 0.4, 5.0), (400, 400, 25), "3d"),  # 0.8 mm3
        ((0.7, 0.7, 1.5), (200, 200, 90), "slices"),  # 3D, too, and finer
    ],
)
def test_3d_wins_over_finer_slices(
    make_raw: MakeRaw,
    write_scan: WriteScan,
    slices: tuple[float, float, float],
    shape: tuple[int, int, int],
    expected: str,
) -> None:
    root = make_raw("sub-1/anat/sub-1_FLAIR.nii")
    write_scan(root / "sub-1/anat/sub-1_acq-3d_T1w.nii", (1.0, 1.0, 1.0), (125, 125, 125))
    write_scan(root / "sub-1/anat/sub-1_acq-slices_T1w.nii", slices, shape)
    (visit,) = visits_of(root)
    assert names_of(visit)["T1w"] == f"sub-1_acq-{expected}_T1w.nii"


def test_a_pipe_among_the_images_is_the_last_choice(make_raw: MakeRaw) -> None:
    root = make_raw(files={"sub-1/anat/sub-1_run-2_T1w.nii.gz": (1.0, 1.0, 1.0)})
    os.mkfifo(root / "sub-1/anat/sub-1_run-1_T1w.nii.gz")
    (visit,) = visits_of(root)
    assert names_of(visit)["T1w"] == "sub-1_run-2_T1w.nii.gz"


def test_unreadable_or_4d_image_is_the_last_choice(make_raw: MakeRaw) -> None:
    root = make_raw(
        "sub-1/anat/sub-1_run-1_T1w.nii.gz",
        files={"sub-1/anat/sub-1_run-3_T1w.nii.gz": (1.0, 1.0, 6.0), "sub-1/anat/sub-1_FLAIR.nii": (1.0, 1.0, 1.0)},
    )
    image = nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.diag((0.5, 0.5, 0.5, 1.0)))
    image.to_filename(root / "sub-1/anat/sub-1_run-2_T1w.nii.gz")
    (visit,) = visits_of(root)
    assert names_of(visit)["T1w"] == "sub-1_run-3_T1w.nii.gz"


def test_contrast_parts_and_chunks_are_never_taken(make_raw: MakeRaw) -> None:
    root = make_raw(
        "sub-1/anat/sub-1_ce-gad_T1w.nii.gz",
        "sub-1/anat/sub-1_ce-gad_part-phase_FLAIR.nii.gz",
        "sub-1/anat/sub-1_chunk-1_FLAIR.nii.gz",
        "sub-1/anat/sub-1_FLAIR.json",
        "sub-1/anat/sub-1_desc-x_FLAIRmask.nii.gz",
    )
    (visit,) = visits_of(root)
    assert visit.missing == SEQUENCES
    assert visit.left_out == (
        'there is sub-1_ce-gad_T1w.nii.gz, left out because of ce-gad; a --bids-filter-file with {"T1w": {"ceagent": '
        '"gad"}} takes it',
        "there is sub-1_ce-gad_part-phase_FLAIR.nii.gz, left out because of ce-gad_part-phase; a --bids-filter-file "
        'with {"FLAIR": {"ceagent": "gad", "part": "phase"}} takes it',
        'there is sub-1_chunk-1_FLAIR.nii.gz, left out because of chunk-1; a --bids-filter-file with {"FLAIR": '
        '{"chunk": "1"}} takes it',
    )
    for said in visit.left_out:
        wanted = json.loads(said[said.index("{") : said.rindex("}") + 1])
        (asked_for,) = visits_of(root, Selection(filters=wanted))
        assert len(asked_for.images) == 1


def test_the_magnitude_part_is_the_ordinary_image(make_raw: MakeRaw) -> None:
    root = make_raw(
        "sub-1/anat/sub-1_part-mag_T1w.nii.gz", "sub-1/anat/sub-1_part-phase_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii"
    )
    (visit,) = visits_of(root)
    assert names_of(visit)["T1w"] == "sub-1_part-mag_T1w.nii.gz"
    assert visit.left_out == ()


@pytest.mark.parametrize("kind", ["._sub-1_T1w.nii.gz", ".sub-1_T1w.nii.gz.swp.nii.gz"])
def test_hidden_files_are_nobody_s(make_raw: MakeRaw, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    root = make_raw("sub-1/anat/sub-1_FLAIR.nii.gz", f"sub-1/anat/{kind}", "._sub-1", "sub-1/._anat")
    (visit,) = visits_of(root)
    assert visit.missing == ("T1w",)
    assert not caplog.text


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ("*_T1w.nii.gz", True),
        ("sub-1/", True),
        ("**/*_T1w.nii.gz", True),
        ("/sub-1/anat/sub-1_T1w*", True),
        ("# *_T1w.nii.gz", False),
        ("*_bold.nii.gz", False),
        ("sub-10/", False),
    ],
)
def test_bidsignore_sets_nothing_aside_and_that_is_said(
    make_raw: MakeRaw, caplog: pytest.LogCaptureFixture, pattern: str, named: bool
) -> None:
    root = make_raw("sub-1/anat/sub-1_T1w.nii.gz", files={".bidsignore": f"{pattern}\n"})
    (visit,) = visits_of(root)
    assert names_of(visit)["T1w"] == "sub-1_T1w.nii.gz"
    assert ("only silences the validator" in caplog.text) is named
    assert ("sub-1/anat/sub-1_T1w.nii.gz" in caplog.text) is named


def test_filter_can_ask_for_contrast(make_raw: MakeRaw) -> None:
    root = make_raw("sub-1/anat/sub-1_ce-gad_T1w.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii")
    for value in ("gad", ["gad"], "*"):
        (visit,) = visits_of(root, Selection(filters={"t1w": {"ceagent": value}}))
        assert names_of(visit) == {"T1w": "sub-1_ce-gad_T1w.nii.gz", "FLAIR": "sub-1_FLAIR.nii"}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"acquisition": "b"}, "acq-b_run-02"),
        ({"acquisition": None}, "run-01"),
        ({"run": "02", "acquisition": "b"}, "acq-b_run-02"),
        ({"run": 2}, "acq-b_run-02"),
        ({"acquisition": ["b", "c"]}, "acq-b_run-02"),
    ],
)
def test_filters(make_raw: MakeRaw, wanted: dict[str, object], expected: str) -> None:
    size = (1.0, 1.0, 1.0)
    names = ("run-01", "acq-b_run-02", "acq-c_run-03")
    root = make_raw(files={f"sub-1/anat/sub-1_{name}_T1w.nii.gz": size for name in names})
    (visit,) = visits_of(root, Selection(filters={"T1w": wanted}))
    assert names_of(visit) == {"T1w": f"sub-1_{expected}_T1w.nii.gz"}


def test_filtered_out_visits_are_not_reported_as_incomplete(make_raw: MakeRaw) -> None:
    names = [f"sub-1/ses-{x}/anat/sub-1_ses-{x}_{suffix}.nii.gz" for x in "12" for suffix in ("T1w", "FLAIR", "T2w")]
    filters = {"t1w": {"session": "1"}, "flair": {"session": "1"}, "bold": {"task": "rest"}}
    assert [visit.name for visit in visits_of(make_raw(*names), Selection(filters=filters))] == ["sub-1_ses-1"]


def test_filter_that_nothing_passes(make_raw: MakeRaw) -> None:
    root = make_raw("sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz")
    with pytest.raises(NothingSelectedError, match=r"filter .*for FLAIR"):
        visits_of(root, Selection(filters={"flair": {"acquisition": "none"}}))


def test_filter_on_what_is_no_entity(make_raw: MakeRaw) -> None:
    with pytest.raises(UsageError, match="names acq"):
        visits_of(make_raw("sub-1/anat/sub-1_T1w.nii.gz"), Selection(filters={"t1w": {"acq": "x"}}))


def test_no_image_at_all(make_raw: MakeRaw) -> None:
    with pytest.raises(NothingSelectedError, match="no T1w or FLAIR image"):
        visits_of(make_raw("sub-1/func/sub-1_task-rest_bold.nii.gz"))


def test_participant_asked_for_is_listed_without_any_image(make_raw: MakeRaw) -> None:
    root = make_raw(
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-2/func/sub-2_task-rest_bold.nii.gz",
        "sub-3/ses-a/func/sub-3_ses-a_task-rest_bold.nii.gz",
    )
    found = visits_of(root, Selection(participants=("3", "2", "1")))
    assert [visit.name for visit in found] == ["sub-1", "sub-2", "sub-3_ses-a"]
    assert found[1].missing == found[2].missing == SEQUENCES


def test_file_of_another_participant_or_session_is_ignored(make_raw: MakeRaw, caplog: pytest.LogCaptureFixture) -> None:
    root = make_raw(
        "sub-1/anat/sub-1_T1w.nii.gz",
        "sub-1/anat/sub-2_FLAIR.nii.gz",
        "sub-3/ses-1/anat/sub-3_ses-2_FLAIR.nii.gz",
    )
    (visit,) = visits_of(root)
    assert visit.missing == ("FLAIR",)
    assert caplog.text.count("is ignored") == 2


@pytest.mark.data
def test_real_longitudinal_dataset(shared_data: Path) -> None:
    found = visits_of(shared_data / "longitudinal")
    complete = ["sub-01_ses-1", "sub-01_ses-2", "sub-03_ses-2", "sub-04_ses-1", "sub-19_ses-2"]
    assert [visit.name for visit in found if not visit.missing] == complete
    incomplete = {visit.name: visit.missing for visit in found if visit.missing}
    assert incomplete == dict.fromkeys(("sub-03_ses-1", "sub-09_ses-2", "sub-19_ses-1"), ("T1w",))


def without_t1w(root: Path, selection: Selection | None = None) -> Visit:
    selection = selection or Selection()
    (visit,) = find_visits(open_dataset(root, selection), SEQUENCES, selection, optional=("T1w",))
    return visit


def test_what_is_optional_may_be_lacking(make_raw: MakeRaw) -> None:
    visit = without_t1w(make_raw("sub-1/anat/sub-1_FLAIR.nii", "sub-1/anat/sub-1_ce-gad_T1w.nii"))
    assert (visit.missing, visit.absent, list(visit.images)) == ((), ("T1w",), ["FLAIR"])
    (said,) = visit.left_out
    assert said.startswith("there is sub-1_ce-gad_T1w.nii, left out because of ce-gad")


def test_a_filter_that_a_visit_does_not_pass_is_named(make_raw: MakeRaw) -> None:
    root = make_raw(
        *("sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_FLAIR.nii"),
        *("sub-2/anat/sub-2_T1w.nii", "sub-2/anat/sub-2_acq-a_FLAIR.nii"),
    )
    lacking, whole = visits_of(root, Selection(filters={"FLAIR": {"acquisition": "a"}}))
    assert (lacking.missing, whole.missing) == (("FLAIR",), ())
    assert lacking.left_out == ('the --bids-filter-file takes none but {"FLAIR": {"acquisition": "a"}}',)


def test_mp2rage_is_named_and_taken_for_the_t1w_when_asked_for(make_raw: MakeRaw) -> None:
    root = make_raw("sub-1/anat/sub-1_FLAIR.nii", "sub-1/anat/sub-1_UNIT1.nii")
    (said,) = without_t1w(root).left_out
    assert said.startswith("there is sub-1_UNIT1.nii, of MP2RAGE")
    filters = json.loads(said[said.index("{") : said.rindex("}") + 1])
    visit = without_t1w(root, Selection(filters=filters))
    assert names_of(visit) == {"T1w": "sub-1_UNIT1.nii", "FLAIR": "sub-1_FLAIR.nii"}
    assert (visit.absent, visit.left_out) == ((), ())


def test_a_t2w_does_not_stand_in_for_the_flair(make_raw: MakeRaw) -> None:
    visit = without_t1w(make_raw("sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_T2w.nii"))
    assert visit.missing == ("FLAIR",)
    assert visit.left_out == (
        "there is sub-1_T2w.nii, which can't replace it: in a T2w, fluid is as bright as lesions",
    )
