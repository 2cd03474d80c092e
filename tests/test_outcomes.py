"""The closing table and the exit code of a run."""

from bids_cascade.dataset.visits import Visit
from bids_cascade.outcomes import VisitOutcome, exit_code_of, format_table, missing_outcome

DONE = VisitOutcome("sub-01_ses-1", n_lesions=12, n_lesions_14mm3=9, volume_ml=3.456, seconds=61.24)
BAD = VisitOutcome("sub-02", exit_code=65, message="FAILED: scan.nii.gz is cut off")
LACKING = missing_outcome(Visit("03", None, {}, missing=("T1w", "FLAIR")))


def test_exit_codes() -> None:
    assert exit_code_of([DONE]) == 0
    assert exit_code_of([DONE, BAD]) == 65
    assert exit_code_of([DONE, LACKING]) == 66
    assert exit_code_of([BAD, LACKING]) == 1


def test_what_was_stopped_does_not_hide_what_failed() -> None:
    stopped = VisitOutcome("sub-04", exit_code=75, message="not finished")
    assert exit_code_of([DONE, stopped]) == 75
    assert exit_code_of([BAD, stopped]) == 65


def test_table_names_what_is_done_and_what_is_not() -> None:
    header, done, bad, lacking, last = format_table([DONE, BAD, LACKING]).splitlines()
    assert header.split() == ["visit", "lesions", ">=", "14", "mm3", "volume", "(ml)", "seconds"]
    assert done.split() == ["sub-01_ses-1", "12", "9", "3.46", "61.2"]
    assert bad == "sub-02        FAILED: scan.nii.gz is cut off"
    assert lacking == (
        "sub-03        not processed: no T1w and no FLAIR image; "
        "expected sub-03_T1w.nii.gz and sub-03_FLAIR.nii.gz in sub-03/anat"
    )
    assert last == "1 of 3 visits done, 2 not"
    assert format_table([DONE]).endswith("1 of 1 visit done")


def test_warnings_are_added_to_what_is_said() -> None:
    assert DONE.with_warnings(["no page"]).message == "no page"
    assert DONE.with_warnings(["one"]).with_warnings(["two", "three"]).message == "one; two; three"
    assert "WARNING: one; two; three" in format_table([DONE.with_warnings(["one"]).with_warnings(["two", "three"])])


def test_images_that_were_left_out_are_named() -> None:
    visit = Visit("03", None, {}, missing=("T1w",), left_out=("there is sub-03_ce-gad_T1w.nii.gz, left out",))
    assert missing_outcome(visit).message == "not processed: no T1w image; there is sub-03_ce-gad_T1w.nii.gz, left out"
