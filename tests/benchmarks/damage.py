"""Raws that are damaged as cards, copies and disks do it, or made to cost memory, time or life."""

import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.shoot import make_raw

HEADER = 4096
"""Bytes in which most of what describes a raw lies."""
_EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000)


def cut(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Cut the end off: near the end, in the middle, in the header."""
    end = draw.choice([draw.randrange(len(data)), draw.randrange(HEADER), len(data) - 1])
    return data[:end]


def flip(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Flip 1 to 64 bits, in the header or anywhere."""
    reach = draw.choice([min(HEADER, len(data)), len(data)])
    for _ in range(2 ** draw.randrange(7)):
        data[draw.randrange(reach)] ^= 1 << draw.randrange(8)
    return data


def swap(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Put the first bytes of another raw before the rest of this one."""
    size = 2 ** draw.randrange(3, 13)
    return bytearray(draw.choice(others)[:size]) + data[size:]


def number(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Overwrite numbers of the header with very large and very small ones."""
    for _ in range(draw.choice([1, 4])):
        at = 2 * draw.randrange(4, min(HEADER, len(data)) // 2 - 2)
        struct.pack_into("<I", data, at, draw.choice(_EXTREMES))
    return data


def blank(data: bytearray, others: Sequence[bytes], draw: random.Random) -> bytearray:
    """Blank a block, as a card's lost sector."""
    size = 512 * 2 ** draw.randrange(8)
    at = draw.randrange(0, len(data), 512)
    data[at : at + size] = bytes(len(data[at : at + size]))
    return data


Damage = Callable[[bytearray, Sequence[bytes], random.Random], bytearray]
KINDS: dict[str, Damage] = {
    "truncations": cut,
    "bit flips": flip,
    "swapped headers": swap,
    "numbers in the header": number,
    "lost blocks": blank,
}


def variants(
    originals: Sequence[Path], folder: Path, count: int, draw: random.Random
) -> list[Path]:
    """Write damaged variants of files, as many of each file and each kind; return them."""
    folder.mkdir(parents=True)
    contents = [path.read_bytes() for path in originals]
    kinds = list(KINDS)
    made = []
    for index in range(count):
        which = index % len(originals)
        kind = kinds[index // len(originals) % len(kinds)]
        others = [data for place, data in enumerate(contents) if place != which]
        data = KINDS[kind](bytearray(contents[which]), others, draw)
        name = f"{index:03d}-{kind.replace(' ', '-')}-{originals[which].name}"
        (folder / name).write_bytes(data)
        made.append(folder / name)
    return made


Fields = dict[int, tuple[int, int, bytes]]
_SHORT, _LONG = 3, 4
_SIDE = 100_000
_XMP, _EXIF, _GPS, _SUB = 700, 34665, 34853, 330
_BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&i;</x:xmpmeta>"
)


def hostile(folder: Path) -> list[Path]:
    """Write one of each into a folder; return them."""
    folder.mkdir(parents=True)
    made = []
    for name, spoil in _SPOILT.items():
        path = folder / f"{name}.dng"
        make_raw(path, shape=(400, 600))
        path.write_bytes(spoil(bytearray(path.read_bytes())))
        made.append(path)
    return made


def _fields(data: bytearray) -> dict[int, int]:
    """Return where the entry of each tag of the first directory lies."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    places = (start + 2 + 12 * index for index in range(count))
    return {struct.unpack_from("<H", data, place)[0]: place for place in places}


def _set(data: bytearray, tag: int, kind: int, count: int, value: int) -> None:
    struct.pack_into("<HHII", data, _fields(data)[tag], tag, kind, count, value)


def _add(data: bytearray, entries: Fields) -> bytearray:
    """Write the first directory anew at the end, with more entries."""
    places = _fields(data)
    known = {tag: bytes(data[place : place + 12]) for tag, place in places.items()}
    for tag, (kind, count, value) in entries.items():
        if len(value) > 4:
            data += bytes(len(data) % 2)
            known[tag] = struct.pack("<HHII", tag, kind, count, len(data))
            data += value
        else:
            known[tag] = struct.pack("<HHI4s", tag, kind, count, value)
    data += bytes(len(data) % 2)
    start = len(data)
    data += struct.pack("<H", len(known)) + b"".join(known[tag] for tag in sorted(known)) + bytes(4)
    struct.pack_into("<I", data, 4, start)
    return data


def _wide(data: bytearray) -> bytearray:
    for tag in (256, 257, 278):
        _set(data, tag, _LONG, 1, _SIDE)
    return data


def _wide_and_whole(data: bytearray) -> bytearray:
    """It says that its picture takes all the bytes that a TIFF can hold."""
    data = _wide(data)
    _set(data, 279, _LONG, 1, 0xFFFFFFF0)
    return data


def _compressed(data: bytearray) -> bytearray:
    """100,000 x 100,000 pixels of a lossless JPEG of a few bytes."""
    data = _wide(data)
    _set(data, 259, _SHORT, 1, 7)
    start = struct.unpack_from("<I", data, _fields(data)[273] + 8)[0]
    frame = struct.pack(">HHBHHBBBB", 0xFFC3, 11, 16, 65535, 65535, 1, 1, 0x11, 0)
    data[start : start + 2 + len(frame)] = b"\xff\xd8" + frame
    return data


def _next_is_itself(data: bytearray) -> bytearray:
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    struct.pack_into("<I", data, start + 2 + 12 * count, start)
    return data


def _points_at_itself(*tags: int) -> Callable[[bytearray], bytearray]:
    def spoil(data: bytearray) -> bytearray:
        data = _add(data, {tag: (_LONG, 1, bytes(4)) for tag in tags})
        for tag in tags:
            _set(data, tag, _LONG, 1, struct.unpack_from("<I", data, 4)[0])
        return data

    return spoil


def _many_directories(data: bytearray) -> bytearray:
    """A chain of 50,000 directories, each with an Exif directory that is the first one."""
    first = struct.unpack_from("<I", data, 4)[0]
    data += bytes(len(data) % 2)
    count = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * count, len(data))
    for _ in range(50_000):
        after = len(data) + 2 + 12 + 4
        data += struct.pack("<HHHIII", 1, _EXIF, _LONG, 1, first, after)
    struct.pack_into("<I", data, len(data) - 4, 0)
    return data


def _many_children(data: bytearray) -> bytearray:
    """100,000 pointers to directories, all to the one that they are in."""
    data = _add(data, {_SUB: (_LONG, 100_000, bytes(400_000))})
    start, at = struct.unpack_from("<I", data, 4)[0], _fields(data)[_SUB]
    values = struct.unpack_from("<I", data, at + 8)[0]
    data[values : values + 400_000] = struct.pack("<I", start) * 100_000
    return data


def _countless(data: bytearray) -> bytearray:
    """Tags of four thousand million values each."""
    data = _add(data, {_EXIF: (_LONG, 1, bytes(4)), 50721: (10, 9, bytes(72))})
    for tag in (271, 272, 50714, 50721, 33422, 50728):
        if tag in _fields(data):
            kind = struct.unpack_from("<H", data, _fields(data)[tag] + 2)[0]
            _set(data, tag, kind, 0xFFFFFFFF, 8)
    return data


def _bomb(data: bytearray) -> bytearray:
    """XMP that grows to 1,000 million letters for who expands it."""
    return _add(data, {_XMP: (1, len(_BOMB), _BOMB.encode())})


def _deep(data: bytearray) -> bytearray:
    """XMP of 200,000 elements inside each other."""
    text = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>" + b"<a>" * 200_000 + b"</a>" * 200_000
    return _add(data, {_XMP: (1, len(text) + 14, text + b"</x:xmpmeta>\n ")})


def _nonsense_numbers(data: bytearray) -> bytearray:
    """Fractions over zero, in every tag of fractions there is."""
    for place in _fields(data).values():
        _, kind, count, value = struct.unpack_from("<HHII", data, place)
        if kind in (5, 10):
            data[value : value + 8 * count] = (
                np.tile([0xFFFFFFFF, 0], count).astype("<u4").tobytes()
            )
    return data


_SPOILT: dict[str, Callable[[bytearray], bytearray]] = {
    "wide": _wide,
    "wide-and-whole": _wide_and_whole,
    "wide-and-compressed": _compressed,
    "next-directory-is-itself": _next_is_itself,
    "exif-is-itself": _points_at_itself(_EXIF),
    "everything-is-itself": _points_at_itself(_EXIF, _GPS, _SUB),
    "many-directories": _many_directories,
    "many-children": _many_children,
    "countless-values": _countless,
    "xmp-bomb": _bomb,
    "xmp-deep": _deep,
    "fractions-over-zero": _nonsense_numbers,
}
