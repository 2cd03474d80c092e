from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest

from bids_cascade.derivatives import read as results
from bids_cascade.derivatives.read import (
    Processing,
    list_being_written,
    list_results,
    read_latest_end,
    read_results,
)
from bids_cascade.errors import BadDataError, MissingInputError, TemporaryError
from bids_cascade.visit_key import VisitKey
from bids_cascade.whole_file import write_whole_file

KEY = VisitKey("01", "1")
NAME = "sub-01_ses-1"
STATS, LESIONS, QUALITY = "desc-lesions_stats", "space-T1w_seg-lesions_dseg", "desc-quality_stats"


LESION_TABLE = (
    "index\tname\tvolume_mm3\tcentre_x_mm\tcentre_y_mm\tcentre_z_mm\tmean_probability\n"
    "1\tlesion1\t{}\t1\t2\t3\t{}\n2\tlesion2\t40\t1\t2\t3\t0.5\n3\tlesion3\t10\t1\t2\t3\t0.5\n"
)


@pytest.fixture
def anat(tmp_path: Path, leave_results: Callable[..., Path]) -> Path:
    return leave_results(tmp_path, NAME, flags={"low_contrast": "dark", "motion": ""}, earlier_flags={"guess": "look"})


def test_whole_results_are_read(tmp_path: Path, anat: Path) -> None:
    found = read_results(tmp_path, KEY)
    assert found.stats == {
        "n_lesions": "3",
        "lesion_volume_t1w_ml": "0.2",
        "lesion_volume_flair_ml": "0.1",
        "brain_volume_ml": "1000",
    }
    assert found.volumes_mm3 == [150, 40, 10]
    assert found.processing == Processing("tiny", "ab" * 32, 0.5, 10.0, "single", "1.0.0")
    assert found.flags == {"guess": "look", "low_contrast": "dark", "motion": ""}


def test_results_from_before_quality_was_judged(tmp_path: Path, leave_results: Callable[..., Path]) -> None:
    leave_results(tmp_path, "sub-02", [])
    found = read_results(tmp_path, VisitKey("02", None))
    assert found.flags == {}
    assert found.volumes_mm3 == []
    leave_results(tmp_path, "sub-02", [], flags={})
    assert read_results(tmp_path, VisitKey("02", None)).flags == {}


def test_nothing_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "sub-01" / "ses-1" / "anat").mkdir(parents=True)
    (tmp_path / "sub-01" / "ses-1" / "anat" / "sub-01_ses-10_mask.json").touch()
    for key in (KEY, VisitKey("02", None)):
        with pytest.raises(MissingInputError, match="no results"):
            read_results(tmp_path, key)


@pytest.mark.parametrize("ending", [f"{STATS}.tsv", f"{STATS}.json", f"{LESIONS}.tsv", f"{LESIONS}.json"])
def test_a_missing_file_is_a_half_written_visit(tmp_path: Path, anat: Path, ending: str) -> None:
    (anat / f"{NAME}_{ending}").unlink()
    with pytest.raises(TemporaryError, match=f"half-written: {ending} missing"):
        read_results(tmp_path, KEY)


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        (f"{STATS}.tsv", "n_lesions\n", "has 0 rows; expected 1"),
        (f"{STATS}.tsv", "n_lesions\n3\n", "brain_volume_ml|lesion_volume_t1w_ml"),
        (f"{STATS}.tsv", "n_lesions\tlesion_volume_t1w_ml\n", "has 0 rows"),
        (f"{STATS}.json", "{", "can't be read as JSON"),
        (f"{STATS}.json", "[]", "holds a list instead of a JSON object"),
        (f"{STATS}.json", "{}", "does not say which model and options made it: KeyError"),
        (f"{LESIONS}.tsv", "index\n1\n2\n3\n", "not the columns and numbers expected"),
        (f"{LESIONS}.tsv", LESION_TABLE.format(-150, 0.5), "a cell is not a number, or a volume not above 0"),
        (f"{LESIONS}.tsv", LESION_TABLE.format(150, "<b>"), "a cell is not a number, or a volume not above 0"),
        (f"{LESIONS}.tsv", "index\tvolume_mm3\n1\t150\n2\t40\n3\t10\n", "a cell is not a number"),
        (f"{LESIONS}.tsv", "index\tvolume_mm3\n1\tmany\n", "could not convert string to float: 'many'"),
        (f"{LESIONS}.json", '{"ModelName": "tiny"}', "does not say which model"),
        (f"{QUALITY}.tsv", "snr\n3\n", "expected one row with a column quality_flags"),
    ],
)
def test_bad_content_is_refused(tmp_path: Path, anat: Path, ending: str, content: str, message: str) -> None:
    (anat / f"{NAME}_{ending}").write_text(content)
    with pytest.raises(BadDataError, match=message):
        read_results(tmp_path, KEY)


@pytest.mark.parametrize("cell", ["-1", "inf", "nan", "n/a"])
def test_a_volume_is_a_number(tmp_path: Path, anat: Path, cell: str) -> None:
    path = anat / f"{NAME}_{STATS}.tsv"
    path.write_text(path.read_text().replace("\t0.2\t", f"\t{cell}\t"))
    with pytest.raises(BadDataError, match="a volume is missing, negative or infinite"):
        read_results(tmp_path, KEY)


