"""Headers of TIFF-based raws, written entry by entry, as makers lay them out."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_TYPES = {"B": 1, "s": 2, "H": 3, "I": 4, "R": 5, "U": 7, "h": 8, "i": 9}
"""`struct` letters and TIFF's types; R is a RATIONAL, s text, U undefined bytes."""
MAKE, MODEL, ORIENTATION, DATE = 271, 272, 274, 36867
STRIP_OFFSET, STRIP_BYTES, SUB_IFDS, EXIF = 273, 279, 330, 34665
MAKER_NOTE = 37500

Fields = Mapping[int, "tuple[str, Any] | Nested"]
"""Values by tag, each with its type."""


@dataclass(frozen=True)
class Nested:
    """A directory inside another: a tag points at it or, as `notes`, holds it.

    Maker notes may begin with a name; their offsets count from the file's first byte, as Canon's
    and Sony's do.
    """

    fields: Fields
    notes: bool = False
    name: bytes = b""


def shot(
    make: str, model: str, *, iso: int, time: Fraction, notes: "tuple[str, bytes] | Nested"
) -> tuple[dict[int, Any], Nested]:
    """Return the camera's tags for the first directory, and the Exif directory."""
    camera = {MAKE: ("s", make), MODEL: ("s", model), ORIENTATION: ("H", [1])}
    exif: dict[int, Any] = {
        33434: ("R", [time]),
        33437: ("R", [Fraction(28, 10)]),
        34855: ("H", [iso]),
        DATE: ("s", "2024:05:06 07:08:09"),
        37386: ("R", [Fraction(50)]),
        MAKER_NOTE: notes,
    }
    return camera, Nested(exif)


def tiff(chain: Sequence[Fields], order: str = "<", magic: bytes = b"") -> bytes:
    """Return a TIFF's header and its chain of directories, each with the next one's offset.

    Parameters
    ----------
    chain : sequence of Fields
    order : str
        ``<`` for Intel, ``>`` for Motorola.
    magic : bytes
        What a maker puts between TIFF's eight bytes and the first directory.
    """
    position = 8 + len(magic)
    parts = [struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, position), magic]
    for number, fields in enumerate(chain):
        parts.append(directory(fields, position, order, number + 1 < len(chain)))
        position += len(parts[-1])
    return b"".join(parts)


def placed(header: Any, stream: bytes, align: int = 16) -> bytes:
    """Return a whole raw: `header(offset)` of the stream's own offset, then the stream."""
    start = -(-len(header(0)) // align) * align
    return header(start).ljust(start, b"\0") + stream


def directory(fields: Fields, start: int, order: str = "<", more: bool = False) -> bytes:
    """Return a directory with its values, to lie at byte `start`; `more` directories follow."""
    entries, values = [struct.pack(order + "H", len(fields))], []
    position = start + 2 + 12 * len(fields) + 4
    for tag, value in sorted(fields.items()):
        if isinstance(value, Nested):
            data = value.name + directory(value.fields, position + len(value.name), order)
            kind, count = (_TYPES["U"], len(data)) if value.notes else (_TYPES["I"], 1)
        else:
            kind, count, data = _packed(*value, order)
        if len(data) <= 4:
            entries.append(struct.pack(order + "HHI4s", tag, kind, count, data))
            continue
        entries.append(struct.pack(order + "HHII", tag, kind, count, position))
        values.append(data + b"\0" * (len(data) % 2))
        position += len(values[-1])
    entries.append(struct.pack(order + "I", position if more else 0))
    return b"".join([*entries, *values])


def _packed(letter: str, value: Any, order: str) -> tuple[int, int, bytes]:
    """Return a value's type, count and bytes."""
    if letter == "s":
        value = value.encode() + b"\0"
    if letter in "sU":
        return _TYPES[letter], len(value), value
    if letter == "R":
        words = [word for number in value for word in Fraction(number).as_integer_ratio()]
        return _TYPES[letter], len(value), struct.pack(f"{order}{len(words)}I", *words)
    return _TYPES[letter], len(value), struct.pack(f"{order}{len(value)}{letter}", *value)
