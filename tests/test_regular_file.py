"""What may be opened: regular files, up to a size."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bids_cascade.errors import BadDataError, MissingInputError, ReadWriteError
from bids_cascade.regular_file import open_regular, read_text


def test_a_regular_file_is_read_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\n\xc3\xa4")
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "link"):
        assert read_text(tmp_path / name, 100) == "one\r\nä"


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "socket"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str, linked: bool) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))
    if linked:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    with pytest.raises(BadDataError, match=f"{path} is a .*{kind}, or a link to one; expected a regular file"):
        open_regular(path)


def test_a_missing_file_and_a_link_to_nothing(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="x does not exist; check the path"):
        open_regular(tmp_path / "x")
    (tmp_path / "x").symlink_to("gone")
    with pytest.raises(MissingInputError, match="x does not exist; its target does not exist: fetch it"):
        open_regular(tmp_path / "x")
    (tmp_path / "file").touch()
    with pytest.raises(ReadWriteError, match="can't be read: Not a directory"):
        open_regular(tmp_path / "file" / "x")


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"a" * (1 << 20))
    assert len(read_text(path, 1 << 20)) == 1 << 20
    with path.open("ab") as file:
        file.truncate(1 << 40)  # a sparse file that takes no room on disk
    with pytest.raises(BadDataError, match="x is larger than 1 MiB"):
        read_text(path, 1 << 20)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"ab\xff")
    with pytest.raises(BadDataError, match=r"x is not UTF-8 text .* at byte 2"):
        read_text(tmp_path / "x", 100)
