"""Removal of timestamps from ITK's HDF5 transforms, so that equal transforms are equal files.

HDF5 stores the time of writing in the header of each object, and a checksum of that header [1]_.

References
----------
.. [1] The HDF Group, HDF5 File Format Specification 3.0, IV.A.1.b (version 2 of the data object header prefix).
"""

from __future__ import annotations

import re

_SIGNATURE = re.compile(rb"OHDR\x02(.)", re.DOTALL)
_HAS_TIMES, _HAS_PHASE_CHANGE = 0x20, 0x10
_TIMES_AT, _TIMES_LENGTH, _PHASE_CHANGE_LENGTH, _CHECKSUM_LENGTH = 6, 16, 4, 4


def without_times(content: bytes) -> bytes:
    """Return the content of an HDF5 file with all timestamps set to 0.

    Bytes that only look like an object header fail the checksum, and are left unchanged.
    """
    changed = bytearray(content)
    for match in _SIGNATURE.finditer(content):
        start, flags = match.start(), match[1][0]
        if not flags & _HAS_TIMES:
            continue
        size_at = start + _TIMES_AT + _TIMES_LENGTH + (_PHASE_CHANGE_LENGTH if flags & _HAS_PHASE_CHANGE else 0)
        width = 1 << (flags & 3)
        end = size_at + width + int.from_bytes(content[size_at : size_at + width], "little")
        if _stored(checksum(content[start:end])) != content[end : end + _CHECKSUM_LENGTH]:
            continue
        changed[start + _TIMES_AT : start + _TIMES_AT + _TIMES_LENGTH] = bytes(_TIMES_LENGTH)
        changed[end : end + _CHECKSUM_LENGTH] = _stored(checksum(bytes(changed[start:end])))
    return bytes(changed)


def checksum(content: bytes) -> int:
    """Return HDF5's checksum of metadata: ``hashlittle`` of lookup3 [1]_ with the initial value 0.

    References
    ----------
    .. [1] Jenkins B., lookup3.c, 2006, public domain.
    """
    a = b = c = (0xDEADBEEF + len(content)) & 0xFFFFFFFF
    if not content:
        return c
    *blocks, last = (content[at : at + 12].ljust(12, b"\0") for at in range(0, len(content), 12))
    for block in blocks:
        a, b, c = _mixed(*_added(a, b, c, block))
    return _final(*_added(a, b, c, last))


def _stored(value: int) -> bytes:
    return value.to_bytes(_CHECKSUM_LENGTH, "little")


def _added(a: int, b: int, c: int, block: bytes) -> tuple[int, int, int]:
    """Add the three words of a block."""
    words = (int.from_bytes(block[at : at + 4], "little") for at in (0, 4, 8))
    first, second, third = ((value + word) & 0xFFFFFFFF for value, word in zip((a, b, c), words, strict=True))
    return first, second, third


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    """Mix three words reversibly (lookup3's ``mix``)."""
    for turn in (4, 6, 8, 16, 19, 4):
        mixed = ((a - c) & 0xFFFFFFFF) ^ _turned(c, turn)
        a, b, c = b, (c + b) & 0xFFFFFFFF, mixed
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    """Mix three words into one (lookup3's ``final``)."""
    for turn in (14, 11, 25, 16, 4, 14, 24):
        mixed = ((c ^ b) - _turned(b, turn)) & 0xFFFFFFFF
        a, b, c = b, mixed, a
    return b


def _turned(value: int, turn: int) -> int:
    """Rotate the bits of a word to the left."""
    return ((value << turn) | (value >> (32 - turn))) & 0xFFFFFFFF
