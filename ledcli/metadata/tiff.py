"""Writing TIFF: directories with sub-directories, strips or tiles, classic, little endian."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction

from ledcli.errors import OutputError

_LARGEST = 2**32 - 1
"""Bytes; classic TIFF counts them in 32 bits."""
STRIP_OFFSETS, STRIP_BYTE_COUNTS = 273, 279
TILE_OFFSETS, TILE_BYTE_COUNTS = 324, 325


class Kind(IntEnum):
    """TIFF field types."""

    BYTE = 1
    ASCII = 2
    SHORT = 3
    LONG = 4
    RATIONAL = 5
    SBYTE = 6
    UNDEFINED = 7
    SSHORT = 8
    SLONG = 9
    SRATIONAL = 10
    FLOAT = 11
    DOUBLE = 12


_LETTER = {Kind.SHORT: "H", Kind.LONG: "I"}

Blob = bytes | bytearray | memoryview
Field = tuple[Kind, int, bytes]
"""Type, number of values, and the values as little-endian bytes."""


def rational(value: float, limit: int = 10**9) -> Fraction:
    """Round to the simplest fraction that a RATIONAL holds; 1/60 s stays 1/60.

    Parameters
    ----------
    value : float
        Often a 32-bit one, so the fraction is sought to 1 part in 10 million.
    limit : int
        Largest denominator.

    Returns
    -------
    Fraction
    """
    exact = Fraction(value)
    largest = 1
    fraction = Fraction(0)
    while largest <= limit:
        fraction = exact.limit_denominator(largest)
        if abs(fraction - exact) <= abs(exact) / 10**7:
            break
        largest *= 10
    return fraction


@dataclass
class Directory:
    """One image file directory, filled field by field and written by `serialise`.

    Attributes
    ----------
    fields : dict
        Tag to (type, count, bytes).
    children : dict
        Tag to the directories it points at.
    strips : list of bytes
        The picture, if the directory has one.
    tiled : bool
        Whether those strips are tiles.
    """

    fields: dict[int, Field] = field(default_factory=dict)
    children: dict[int, list["Directory"]] = field(default_factory=dict)
    strips: list[Blob] = field(default_factory=list)
    tiled: bool = False

    def integers(self, tag: int, kind: Kind, values: int | Sequence[int]) -> None:
        """Set a tag of whole numbers: BYTE, SHORT or LONG."""
        numbers = [values] if isinstance(values, int) else list(values)
        letter = _LETTER.get(kind, "B")
        self.fields[tag] = (kind, len(numbers), struct.pack(f"<{len(numbers)}{letter}", *numbers))

    def rationals(self, tag: int, values: Iterable[Fraction], signed: bool = False) -> None:
        """Set a tag of fractions."""
        parts = [part for value in values for part in (value.numerator, value.denominator)]
        kind = Kind.SRATIONAL if signed else Kind.RATIONAL
        letter = "i" if signed else "I"
        self.fields[tag] = (kind, len(parts) // 2, struct.pack(f"<{len(parts)}{letter}", *parts))

    def text(self, tag: int, value: str | None) -> None:
        """Set a text tag; nothing when there is no text."""
        if value:
            data = value.replace("\0", "").encode("utf-8", "replace") + b"\0"
            self.fields[tag] = (Kind.ASCII, len(data), data)

    def raw(self, tag: int, kind: Kind, data: bytes) -> None:
        """Set a tag of bytes: BYTE or UNDEFINED."""
        self.fields[tag] = (kind, len(data), data)


def serialise(root: Directory) -> bytes:
    """Lay out a TIFF: header, directories with their values, then the pictures.

    Parameters
    ----------
    root : Directory
        Fields for children and strips are made here.

    Returns
    -------
    bytes

    Raises
    ------
    OutputError
        More than 4 GB.
    """
    every: list[Directory] = []
    _collect(root, every)
    starts: list[int] = []
    position = 8
    for directory in every:
        starts.append(position)
        position += _room(directory)
    strip_starts: list[list[int]] = []
    for directory in every:
        row = []
        for strip in directory.strips:
            row.append(position)
            position += memoryview(strip).nbytes + memoryview(strip).nbytes % 2
        strip_starts.append(row)
    if position > _LARGEST:
        raise OutputError("the picture is larger than the 4 GB that a TIFF or DNG can hold")
    where = {id(directory): start for directory, start in zip(every, starts, strict=True)}
    parts: list[Blob] = [struct.pack("<2sHI", b"II", 42, starts[0])]
    for directory, start, row in zip(every, starts, strip_starts, strict=True):
        parts.append(_directory_bytes(directory, start, row, where))
    for directory in every:
        for strip in directory.strips:
            parts.append(strip)
            if memoryview(strip).nbytes % 2:
                parts.append(b"\0")
    return b"".join(parts)


def _collect(directory: Directory, every: list[Directory]) -> None:
    every.append(directory)
    for tag in sorted(directory.children):
        for child in directory.children[tag]:
            _collect(child, every)


def _value_sizes(directory: Directory) -> list[int]:
    """Bytes of each field's value; those of pointers and strips are known before their content."""
    sizes = [len(data) for _, _, data in directory.fields.values()]
    sizes += [4 * len(children) for children in directory.children.values()]
    if directory.strips:
        sizes += [4 * len(directory.strips)] * 2
    return sizes


def _room(directory: Directory) -> int:
    sizes = _value_sizes(directory)
    return 2 + 12 * len(sizes) + 4 + sum(size + size % 2 for size in sizes if size > 4)


def _directory_bytes(
    directory: Directory, start: int, strip_starts: list[int], where: dict[int, int]
) -> bytes:
    fields = dict(directory.fields)
    for tag, children in directory.children.items():
        pointers = [where[id(child)] for child in children]
        fields[tag] = (Kind.LONG, len(pointers), struct.pack(f"<{len(pointers)}I", *pointers))
    if strip_starts:
        count = len(strip_starts)
        sizes = [memoryview(strip).nbytes for strip in directory.strips]
        where_tag, size_tag = (
            (TILE_OFFSETS, TILE_BYTE_COUNTS)
            if directory.tiled
            else (STRIP_OFFSETS, STRIP_BYTE_COUNTS)
        )
        fields[where_tag] = (Kind.LONG, count, struct.pack(f"<{count}I", *strip_starts))
        fields[size_tag] = (Kind.LONG, count, struct.pack(f"<{count}I", *sizes))
    entries, values = [struct.pack("<H", len(fields))], []
    position = start + 2 + 12 * len(fields) + 4
    for tag in sorted(fields):
        kind, count, data = fields[tag]
        if len(data) <= 4:
            entries.append(struct.pack("<HHI4s", tag, kind, count, data))
            continue
        entries.append(struct.pack("<HHII", tag, kind, count, position))
        padded = data + b"\0" * (len(data) % 2)
        values.append(padded)
        position += len(padded)
    return b"".join([*entries, b"\0\0\0\0", *values])
