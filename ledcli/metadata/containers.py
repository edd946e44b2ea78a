"""Where raw files keep their tags and images: TIFF, CR3, RAF, MRW, JPEG, PNG and Canon's CIFF."""

import contextlib
import errno
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from ledcli.metadata.tiff import STRIPS, TILES, Bytes, Directory, byte_order

_BUFFER_BYTES = 1 << 14
"""Directories and their values lie close together."""
_MAX_BLOCK_BYTES = 16 << 20
"""An EXIF block, preview included, is far smaller; a larger length is damage."""
_MAX_PARTS = 1000
"""Boxes, segments, blocks or chunks that are read one after the other."""
_STRIP_SLACK_BYTES = 512
"""Some writers round the size of the last strip up."""
_SUBFILE_TYPE = 254
"""NewSubfileType; bit 0 marks a preview."""
_PANASONIC_OFFSET = 2**32 - 1
"""Panasonic's StripOffsets; a tag of its own has the real one."""
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_JPEG = b"\xff\xd8\xff"
_APP1, _START_OF_SCAN = 0xE1, 0xDA
_JPEG_EXIF, _JPEG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_PANASONIC_JPEG = 46
"""JpgFromRaw: the preview in an RW2, which alone has the maker notes."""
_PNG = b"\x89PNG\r\n\x1a\n"
_CRW_MAKE_MODEL, _CRW_SERIAL = 0x080A, 0x180B
_CRW_KIND, _CRW_FOLDERS, _CRW_IN_PLACE = 0x3800, (0x2800, 0x3000), 0x4000


class FileBytes(contextlib.AbstractContextManager["FileBytes"]):
    """Random access to a regular file without reading all of it.

    Opening and slicing raise OSError.
    """

    def __init__(self, path: Path) -> None:
        # Opening a FIFO would block until its other end is opened.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        self._file = open(path, "rb", buffering=_BUFFER_BYTES)  # noqa: SIM115
        self._size = os.fstat(self._file.fileno()).st_size

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(start)
        found = self._file.read(max(stop - start, 0))
        if len(found) < stop - start:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        return found


def truncated(data: Bytes) -> bool | None:
    """Return True if the raw image has more bytes than the file, or a part lies beyond its end.

    None if the kind of file does not tell how long it should be.
    """
    try:
        end = _end_of_image(data)
    except struct.error:
        return True
    return None if end is None else end > len(data) + _STRIP_SLACK_BYTES


def _end_of_image(data: Bytes) -> float | None:
    """Return the byte after the raw image; struct.error if what should tell is cut off."""
    if byte_order(data) is not None:
        return _end_of_tiff(data)
    if is_crw(data):
        # A table ends the file.
        start = sum(struct.unpack("<I", data[2:6]) + struct.unpack("<I", data[-4:]))
        (count,) = struct.unpack("<H", data[start : start + 2])
        return start + 2 + 10 * count if count else math.inf
    if data[:8] == b"FUJIFILM":
        sections = struct.unpack(">6I", data[84:108])
        return max(map(sum, zip(sections[::2], sections[1::2], strict=True)))
    if data[4:12] == b"ftypcrx ":
        boxes = {kind: end for kind, _, end in _boxes(data, 0, len(data))}
        return boxes.get(b"mdat", math.inf)
    return None


def _end_of_tiff(data: Bytes) -> float | None:
    directories = list(Directory.walk(data))
    # Only the largest image: a preview that points nowhere does no harm.
    image, reduced = _largest_image(directories)
    following = [each for directory in directories for each in directory.following()]
    if not directories or (reduced and not all(each.entries for each in following)):
        return math.inf
    # Tiles that are all in the same bytes would make a large image of a small file.
    total = sum(size for _, size in image)
    return max((total, *(start + size for start, size in image))) if image else None


def largest_image(data: Bytes) -> list[tuple[int, int]]:
    """Find the strips or tiles of a TIFF's largest image: position and bytes of each."""
    return _largest_image(Directory.walk(data))[0]


