"""Nikon's NEF: Huffman-coded differences of indices into a linearisation curve.

The maker notes are a TIFF of their own. Their tag 0x0096 begins with two bytes that name the kind,
and four SHORTs: what the first two samples of the even and of the odd rows are predicted by. Every
other sample is predicted by the one two to the left. Six fixed codes exist, three each for 12 and
14 bits: lossless, lossy, and lossy after the split.

- ``F0``: lossless; indices are samples.
- ``D\x10``: lossy; a curve of one sample per index follows, coarser where light is brighter than
  its own shot noise, and so the indices are fewer than the samples.
- ``D\x20``: lossy; a curve of few points, to be interpolated, and at byte 562 the row from which on
  the third code is used, whose large differences lack their lowest bits ("split").
- ``D\x40``: as ``D\x20`` with a quarter of the indices.

White balance is in tag 0x000C (red, blue, 1, 1), black in 0x003D, always for 14 bits.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tests.makers.bits import Huffman, from_two_left, nearest, packed
from tests.makers.tiff import EXIF, STRIP_BYTES, STRIP_OFFSET, SUB_IFDS, Nested, placed, shot, tiff

_LOSSLESS = {
    12: Huffman((0, 1, 4, 2, 3, 1, 2), (5, 4, 6, 3, 7, 2, 8, 1, 9, 0, 10, 11, 12)),
    14: Huffman(
        (0, 1, 4, 2, 2, 3, 1, 2), (7, 6, 8, 5, 9, 4, 10, 3, 11, 12, 2, 0, 1, 13, 14)
    ),
}  # fmt: skip
_LOSSY = {
    12: Huffman((0, 1, 5, 1, 1, 1, 1, 1, 1, 1), (5, 4, 3, 6, 2, 7, 1, 0, 8, 9, 11, 10, 12)),
    14: Huffman(
        (0, 1, 4, 3, 1, 1, 1, 1, 1, 2), (5, 6, 4, 7, 8, 3, 9, 2, 1, 0, 10, 11, 12, 13, 14)
    ),
}  # fmt: skip
_SPLIT = {
    12: Huffman(
        (0, 1, 5, 1, 1, 1, 1, 1, 1, 2),
        (0x39, 0x5A, 0x38, 0x27, 0x16, 5, 4, 3, 2, 1, 0, 11, 12, 12),
    ),
    14: Huffman(
        (0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 2),
        (8, 0x5C, 0x4B, 0x3A, 0x29, 7, 6, 5, 4, 3, 2, 1, 0, 13, 14),
    ),
}
_POINTS, _SPLIT_AT = 257, 562
"""Points of an interpolated curve; where the row of the split is, in bytes."""
_NEF_COMPRESSED = 34713
KINDS = {"F0": 3, "D\x10": 1, "D\x20": 4, "D\x40": 4}
"""Beginnings of tag 0x0096, and what tag 0x0093 says of each: lossless, lossy type 1 and 2."""


@dataclass(frozen=True)
class Coded:
    """A NEF's image.

    Attributes
    ----------
    table : bytes
        Tag 0x0096, in the byte order asked for.
    stream : bytes
    decoded : uint16 array (H, W)
        What a decoder must make of them.
    """

    kind: str
    bits: int
    table: bytes
    stream: bytes
    decoded: NDArray[np.uint16]


def curve_of(kind: str, bits: int) -> NDArray[np.int64]:
    """Return the samples that the indices of a kind stand for.

    Linear to a quarter, then ever steeper, as is fit for shot noise, to white at three quarters.
    """
    size = 1 << bits
    if kind == "F0":
        return np.arange(size)
    indices = size // 4 if kind == "D\x40" else size
    step = 1 if kind == "D\x10" else indices // (_POINTS - 1)
    at = np.arange(0, indices + 1, step) / indices
    bend, end = (0.05, 0.75) if kind == "D\x40" else (0.25, 0.75)
    slope = indices / size
    steep = np.maximum(at - bend, 0)
    rest = (1 - slope * end) / (end - bend) ** 2
    points = np.minimum(slope * at + rest * steep**2, 1) * (size - 1)
    points = np.rint(points).astype(np.int64)
    whole, part = np.divmod(np.arange(indices), step)
    return (points[whole] * (step - part) + points[whole + 1] * part) // step


def encode(
    mosaic: NDArray[np.uint16], kind: str, *, bits: int = 14, split: int = 0, order: str = "<"
) -> Coded:
    """Encode samples (H, W) as a kind of NEF does.

    Parameters
    ----------
    kind : str
        Of `KINDS`.
    split : int
        First row coded after the split, of the two kinds that have one; 0 for none.
    """
    curve = curve_of(kind, bits)
    used = int((curve < curve[-1]).sum()) + 1
    indices = nearest(curve[:used], mosaic)
    start = np.array([[1 << (bits - 2), 1 << (bits - 2)]] * 2)
    first = np.concatenate([start, indices[:-2, :2]])
    rows = split or len(indices)
    code = (_LOSSLESS if kind == "F0" else _LOSSY)[bits]
    coded = [code.differences(from_two_left(indices[:rows], first[:rows]))]
    if rows < len(indices):
        coded.append(_after_split(indices, rows, bits))
    table = kind.encode() + struct.pack(f"{order}4H", *start.ravel())
    if kind == "F0":
        table += struct.pack(order + "H", 0)
    elif kind == "D\x10":
        table += struct.pack(f"{order}{used + 1}H", used, *curve[:used])
    else:
        step = len(curve) // (_POINTS - 1)
        points = np.append(curve[::step], curve[-1])
        table += struct.pack(f"{order}{_POINTS + 1}H", _POINTS, *points)
        table = table.ljust(_SPLIT_AT, b"\0") + struct.pack(order + "H", split)
    values, lengths = (np.concatenate(parts) for parts in zip(*coded, strict=True))
    decoded = curve[indices.clip(0, len(curve) - 1)].astype(np.uint16)
    return Coded(kind, bits, table, packed(values, lengths), decoded)


def _after_split(
    indices: NDArray[np.int64], split: int, bits: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Encode the rows from `split` on, and write into `indices` what a decoder gets.

    A leaf is the difference's number of bits, and times 16 that of its low bits left out. What is
    left out must not add up, so each sample is predicted by what the decoder has.
    """
    code = _SPLIT[bits]
    leaf_of = np.zeros(16, np.int64)
    for leaf in code.leaves:
        leaf_of[leaf & 15] = leaf
    height, width = indices.shape
    leaves, extra, sizes = (np.empty((height - split, width), np.int64) for _ in range(3))

    def code_one(wanted: NDArray[np.int64], before: NDArray[np.int64], place: object) -> None:
        difference = wanted - before
        size = np.ceil(np.log2(np.abs(difference) + 1)).astype(np.int64)
        leaf = leaf_of[size]
        left_out = leaf >> 4
        top = np.where(difference < 0, (1 << size) - (left_out == 0), 0)
        low = (difference + top) >> left_out
        # The highest bit is the sign.
        low = np.where(difference < 0, np.minimum(low, (1 << size >> left_out >> 1) - 1), low)
        got = (((low << 1) + 1) << left_out >> 1) - top
        leaves[place], extra[place], sizes[place] = leaf, low, size - left_out
        wanted[...] = before + np.where(size == 0, 0, got)

    for row in range(split, height):
        code_one(indices[row, :2], indices[row - 2, :2], (row - split, slice(0, 2)))
    for column in range(2, width):
        place = (slice(None), column)
        code_one(indices[split:, column], indices[split:, column - 2], place)
    return code.encode(
        leaves.ravel().astype(np.uint8),
        extra.ravel().astype(np.uint64),
        sizes.ravel().astype(np.uint64),
    )