def test_parts_of_different_runs_are_not_mixed(tmp_path: Path, anat: Path) -> None:
    stats = anat / f"{NAME}_{STATS}.tsv"
    whole = stats.read_text()
    for other in (whole.replace("3\t0.2", "2\t0.2"), whole.replace("\t0.2\t", "\t0.21\t")):
        stats.write_text(other)
        with pytest.raises(TemporaryError, match=r"lesions of 0\.21? ml in its table of volumes, but 3 of 0\.2 ml"):
            read_results(tmp_path, KEY)
    stats.write_text(whole)
    sidecar = anat / f"{NAME}_{LESIONS}.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"Threshold": 0.4}))
    with pytest.raises(TemporaryError, match="different models or options"):
        read_results(tmp_path, KEY)


def test_what_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, anat: Path, leave_results: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    once = results._read_once
    calls = []

    def read_while_a_run_replaces_it(folder: Path, name: str) -> results.VisitResults:
        found = once(folder, name)
        calls.append(name)
        if len(calls) <= replacements:
            (anat / f"{NAME}_{STATS}.tsv").unlink()
            leave_results(tmp_path, NAME, [20.0 * len(calls)])
            (anat / f"{NAME}_{STATS}.tsv").rename(anat / "moved")
            (anat / f"{NAME}_{STATS}.tsv").write_text((anat / "moved").read_text())
        return found

    monkeypatch.setattr(results, "_read_once", read_while_a_run_replaces_it)
    replacements = 1
    assert read_results(tmp_path, KEY).volumes_mm3 == [20]
    replacements = 9
    with pytest.raises(TemporaryError, match="being replaced by another run"):
        read_results(tmp_path, KEY)


def test_no_mixture_is_read_while_a_run_writes(tmp_path: Path, leave_results: Callable[..., Path]) -> None:
    versions = {volume: leave_results(tmp_path / f"{volume}", NAME, [volume], brain_ml=volume) for volume in (20, 30)}
    folder = tmp_path / "out" / "sub-01" / "ses-1" / "anat"
    folder.mkdir(parents=True)
    stop = threading.Event()

    def write_on_and_on() -> None:
        for volume in cycle(versions):
            # As the participant level does: each file moved into place, the table of volumes last.
            for path in sorted(versions[volume].iterdir(), key=lambda path: (path.name.endswith("_stats.tsv"), path)):
                write_whole_file(path.read_bytes(), folder / path.name)
            if stop.is_set():
                return

    writer = threading.Thread(target=write_on_and_on)
    writer.start()
    read: Counter[tuple[str, ...]] = Counter()
    try:
        for _ in range(300):
            try:
                found = read_results(tmp_path / "out", KEY)
            except (MissingInputError, TemporaryError) as error:
                read[type(error).__name__] += 1
            else:
                read[found.stats["brain_volume_ml"], *map(str, found.volumes_mm3)] += 1
    finally:
        stop.set()
        writer.join()
    assert set(read) <= {("20", "20.0"), ("30", "30.0"), "TemporaryError", "MissingInputError"}
    assert read_results(tmp_path / "out", KEY).volumes_mm3 in ([20], [30]), "afterwards it is whole"


def test_visits_with_anything_are_listed(tmp_path: Path, leave_results: Callable[..., Path]) -> None:
    assert list_results(tmp_path / "none") == set()
    leave_results(tmp_path, "sub-01_ses-1")
    leave_results(tmp_path, "sub-02")
    (tmp_path / "sub-03" / "ses-1").mkdir(parents=True)
    (tmp_path / "sub-04.html").touch()
    assert list_results(tmp_path) == {VisitKey("01", "1"), VisitKey("02", None)}


def test_visits_being_written_are_listed(tmp_path: Path) -> None:
    for name in (".sub-01_ses-1.0123456789abcdef", ".sub-02.ff", ".bidsignore", "sub-03"):
        (tmp_path / name).mkdir()
    assert list_being_written(tmp_path) == {"sub-01_ses-1", "sub-02"}
    assert list_being_written(tmp_path / "none") == set()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, None),
        ('{"exit_code": 65, "message": "no good"}', (65, "no good")),
        ('{"exit_code": 0}', (0, "")),
        ('{"message": "no code"}', None),
        ("{", None),
    ],
)
def test_how_the_latest_run_ended(tmp_path: Path, content: str | None, expected: tuple[int, str] | None) -> None:
    if content is not None:
        (tmp_path / "logs" / "visits").mkdir(parents=True)
        (tmp_path / "logs" / "visits" / f"{NAME}.json").write_text(content)
    assert read_latest_end(tmp_path, KEY) == expected


def test_results_in_half_precision_are_told_from_others(tmp_path: Path, leave_results: Callable[..., Path]) -> None:
    leave_results(tmp_path, "sub-01")
    leave_results(tmp_path, "sub-02", Precision="half")
    single, half = (read_results(tmp_path, VisitKey(participant, None)).processing for participant in ("01", "02"))
    assert (single.precision, half.precision) == ("single", "half")
    assert replace(half, precision="single") == single


def test_results_of_a_visit_without_a_t1w_are_on_the_grid_of_the_flair(
    tmp_path: Path, leave_results: Callable[..., Path]
) -> None:
    leave_results(tmp_path, NAME, space="FLAIR", SequencesUsed=["FLAIR"])
    found = read_results(tmp_path, KEY)
    assert (found.lesion_volume, found.volumes_mm3) == ("0.2", [150, 40, 10])
    assert found.processing == Processing("tiny", "ab" * 32, 0.5, 10.0, "single", "1.0.0", "FLAIR")
    assert results.lesions_path(tmp_path, KEY).name == f"{NAME}_space-FLAIR_seg-lesions_dseg.tsv"
    leave_results(tmp_path, "sub-02")
    assert read_results(tmp_path, VisitKey("02", None)).lesion_volume == "0.2"
    assert results.results_space(tmp_path, VisitKey("02", None)) == "T1w"