def _largest_image(directories: Iterable[Directory]) -> tuple[list[tuple[int, int]], bool]:
    """Find the largest image; also return whether it is a preview, or there is none."""
    found: list[tuple[int, int]] = []
    largest, reduced = 0, True
    for directory in directories:
        for offsets, counts in (map(directory.integers, tags) for tags in (STRIPS, TILES)):
            if offsets and sum(counts) > largest and max(offsets) < _PANASONIC_OFFSET:
                largest = sum(counts)
                found = list(zip(offsets, counts, strict=False))
                reduced = sum(directory.integers(_SUBFILE_TYPE)) & 1 == 1
    return found, reduced


class Holds(Enum):
    """What a part of a raw file holds."""

    ALL = "a TIFF with a first directory and what hangs on it"
    EXIF = "a TIFF whose first directory is the Exif directory"
    GPS = "a TIFF whose first directory is the GPS directory"
    XMP = "an XMP packet"
    NOTES = "maker notes"


class Part(NamedTuple):
    """A part of a raw file that holds tags."""

    holds: Holds
    data: Bytes


def parts(data: Bytes) -> Iterator[Part]:
    """Find the parts of a raw file that hold tags, the most trusted first.

    None for unknown kinds of files; damage ends the search.
    """
    with contextlib.suppress(struct.error):
        head = data[:16]
        if head[4:12] == b"ftypcrx ":
            yield from _cr3(data)
        elif head.startswith(b"FUJIFILM"):
            # A JPEG preview, named at byte 84, has all tags.
            offset, length = struct.unpack(">II", data[84:92])
            yield from _jpeg(_block(data, offset, length))
        elif head.startswith(b"\0MRM"):
            yield from _mrw(data)
        elif head.startswith(_JPEG):
            yield from _jpeg(data)
        elif byte_order(data) is not None:
            yield Part(Holds.ALL, data)
            preview = Directory.first(data).entries.get(_PANASONIC_JPEG)
            if preview is not None and head.startswith(b"IIU\0"):
                yield from _jpeg(_block(data, preview.position, preview.count))


def crw_camera(data: Bytes) -> tuple[str, str, str | None] | None:
    """Return make, model and serial number from a Canon CRW, which has no EXIF; else None.

    The serial number is spelled as Canon does; a PowerShot has another number in its place
    (exiftool's CanonRaw tags), so it has none here.
    """
    names = (_crw_record(data, _CRW_MAKE_MODEL) or b"").split(b"\0")
    if len(names) < 2:
        return None
    make, model = names[0].decode("latin-1"), names[1].decode("latin-1")
    record = _crw_record(data, _CRW_SERIAL) or b""
    number = struct.unpack_from("<I", record)[0] if len(record) >= 4 else 0
    if not number or "EOS" not in model.split():
        return make, model, None
    # The D30's has a hexadecimal half and a decimal one.
    d30 = "D30" in model.split()
    return make, model, f"{number >> 16:x}-{number & 0xFFFF:05}" if d30 else f"{number:010}"


def is_crw(data: Bytes) -> bool:
    """Return True if the file is a Canon CRW."""
    return data[:2] == b"II" and data[6:14] == b"HEAPCCDR"


def png_text(data: Bytes, keyword: str) -> bytes | None:
    """Return the UTF-8 text of a PNG's iTXt chunk with a keyword; None without one."""
    start = keyword.encode("latin-1") + b"\0"
    if data[: len(_PNG)] != _PNG:
        return None
    for kind, at, size in _chunks(data, len(_PNG), len(data), trailer=4):
        if kind == b"iTXt" and data[at : at + len(start)] == start:
            # What follows the keyword: PNG specification, 11.3.3.4.
            chunk = _block(data, at, size)[len(start) :]
            fields = chunk[2:].split(b"\0", 2)
            with contextlib.suppress(zlib.error, ValueError):
                _, _, text = fields
                inflate = zlib.decompressobj().decompress
                return inflate(text, _MAX_BLOCK_BYTES) if chunk[0] else text
            return None
    return None


def _block(data: Bytes, at: int, size: int) -> bytes:
    return data[at : at + min(size, _MAX_BLOCK_BYTES)]


