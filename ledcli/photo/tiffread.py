"""Just enough TIFF reading to tell a cut-off file and to find one tag again."""

import struct
from collections.abc import Iterator

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_SUB_IFDS = 330
_SLACK = 512
"""Bytes; some writers round the size of the last strip up."""
_ELSEWHERE = 2**32 - 1
"""Panasonic's strip offset: a tag of its own has the real one."""
_MAGIC = {
    b"II*\0": "<",
    b"MM\0*": ">",
    b"IIRO": "<",
    b"IIRS": "<",
    b"MMOR": ">",
    b"IIU\0": "<",
}
"""TIFF, Olympus' and Panasonic's, and their byte order for struct."""
_MOST_ENTRIES, _MOST_DIRECTORIES, _MOST_VALUES = 1000, 64, 1 << 20

Directory = dict[int, tuple[int, int, int]]
"""Tag to (type, count, position of the value)."""


def first_directory_tag(data: bytes, tag: int) -> bytes | None:
    """Bytes of a tag in the first directory of a TIFF; None when it is not there."""
    for directory in _directories(data):
        if tag not in directory:
            return None
        kind, count, at = directory[tag]
        return data[at : at + count * _SIZES[kind]]
    return None


def cut_short(data: bytes) -> bool:
    """Whether a TIFF's largest picture, or all its directories, lie beyond the end of the data.

    The largest alone: a preview that points nowhere harms nobody.
    """
    order = _order(data)
    if order is None:
        return False
    seen, largest, missing = False, 0, 0
    for directory in _directories(data):
        seen = True
        for starts_tag, counts_tag in zip(_OFFSETS, _COUNTS, strict=True):
            starts = _integers(data, order, directory.get(starts_tag))
            counts = _integers(data, order, directory.get(counts_tag))
            if starts and counts and sum(counts) > largest and max(starts) < _ELSEWHERE:
                largest = sum(counts)
                ends = (start + count for start, count in zip(starts, counts, strict=False))
                missing = max(ends) - len(data)
    return not seen or missing > _SLACK


def _order(data: bytes) -> str | None:
    return _MAGIC.get(bytes(data[:4]))


def _directories(data: bytes) -> Iterator[Directory]:
    """Walk the chain of directories and their sub-directories, each once, damage or no damage."""
    order = _order(data)
    if order is None or len(data) < 8:
        return
    waiting = [struct.unpack_from(order + "I", data, 4)[0]]
    done: set[int] = set()
    while waiting and len(done) < _MOST_DIRECTORIES:
        at = waiting.pop(0)
        if at in done or at == 0 or at + 2 > len(data):
            continue
        done.add(at)
        (count,) = struct.unpack_from(order + "H", data, at)
        end = at + 2 + 12 * count
        if count > _MOST_ENTRIES or end > len(data):
            continue
        directory: Directory = {}
        for position in range(at + 2, end, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", data, position)
            size = _SIZES.get(kind, 0) * number
            if size == 0:
                continue
            where = position + 8
            if size > 4:
                (where,) = struct.unpack_from(order + "I", data, position + 8)
            directory[tag] = (kind, number, where)
        yield directory
        waiting += _integers(data, order, directory.get(_SUB_IFDS))
        if end + 4 <= len(data):
            waiting.append(struct.unpack_from(order + "I", data, end)[0])


def _integers(data: bytes, order: str, field: tuple[int, int, int] | None) -> list[int]:
    if field is None:
        return []
    kind, count, at = field
    letter = {1: "B", 3: "H", 4: "I", 13: "I"}.get(kind)
    if letter is None or count > _MOST_VALUES or at + count * _SIZES[kind] > len(data):
        return []
    return list(struct.unpack_from(f"{order}{count}{letter}", data, at))
