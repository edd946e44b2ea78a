"""Just enough TIFF reading to tell a cut-off file and to find directories and tags again."""

import errno
import os
import stat
import struct
from collections import OrderedDict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from ledcli.metadata.tiff import Field, Kind

_BLOCK = 1 << 14
"""Bytes; directories and their values lie close together."""
_MOST_BLOCKS = 256


class Bytes(Protocol):
    """What is asked of data: its length and slices; `bytes` is one, `FileBytes` another."""

    def __len__(self) -> int:
        """Return the number of bytes."""

    def __getitem__(self, part: slice, /) -> bytes:
        """Return a slice; beyond the end there is nothing."""


class FileBytes:
    """A regular file's bytes, read in blocks when they are asked for.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        It cannot be opened, or is no regular file; slices raise it when the disk fails.
    """

    def __init__(self, path: Path) -> None:
        # A FIFO would make the opening wait for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(f"{path} is not a regular file")
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        self._size = os.fstat(self._file.fileno()).st_size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._size)
        if stop <= start:
            return b""
        first, last = start // _BLOCK, (stop - 1) // _BLOCK
        if last - first > _MOST_BLOCKS // 4:
            return self._read(start, stop - start)
        joined = b"".join(self._block(index) for index in range(first, last + 1))
        return joined[start - first * _BLOCK : stop - first * _BLOCK]

    def _block(self, index: int) -> bytes:
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = self._read(index * _BLOCK, _BLOCK)
            if len(self._blocks) > _MOST_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _read(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        parts = []
        count = min(count, self._size - start)
        while count > 0:
            part = self._file.read(count)
            if not part:
                raise OSError(errno.EIO, "it became shorter while it was read")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_WORDS = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
"""Bytes that turn round together with the byte order."""
_IFD_KIND = 13
"""A LONG that points at a directory (TIFF technical note 1)."""
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

Entry = tuple[int, int, int]
"""Type, number of values, position of the first."""
Directory = dict[int, Entry]
"""By tag."""


def byte_order(data: Bytes) -> str | None:
    """Return a TIFF's byte order as struct writes it, ``<`` or ``>``; None for anything else."""
    return _MAGIC.get(bytes(data[:4]))


def first_directory(data: Bytes) -> Directory:
    """Read the first directory of a TIFF; empty where there is none."""
    return next(directories(data), {})


def first_directory_tag(data: Bytes, tag: int) -> bytes | None:
    """Bytes of a tag in the first directory of a TIFF; None when it is not there."""
    entry = first_directory(data).get(tag)
    if entry is None:
        return None
    kind, count, at = entry
    return data[at : at + count * _SIZES[kind]]


def child(data: Bytes, order: str, entry: Entry | None) -> Directory:
    """Read the directory that a tag points at; empty where there is none."""
    pointers = integers(data, order, entry)
    return directory_at(data, order, pointers[0]) if pointers else {}


def directory_at(data: Bytes, order: str, at: int) -> Directory:
    """Read the directory at that byte; empty where it runs beyond the end or past all sense."""
    head = data[at : at + 2] if at > 0 else b""
    if len(head) < 2:
        return {}
    (count,) = struct.unpack(order + "H", head)
    entries = data[at + 2 : at + 2 + 12 * count]
    if count > _MOST_ENTRIES or len(entries) < 12 * count:
        return {}
    directory: Directory = {}
    for index in range(count):
        tag, kind, number, where = struct.unpack_from(order + "HHII", entries, 12 * index)
        size = _SIZES.get(kind, 0) * number
        if size:
            directory[tag] = (kind, number, where if size > 4 else at + 2 + 12 * index + 8)
    return directory


def value_of(data: Bytes, order: str, entry: Entry, most_bytes: int) -> Field | None:
    """Read a tag's values, little-endian whatever the file's byte order.

    Parameters
    ----------
    data : Bytes
    order : str
    entry : (type, count, position)
    most_bytes : int
        A larger one is not read.

    Returns
    -------
    Field or None
        None when it is too large, or lies beyond the end of the data.
    """
    kind, count, at = entry
    size = _SIZES[kind] * count
    if size > most_bytes or at + size > len(data):
        return None
    value = data[at : at + size]
    word = _WORDS.get(kind, 1)
    if order == ">" and word > 1:
        turned = bytearray(size)
        for place in range(word):
            turned[place::word] = value[word - 1 - place :: word]
        value = bytes(turned)
    return Kind.LONG if kind == _IFD_KIND else Kind(kind), count, value


def cut_short(data: Bytes) -> bool:
    """Whether a TIFF's largest picture, or all its directories, lie beyond the end of the data.

    The largest alone: a preview that points nowhere harms nobody.
    """
    if byte_order(data) is None:
        return False
    ends = [start + size for start, size in largest_picture(data)]
    return not any(True for _ in directories(data)) or max(ends, default=0) > len(data) + _SLACK


def largest_picture(data: Bytes) -> list[tuple[int, int]]:
    """Find the strips or tiles of a TIFF's largest picture: first byte and bytes of each."""
    order = byte_order(data)
    found: list[tuple[int, int]] = []
    largest = 0
    for directory in directories(data):
        for starts_tag, counts_tag in zip(_OFFSETS, _COUNTS, strict=True):
            starts = integers(data, order or "<", directory.get(starts_tag))
            counts = integers(data, order or "<", directory.get(counts_tag))
            if starts and counts and sum(counts) > largest and max(starts) < _ELSEWHERE:
                largest = sum(counts)
                found = list(zip(starts, counts, strict=False))
    return found


def directories(data: Bytes) -> Iterator[Directory]:
    """Walk the chain of directories and their sub-directories, each once, damage or no damage."""
    order = byte_order(data)
    if order is None or len(data) < 8:
        return
    waiting = deque([struct.unpack(order + "I", data[4:8])[0]])
    done: set[int] = set()
    while waiting and len(done) < _MOST_DIRECTORIES:
        at = waiting.popleft()
        if at in done:
            continue
        done.add(at)
        directory = directory_at(data, order, at)
        if not directory:
            continue
        yield directory
        waiting.extend(integers(data, order, directory.get(_SUB_IFDS))[:_MOST_DIRECTORIES])
        (count,) = struct.unpack(order + "H", data[at : at + 2])
        following = data[at + 2 + 12 * count : at + 6 + 12 * count]
        if len(following) == 4:
            waiting.append(struct.unpack(order + "I", following)[0])


def integers(data: Bytes, order: str, entry: Entry | None) -> list[int]:
    """Read a tag's whole numbers; none where it has none or lies beyond the end."""
    if entry is None:
        return []
    kind, count, at = entry
    letter = {1: "B", 3: "H", 4: "I", _IFD_KIND: "I"}.get(kind)
    if letter is None or count > _MOST_VALUES or at + count * _SIZES[kind] > len(data):
        return []
    return list(struct.unpack(f"{order}{count}{letter}", data[at : at + count * _SIZES[kind]]))
