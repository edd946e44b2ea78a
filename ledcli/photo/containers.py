"""Where raw files that are not plain TIFF keep their EXIF: CR3, RAF, MRW, and Canon's CIFF."""

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LARGEST_BLOCK = 16 << 20
"""Bytes; an EXIF block, preview included, is far smaller, and a damaged length is not believed."""
_CANON_UUID = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CIFF_MAKE_MODEL = 0x080A
_CIFF_KIND = 0x3800
_CIFF_FOLDERS = (0x2800, 0x3000)
_CIFF_IN_PLACE = 0x4000


def exif_blocks(path: Path) -> list[BinaryIO]:
    """Find the TIFF or JPEG blocks that hold a raw file's EXIF tags.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of binary files
        In memory; empty when the file is of no kind known here, or damaged.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(16)
            if head[4:12] == b"ftypcrx ":
                return [io.BytesIO(block) for block in _cr3(file)]
            if head.startswith(b"FUJIFILM"):
                return [io.BytesIO(block) for block in _raf(file)]
            if head.startswith(b"\0MRM"):
                return [io.BytesIO(block) for block in _mrw(file)]
    except (OSError, struct.error):
        pass
    return []


def ciff_make_model(path: Path) -> tuple[str, str] | None:
    """Make and model of a Canon CRW file, which has no EXIF; None for any other file."""
    try:
        with open(path, "rb") as file:
            head = file.read(14)
            if head[:2] != b"II" or head[6:14] != b"HEAPCCDR":
                return None
            (heap,) = struct.unpack_from("<I", head, 2)
            record = _ciff_find(file, heap, file.seek(0, io.SEEK_END), depth=0)
    except (OSError, struct.error):
        return None
    words = record.split(b"\0") if record else []
    if len(words) < 2:
        return None
    return words[0].decode("latin-1"), words[1].decode("latin-1")


def _ciff_find(file: BinaryIO, start: int, end: int, depth: int) -> bytes | None:
    """Look for the make-and-model record in the folder that fills bytes `start` to `end`."""
    if depth > 4 or end - start < 6:
        return None
    file.seek(end - 4)
    (table,) = struct.unpack("<I", file.read(4))
    file.seek(start + table)
    (count,) = struct.unpack("<H", file.read(2))
    entries = file.read(10 * min(count, 1000))
    for tag, size, offset in struct.iter_unpack("<HII", entries[: len(entries) // 10 * 10]):
        if tag & _CIFF_IN_PLACE:
            continue
        if tag == _CIFF_MAKE_MODEL:
            file.seek(start + offset)
            return file.read(min(size, 256))
        if tag & _CIFF_KIND in _CIFF_FOLDERS and start + offset + size < end:
            found = _ciff_find(file, start + offset, start + offset + size, depth + 1)
            if found:
                return found
    return None


def _cr3(file: BinaryIO) -> Iterator[bytes]:
    """Canon keeps one small TIFF per directory (IFD0, Exif, ...) in the boxes CMT1, CMT2."""
    size = file.seek(0, io.SEEK_END)
    for kind, start, end in _boxes(file, 0, size):
        if kind != b"moov":
            continue
        for inner, low, high in _boxes(file, start, end):
            file.seek(low)
            if inner != b"uuid" or file.read(16) != _CANON_UUID:
                continue
            for name, first, last in _boxes(file, low + 16, high):
                if name in (b"CMT1", b"CMT2") and last - first <= _LARGEST_BLOCK:
                    file.seek(first)
                    yield file.read(last - first)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk ISO media boxes: kind, first byte of the content, byte after it."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            header = 16
        elif size == 0:
            size = end - start
        if size < header:
            return
        yield kind, start + header, min(start + size, end)
        start += size


def _raf(file: BinaryIO) -> Iterator[bytes]:
    """Fujifilm keeps the EXIF in a JPEG preview, named at byte 84."""
    file.seek(84)
    offset, length = struct.unpack(">II", file.read(8))
    file.seek(offset)
    yield file.read(min(length, _LARGEST_BLOCK))


def _mrw(file: BinaryIO) -> Iterator[bytes]:
    """Minolta keeps a TIFF in the block TTW."""
    file.seek(4)
    (length,) = struct.unpack(">I", file.read(4))
    position, end = 8, 8 + length
    while position + 8 <= end:
        file.seek(position)
        name, size = struct.unpack(">4sI", file.read(8))
        if name == b"\0TTW":
            yield file.read(min(size, _LARGEST_BLOCK))
            return
        position += 8 + size