def _chunks(
    data: Bytes, at: int, end: int, kind_first: bool = False, trailer: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """Walk chunks that begin with their size and kind: kind, position and size of the content."""
    for _ in range(_MAX_PARTS):
        head = data[at : at + 8]
        if len(head) < 8 or at + 8 > end:
            return
        kind, size = (head[:4], head[4:]) if kind_first else (head[4:], head[:4])
        count = int.from_bytes(size)
        yield kind, at + 8, count
        at += 8 + count + trailer


def _jpeg(data: Bytes) -> Iterator[Part]:
    """Walk the segments of a JPEG before its image."""
    at = 2
    for _ in range(_MAX_PARTS):
        mark, kind, size = struct.unpack(">BBH", data[at : at + 4])
        if mark != 0xFF or kind == _START_OF_SCAN or size < 2:
            return
        if kind == _APP1:
            segment = data[at + 4 : at + 2 + size]
            if segment.startswith(_JPEG_EXIF):
                yield Part(Holds.ALL, segment[len(_JPEG_EXIF) :])
            elif segment.startswith(_JPEG_XMP):
                yield Part(Holds.XMP, segment[len(_JPEG_XMP) :])
        at += 2 + size


def _cr3(data: Bytes) -> Iterator[Part]:
    """Read Canon's boxes CMT1 (first directory) to CMT4: one small TIFF per directory."""
    holds = {b"CMT1": Holds.ALL, b"CMT2": Holds.EXIF, b"CMT3": Holds.NOTES, b"CMT4": Holds.GPS}
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"uuid" and data[start : start + 16] == _XMP_UUID:
            yield Part(Holds.XMP, _block(data, start + 16, end - start - 16))
        if kind != b"moov":
            continue
        for inner, low, high in _boxes(data, start, end):
            if inner != b"uuid" or data[low : low + 16] != _CANON_UUID:
                continue
            for name, first, last in _boxes(data, low + 16, high):
                if name in holds and last - first <= _MAX_BLOCK_BYTES:
                    yield Part(holds[name], data[first:last])


def _boxes(data: Bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk ISO media boxes: kind, first byte of the content, byte after it."""
    for _ in range(_MAX_PARTS):
        if start + 8 > end:
            return
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        header = 16 if size == 1 else 8
        if size == 1:
            (size,) = struct.unpack(">Q", data[start + 8 : start + 16])
        elif size == 0:
            size = end - start
        if size < header:
            return
        yield kind, start + header, start + size
        start += size


def _mrw(data: Bytes) -> Iterator[Part]:
    """Read Minolta's block TTW, which is a TIFF."""
    (length,) = struct.unpack(">I", data[4:8])
    for name, at, size in _chunks(data, 8, 8 + length, kind_first=True):
        if name == b"\0TTW":
            yield Part(Holds.ALL, _block(data, at, size))
            return


def _crw_record(data: Bytes, wanted: int) -> bytes | None:
    if is_crw(data):
        with contextlib.suppress(struct.error):
            (heap,) = struct.unpack_from("<I", data[:14], 2)
            return _crw_find(data, heap, len(data), wanted, depth=0)
    return None


def _crw_find(data: Bytes, start: int, end: int, wanted: int, depth: int) -> bytes | None:
    """Search the folder in bytes `start` to `end` for a record."""
    if depth > 4 or end - start < 6:
        return None
    (table,) = struct.unpack("<I", data[end - 4 : end])
    at = start + table
    (count,) = struct.unpack("<H", data[at : at + 2])
    entries = data[at + 2 : at + 2 + 10 * min(count, _MAX_PARTS)]
    for tag, size, offset in struct.iter_unpack("<HII", entries[: len(entries) // 10 * 10]):
        if tag & _CRW_IN_PLACE:
            if tag == wanted | _CRW_IN_PLACE:
                return struct.pack("<II", size, offset)
            continue
        if tag == wanted:
            return data[start + offset : start + offset + min(size, 256)]
        if tag & _CRW_KIND in _CRW_FOLDERS and start + offset + size < end:
            found = _crw_find(data, start + offset, start + offset + size, wanted, depth + 1)
            if found:
                return found
    return None
