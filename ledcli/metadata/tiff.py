"""TIFF directories: one class that reads (either byte order) and writes them (little-endian)."""

import struct
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from fractions import Fraction
from typing import Protocol

from ledcli.errors import OutputError

STRIPS, TILES = (273, 279), (324, 325)
"""Tags with the offsets and the byte counts of an image's parts."""
SUB_IFDS = 330
MAX_VALUE_BYTES = 4 << 20
"""Larger values are not read; lists of strip offsets and of opcodes are the largest real ones."""
_MAX_ENTRIES, _MAX_DIRECTORIES = 1000, 64
_MAX_FILE_BYTES = 2**32 - 1
"""Classic TIFF has 32-bit offsets."""
_MAGIC = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
"""First four bytes of TIFF and of Olympus' and Panasonic's variants."""


class FieldType(IntEnum):
    """Type of a field (TIFF 6.0, section 2; IFD is of TIFF technical note 1)."""

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
    IFD = 13

    @property
    def letter(self) -> str:
        """`struct` letter of one word; the byte order applies to words."""
        return "BcHIIbchiifdI"[self - 1]

    @property
    def words(self) -> int:
        """Words per value: two for fractions."""
        return 2 if self in (FieldType.RATIONAL, FieldType.SRATIONAL) else 1

    @property
    def size(self) -> int:
        """Bytes per value."""
        return self.words * struct.calcsize(self.letter)


_TYPES = {int(kind): kind for kind in FieldType}
Number = int | float | Fraction
Blob = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Field:
    """Values of a tag; `data` holds them little-endian."""

    type: FieldType
    data: bytes

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.data) // self.type.size

    @classmethod
    def of_words(cls, kind: FieldType, words: Sequence[Number]) -> "Field":
        """Pack words (two per fraction); struct.error when one does not fit the type."""
        return cls(kind, struct.pack(f"<{len(words)}{kind.letter}", *words))

    def words(self) -> tuple[float, ...]:
        """Return the numbers as stored, a fraction as two; nothing for text and plain bytes."""
        kind = self.type
        if kind in (FieldType.ASCII, FieldType.UNDEFINED):
            return ()
        return struct.unpack(f"<{self.count * kind.words}{kind.letter}", self.data)

    def numbers(self) -> list[float]:
        """Return the numbers, fractions divided; nothing when a denominator is 0."""
        words = self.words()
        if self.type.words == 1:
            return list(words)
        pairs = list(zip(words[::2], words[1::2], strict=True))
        return [high / low for high, low in pairs] if all(low for _, low in pairs) else []


class Bytes(Protocol):
    """Random access to a file's content: `bytes`, or `containers.FileBytes`."""

    def __len__(self) -> int:
        """Return the number of bytes."""

    def __getitem__(self, part: slice, /) -> bytes:
        """Return a slice; empty beyond the end."""


def byte_order(data: Bytes) -> str | None:
    """Return a TIFF's byte order as struct writes it, ``<`` or ``>``; None for other files."""
    head = bytes(data[:4])
    if head not in _MAGIC:
        return None
    return "<" if head.startswith(b"II") else ">"


@dataclass(frozen=True)
class Entry:
    """A directory entry in a file; `position` is that of the first value's first byte."""

    type: FieldType
    count: int
    position: int


