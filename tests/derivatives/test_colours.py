from __future__ import annotations

from pathlib import Path

from bids_cascade.anatomy.zones import Region
from bids_cascade.derivatives.colours import FOLDER, lookup_tables, write_lookup_tables


def test_each_viewer_is_told_every_region(tmp_path: Path) -> None:
    write_lookup_tables(tmp_path)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == sorted(lookup_tables())
    for text in lookup_tables().values():
        assert all(region.name.lower() in text for region in Region)


def test_lines_have_the_fields_that_each_viewer_reads() -> None:
    tables = lookup_tables()
    snap = tables["regions_itksnap.txt"].splitlines()
    assert snap[2] == '1 120 18 134 1 1 1 "lateral_ventricles"'
    assert tables["regions_fsleyes.lut"].splitlines()[0] == "1 0.47059 0.07059 0.52549 lateral_ventricles"
    assert tables["regions_slicer_freeview.ctbl"].splitlines()[1] == "1 lateral_ventricles 120 18 134 255"


def test_tables_that_are_there_stay(tmp_path: Path) -> None:
    write_lookup_tables(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).iterdir()}
    write_lookup_tables(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).iterdir()} == before
