"""Opcode lists of a DNG: corrections that its reader makes (DNG 1.7, chapter 7)."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = struct.Struct(">4I")
MAX_OPCODES = 1000
"""Real lists have up to a few dozen."""


class Opcode(NamedTuple):
    """One correction; `optional` says whether a reader may leave it out."""

    number: int
    optional: bool
    data: bytes


def read_opcodes(data: bytes) -> Iterator[Opcode]:
    """Yield the opcodes of a list, which is big-endian in every file; damage ends it."""
    if len(data) < 4:
        return
    (count,), at = struct.unpack(">I", data[:4]), 4
    for _ in range(min(count, MAX_OPCODES)):
        if at + _HEADER.size > len(data):
            return
        number, _, flags, size = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        if at + size > len(data):
            return
        yield Opcode(number, bool(flags & 1), data[at : at + size])
        at += size
