"""Transforms that hold no time."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from bids_cascade.anatomy.transform_file import checksum, without_times
from bids_cascade.imaging.images import load_ants


@pytest.fixture
def written(tmp_path: Path) -> bytes:
    ants = load_ants()
    moved = ants.create_ants_transform(transform_type="AffineTransform", dimension=3, translation=(1.0, 2.0, 3.0))
    ants.write_transform(moved, str(tmp_path / "a.h5"))
    return (tmp_path / "a.h5").read_bytes()


def header(times: bytes, message: bytes, flags: int = 0x20) -> bytes:
    """Return the header of an object by hand, its length in one byte."""
    content = b"OHDR\x02" + bytes([flags]) + times + bytes([len(message)]) + message
    return content + struct.pack("<I", checksum(content))


def test_the_checksum_is_that_of_its_author() -> None:
    """By the values that lookup3.c gives for itself."""
    assert checksum(b"") == 0xDEADBEEF
    assert checksum(b"Four score and seven years ago") == 0x17770551


def test_times_go_and_the_checksum_follows() -> None:
    before, after = bytes(range(16)), bytes(16)
    assert without_times(b"x" + header(before, b"message") + b"y") == b"x" + header(after, b"message") + b"y"


def test_what_has_no_times_or_only_looks_like_a_header_stays() -> None:
    for content in (
        header(b"", b"message", flags=0),
        header(bytes(range(16)), b"message")[:-1] + b"?",
        b"OHDR\x02",
        b"OHDR\x02\x20",
        b"",
    ):
        assert without_times(content) == content


def test_a_transform_of_itk_stays_the_same_transform(written: bytes, tmp_path: Path) -> None:
    changed = without_times(written)
    assert len(changed) == len(written)
    assert changed != written, "ITK notes times"
    assert without_times(changed) == changed
    (tmp_path / "b.h5").write_bytes(changed)
    point = load_ants().read_transform(str(tmp_path / "b.h5")).apply_to_point((10.0, 20.0, 30.0))
    assert np.allclose(point, (11, 22, 33))
