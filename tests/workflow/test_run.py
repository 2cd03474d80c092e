from pathlib import Path

import pytest

from bids_cascade.visit_key import VisitKey
from bids_cascade.workflow.plugin import Failure
from bids_cascade.workflow.run import _format_size, _read_crash_reports, clean_up, delete_intermediates, report_work_dir


def test_the_work_folder_is_named_with_its_size(tmp_path: Path, caplog) -> None:
    (tmp_path / "step").mkdir()
    with (tmp_path / "step" / "image.nii").open("wb") as file:
        file.truncate(1_230_000_000)  # takes no room on the disk
    with caplog.at_level("INFO", logger="bids_cascade"):
        report_work_dir(tmp_path / "deleted")
        report_work_dir(tmp_path)
    assert caplog.messages == [f"work folder: {tmp_path}, 1.2 GB; needed only to resume"]


@pytest.mark.parametrize(
    ("n_bytes", "said"), [(0, "0 kB"), (6_200, "6 kB"), (99_999, "100 kB"), (2.5e6, "2.5 MB"), (180e6, "0.2 GB")]
)
def test_a_size_is_given_in_a_unit_that_suits_it(n_bytes: float, said: str) -> None:
    assert _format_size(n_bytes) == said


def test_crash_reports_are_read_by_node(tmp_path: Path) -> None:
    (tmp_path / "crash-1-brain.txt").write_text(
        "Node: bids_cascade.sub_01.brain\nWorking directory: x\n\n\tbids_cascade.errors.BadDataError: bad.nii\n"
    )
    (tmp_path / "crash-3-cascade.txt").touch()  # the disk was full
    (tmp_path / "crash-2-bias.txt").write_text("Node: bids_cascade.sub_02.bias_T1w\n\nTraceback\nValueError: odd\n")
    assert _read_crash_reports(tmp_path) == {
        "bids_cascade.sub_01.brain": Failure("bad.nii", 65),
        "bids_cascade.sub_02.bias_T1w": Failure("ValueError: odd", 1),
    }


def test_cleaning_takes_the_folder_only_if_nothing_else_is_in_it(tmp_path: Path) -> None:
    visits = [VisitKey("01", None), VisitKey("02", None)]
    work = tmp_path / "work"
    for visit in visits:
        (work / "bids_cascade" / visit.slug / "brain").mkdir(parents=True)
    (work / ".proc-1_time-2_freq-1.00").touch()  # a sample of nipype's resource monitor
    delete_intermediates("sub_01", work)
    clean_up(visits[:1], work)
    assert [path.name for path in (work / "bids_cascade").iterdir()] == ["sub_02"]
    delete_intermediates("sub_02", work)
    clean_up(visits, work)
    assert not work.exists()


def test_what_another_run_uses_is_left_to_it(tmp_path: Path) -> None:
    for name in ("bids_cascade_cache", "locks", "tmp_abcdefgh", "tmp_ijklmnop"):
        (tmp_path / name).mkdir()
    visit = VisitKey("01", None)
    (tmp_path / "locks" / visit.slug).touch()
    clean_up([visit], tmp_path)
    assert (tmp_path / "bids_cascade_cache").exists()
    assert not list((tmp_path / "locks").iterdir())
    (tmp_path / "tmp_ijklmnop").rmdir()
    clean_up([visit], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tmp_abcdefgh"]