def nef(
    coded: Coded,
    *,
    balance: Sequence[Fraction],
    black: Sequence[int] | None = None,
    order: str = "<",
    model: str = "NIKON D7100",
    cfa: Sequence[int] = (0, 1, 1, 2),
    iso: int = 800,
    time: Fraction = Fraction(1, 60),
) -> bytes:
    """Return a NEF.

    Parameters
    ----------
    balance : (red, blue)
        Multipliers, green is 1.
    black : four int or None
        Of R, G, G, B, for 14 bits; older cameras have none and cut at zero.
    cfa : four int
        Colours of the first two rows' first samples, 0 to 2 for R, G, B.
    """
    height, width = coded.decoded.shape
    own = {
        0x02: ("H", [0, iso]),
        0x0C: ("R", [*balance, 1, 1]),
        0x93: ("H", [KINDS[coded.kind]]),
        0x96: ("U", coded.table),
    }
    if black is not None:
        own[0x3D] = ("H", list(black))
    notes = b"Nikon\0\2\x10\0\0" + tiff([own], order)
    camera, exif = shot("NIKON CORPORATION", model, iso=iso, time=time, notes=("U", notes))

    def header(start: int) -> bytes:
        raw = {
            254: ("I", [0]),
            256: ("I", [width]),
            257: ("I", [height]),
            258: ("H", [coded.bits]),
            259: ("H", [_NEF_COMPRESSED]),
            262: ("H", [32803]),
            STRIP_OFFSET: ("I", [start]),
            277: ("H", [1]),
            278: ("I", [height]),
            STRIP_BYTES: ("I", [len(coded.stream)]),
            33421: ("H", [2, 2]),
            33422: ("B", list(cfa)),
        }
        return tiff([{**camera, SUB_IFDS: Nested(raw), EXIF: exif}], order)

    return placed(header, coded.stream)