@dataclass
class Directory:
    """An image file directory (IFD), read from a file or made to be written by `serialise`.

    Reading never raises for damaged content: what cannot be read is not there.
    """

    fields: dict[int, Field] = field(default_factory=dict)
    children: dict[int, list["Directory"]] = field(default_factory=dict)
    """To be written: fields by tag, and the directories that a tag points at."""
    strips: list[Blob] = field(default_factory=list)
    tiled: bool = False
    """The image to be written, in tiles if `tiled`."""
    entries: Mapping[int, Entry] = field(default_factory=dict)
    """Entries by tag, where the directory was read from a file."""
    _source: Bytes = b""
    order: str = "<"
    """That file's byte order, as struct writes it."""
    _next: int = 0

    @classmethod
    def first(cls, data: Bytes) -> "Directory":
        """Read the first directory of a TIFF; empty if there is none."""
        return next(cls.walk(data), cls())

    @classmethod
    def walk(cls, data: Bytes) -> Iterator["Directory"]:
        """Yield the directories of a TIFF and their sub-directories, each once."""
        order = byte_order(data)
        if order is None or len(data) < 8:
            return
        waiting = deque([struct.unpack(order + "I", data[4:8])[0]])
        done: set[int] = set()
        while waiting and len(done) < _MAX_DIRECTORIES:
            position = waiting.popleft()
            if position in done:
                continue
            done.add(position)
            directory = cls._at(data, order, position)
            if directory.entries:
                yield directory
                waiting.extend(directory._pointers())

    @classmethod
    def _at(cls, data: Bytes, order: str, position: int) -> "Directory":
        head = data[position : position + 2] if position > 0 else b""
        (count,) = struct.unpack(order + "H", head) if len(head) == 2 else (0,)
        start, end = position + 2, position + 2 + 12 * count
        table = data[start:end]
        if count > _MAX_ENTRIES or len(table) < 12 * count:
            return cls()
        entries = {}
        for index, row in enumerate(struct.iter_unpack(order + "HHII", table)):
            tag, code, number, pointer = row
            kind = _TYPES.get(code)
            if kind and number:
                inline = kind.size * number <= 4
                entries[tag] = Entry(kind, number, start + 12 * index + 8 if inline else pointer)
        following = data[end : end + 4]
        next_one = struct.unpack(order + "I", following)[0] if len(following) == 4 else 0
        return cls(entries=entries, _source=data, order=order, _next=next_one)

    def _pointers(self) -> list[int]:
        return [*self.integers(SUB_IFDS)[:_MAX_DIRECTORIES], self._next]

    def following(self) -> list["Directory"]:
        """Read the sub-directories and the next one; empty ones where a pointer leads nowhere."""
        return [self._at(self._source, self.order, at) for at in self._pointers() if at]

    def child(self, tag: int) -> "Directory":
        """Read the directory that a tag points at; empty if there is none."""
        return self._at(self._source, self.order, next(iter(self.integers(tag)), 0))

    def stored(self, tag: int, max_bytes: int = MAX_VALUE_BYTES) -> bytes | None:
        """Read a tag's bytes as they are in the file; None if absent, larger, or cut off."""
        entry = self.entries.get(tag)
        if entry is None:
            return None
        size, position = entry.type.size * entry.count, entry.position
        if size > max_bytes or position + size > len(self._source):
            return None
        return self._source[position : position + size]

    def get(self, tag: int, max_bytes: int = MAX_VALUE_BYTES) -> Field | None:
        """Read a tag, little-endian whatever the file's byte order; None as for `stored`."""
        value = self.stored(tag, max_bytes)
        if value is None:
            return None
        kind = self.entries[tag].type
        word = struct.calcsize(kind.letter)
        if self.order == ">" and word > 1:
            value = b"".join(value[at : at + word][::-1] for at in range(0, len(value), word))
        return Field(FieldType.LONG if kind == FieldType.IFD else kind, value)

    def integers(self, tag: int) -> list[int]:
        """Read a tag of unsigned whole numbers; empty if there are none."""
        found = self.get(tag)
        if found is None or found.type not in (FieldType.BYTE, FieldType.SHORT, FieldType.LONG):
            return []
        return [int(word) for word in found.words()]

    def set(self, tag: int, kind: FieldType, values: Number | Sequence[Number] | bytes) -> None:
        """Set a tag to a number, to numbers, or to the values' little-endian bytes."""
        if isinstance(values, bytes):
            self.fields[tag] = Field(kind, values)
            return
        numbers = [values] if isinstance(values, Number) else [*values]
        if kind.words == 2:
            numbers = [word for value in numbers for word in Fraction(value).as_integer_ratio()]
        self.fields[tag] = Field.of_words(kind, numbers)

    def set_text(self, tag: int, value: str | None) -> None:
        """Set a text tag; does nothing if there is no text."""
        if value:
            data = value.replace("\0", "").encode("utf-8", "replace") + b"\0"
            self.set(tag, FieldType.ASCII, data)


def serialise(root: Directory) -> bytes:
    """Return a little-endian TIFF: header, directories with their values, then the images.

    The fields that point at children and strips are added here. Raises OutputError if the file
    would be larger than 4 GB.
    """
    directories = [*_tree(root)]
    starts: dict[int, int] = {}
    position = 8
    for directory in directories:
        starts[id(directory)] = position
        position += len(_packed(directory, position, {}, [0] * len(directory.strips)))
    strips: list[Blob] = []
    strip_starts: list[list[int]] = []
    for directory in directories:
        strip_starts.append([])
        for strip in directory.strips:
            strip_starts[-1].append(position)
            size = memoryview(strip).nbytes
            strips += [strip, b"\0" * (size % 2)]
            position += size + size % 2
    if position > _MAX_FILE_BYTES:
        raise OutputError("the image is larger than the 4 GB that a TIFF or DNG can hold")
    parts: list[Blob] = [struct.pack("<2sHI", b"II", 42, starts[id(root)])]
    for directory, offsets in zip(directories, strip_starts, strict=True):
        parts.append(_packed(directory, starts[id(directory)], starts, offsets))
    return b"".join(parts + strips)


def _tree(directory: Directory) -> Iterator[Directory]:
    yield directory
    for tag in sorted(directory.children):
        for child in directory.children[tag]:
            yield from _tree(child)


def _packed(
    directory: Directory, start: int, starts: Mapping[int, int], strip_starts: list[int]
) -> bytes:
    """Return a directory's bytes, values included; its length does not depend on the offsets."""
    whole = Directory(fields=dict(directory.fields))
    for tag, children in directory.children.items():
        whole.set(tag, FieldType.LONG, [starts.get(id(child), 0) for child in children])
    if directory.strips:
        offsets_tag, counts_tag = TILES if directory.tiled else STRIPS
        # `serialise` refuses larger ones once it knows the whole size.
        sizes = [min(memoryview(strip).nbytes, _MAX_FILE_BYTES) for strip in directory.strips]
        whole.set(offsets_tag, FieldType.LONG, strip_starts)
        whole.set(counts_tag, FieldType.LONG, sizes)
    entries, values = [struct.pack("<H", len(whole.fields))], []
    position = start + 2 + 12 * len(whole.fields) + 4
    for tag in sorted(whole.fields):
        value = whole.fields[tag]
        data = value.data
        if len(data) <= 4:
            entries.append(struct.pack("<HHI4s", tag, value.type, value.count, data))
            continue
        entries.append(struct.pack("<HHII", tag, value.type, value.count, position))
        values.append(data + b"\0" * (len(data) % 2))
        position += len(values[-1])
    return b"".join([*entries, bytes(4), *values])
