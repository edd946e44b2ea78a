"""Canon's CR2: a lossless JPEG of the sensor cut into vertical slices.

The raw's directory is the file's fourth and is also named by bytes 8 to 15. Its image is a JPEG of
process 14 (ITU-T T.81, annex H): each sample is predicted by the one before it of the same
component, the first of a row by the first of the row above, and the difference is stored as its
number of bits, Huffman coded, and its low bits. The sensor's samples go into that JPEG slice after
slice, each slice row by row, and the stream of them is dealt to the components in turn and broken
into JPEG rows anew; tag 0xC640 has the number of slices before the last, their width, and the
last one's. The borders of the sensor and its masked columns are in SensorInfo (0x00E0), white
balance, black and white levels in ColorData (0x4001), whose layout depends on its length.
"""

import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.makers.bits import Huffman, packed
from tests.makers.tiff import STRIP_BYTES, STRIP_OFFSET, Nested, placed, shot, tiff

_CODE = Huffman((0, 1, 4, 2, 3, 1, 1, 1, 1, 1), (6, 4, 8, 5, 7, 3, 9, 2, 10, 0, 1, 11, 12, 13, 14))
"""Any code will do: the file has it."""
_OWNER = 9
"""OwnerName; the camera comes with "unknown"."""
_AS_SHOT, _BLACKS, _WHITES, _WORDS = 0x3F, 0x2B4, 0x2B8, 1250
"""ColorData version 4 (EOS-1Ds Mark III): places and length, in words."""


def stream(
    mosaic: NDArray[np.uint16], slices: Sequence[int], *, bits: int = 14, components: int = 2
) -> bytes:
    """Encode a sensor's samples (H, W) as CR2's sliced lossless JPEG.

    Parameters
    ----------
    slices : (number, width, last width)
        `number` slices of `width` columns are followed by one of the last width.
    bits, components : int
        Of the JPEG; Canon has two or four components.
    """
    height, width = mosaic.shape
    number, each, last = slices
    assert number * each + last == width and width % components == 0
    cuts = np.split(mosaic, [each * (index + 1) for index in range(number)], axis=1)
    values = np.concatenate([cut.ravel() for cut in cuts]).astype(np.int64)
    rows = values.reshape(height, width // components, components)
    predicted = np.empty_like(rows)
    predicted[:, 1:] = rows[:, :-1]
    predicted[1:, 0] = rows[:-1, 0]
    predicted[0, 0] = 1 << (bits - 1)
    coded = packed(*_CODE.differences(rows - predicted), filler=1)
    frame = struct.pack(">BHHB", bits, height, width // components, components)
    frame += b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    scan = bytes([components, *(b for c in range(components) for b in (c + 1, 0)), 1, 0, 0])
    table = b"\0" + _CODE.counts + _CODE.leaves
    return b"".join(
        [
            b"\xff\xd8",
            *(_segment(kind, data) for kind, data in ((0xC4, table), (0xC3, frame), (0xDA, scan))),
            coded.replace(b"\xff", b"\xff\0"),
            b"\xff\xd9",
        ]
    )


def cr2(
    mosaic: NDArray[np.uint16],
    *,
    borders: tuple[int, int, int, int],
    balance: Sequence[int],
    blacks: Sequence[int] = (1024,) * 4,
    white: int = 15000,
    slices: Sequence[int] | None = None,
    bits: int = 14,
    components: int = 2,
    model: str = "Canon EOS-1Ds Mark III",
    iso: int = 800,
    time: Fraction = Fraction(1, 60),
) -> bytes:
    """Return a CR2 of a sensor's samples (H, W), masked columns and all; RGGB.

    Parameters
    ----------
    borders : (left, top, right, bottom)
        First and last column and row that see light.
    balance, blacks : four int
        For R, G, G, B.
    white : int
        NormalWhiteLevel; the last that is linear.
    """
    height, width = mosaic.shape
    slices = slices or (1, width // 2, width - width // 2)
    left, top, right, bottom = borders
    sensor = [34, width, height, 1, 1, left, top, right, bottom, *(0,) * 8]
    colours = np.zeros(_WORDS, np.uint16)
    colours[0] = 4
    colours[_AS_SHOT : _AS_SHOT + 4] = balance
    colours[_BLACKS : _BLACKS + 4] = blacks
    colours[_WHITES : _WHITES + 2] = white
    notes = {_OWNER: ("s", "unknown"), 0xE0: ("H", sensor), 0x4001: ("H", colours.tolist())}
    camera, exif = shot("Canon", model, iso=iso, time=time, notes=Nested(notes, notes=True))
    data = stream(mosaic, slices, bits=bits, components=components)

    def header(start: int) -> bytes:
        raw: dict[int, Any] = {
            259: ("H", [6]),
            STRIP_OFFSET: ("I", [start]),
            STRIP_BYTES: ("I", [len(data)]),
            0xC5E0: ("I", [1]),
            0xC640: ("H", list(slices)),
        }
        thumbnail = {256: ("H", [0]), 257: ("H", [0])}
        chain = [{**camera, 34665: exif}, thumbnail, thumbnail, raw]
        at = len(tiff(chain[:3], magic=bytes(8)))
        return tiff(chain, magic=b"CR\2\0" + struct.pack("<I", at))

    return placed(header, data)


def _segment(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(data) + 2) + data
