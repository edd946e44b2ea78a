"""What a DNG itself says of its active area and black levels, where LibRaw takes them wrong."""

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.tiff_reader import (
    Bytes,
    Directory,
    Entry,
    byte_order,
    directories,
    first_directory,
    integers,
    value_of,
)

_DNG_VERSION, _PURPOSE, _PHOTOMETRIC, _CFA = 50706, 254, 262, 32803
_WIDTH, _LENGTH, _ACTIVE_AREA = 256, 257, 50829
_BLACK_REPEAT, _BLACK, _CROP_ORIGIN, _CROP_SIZE = 50713, 50714, 50719, 50720
_PATTERN_REPEAT = 33421
_MOST_BYTES = 512
_LETTER = {3: "H", 4: "I", 5: "I"}
_RATIONAL = 5
_CELL = 6
"""Rows and columns after which the pattern of every sensor repeats."""


class DngFrame(NamedTuple):
    """What a DNG says of its mosaic.

    Attributes
    ----------
    shape : (H, W)
        Of all samples.
    area : (top, left, bottom, right)
        The active part of them.
    black : float array (6, 6) or None
        Level in DN of the active area's first pixels, which the others repeat; None where the
        levels repeat otherwise.
    crop : (top, left, height, width) or None
        From the active area's first pixel.
    """

    shape: tuple[int, int]
    area: tuple[int, int, int, int]
    black: NDArray[np.float64] | None
    crop: tuple[int, int, int, int] | None


def is_dng(data: Bytes) -> bool:
    """Whether a TIFF is a DNG."""
    return _DNG_VERSION in first_directory(data)


def raw_directory(data: Bytes) -> Directory:
    """Find the directory of a DNG's full-size mosaic; empty where there is none."""
    order = byte_order(data) or "<"
    for directory in directories(data):
        photometric = integers(data, order, directory.get(_PHOTOMETRIC))
        if photometric == [_CFA] and integers(data, order, directory.get(_PURPOSE)) in ([], [0]):
            return directory
    return {}


def odd_frame(data: Bytes) -> DngFrame | None:
    """Read the frame of a DNG whose active area begins in an odd row or column, or of an X-Trans.

    LibRaw 0.22 leaves out that row or column of a Bayer frame, and gives each colour the black of
    another. Of an X-Trans it gives all colours one black.

    Parameters
    ----------
    data : Bytes

    Returns
    -------
    DngFrame or None
        None for every other file, which LibRaw reads right.
    """
    if not is_dng(data):
        return None
    order = byte_order(data) or "<"
    directory = raw_directory(data)

    def whole(tag: int) -> list[int]:
        return [round(number) for number in _numbers(data, order, directory.get(tag))]

    size = [*whole(_LENGTH), *whole(_WIDTH)]
    area = whole(_ACTIVE_AREA) or [0, 0, *size]
    if len(size) != 2 or len(area) != 4:
        return None
    (height, width), (top, left, bottom, right) = size, area
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        return None
    if not (top | left) % 2 and whole(_PATTERN_REPEAT) != [_CELL, _CELL]:
        return None
    crop = None
    origin, shown = whole(_CROP_ORIGIN), whole(_CROP_SIZE)
    if len(origin) == len(shown) == 2:
        crop = (origin[1], origin[0], shown[1], shown[0])
    levels = _numbers(data, order, directory.get(_BLACK))
    black = _cell(levels, whole(_BLACK_REPEAT) or [1, 1])
    return DngFrame((height, width), (top, left, bottom, right), black, crop)


def _cell(levels: list[float], repeat: list[int]) -> NDArray[np.float64] | None:
    """Spread black levels over the cell that every pattern repeats after."""
    if len(repeat) != 2 or not set(repeat) <= {1, 2, 3, 6}:
        return None
    if len(levels) != repeat[0] * repeat[1]:
        return None
    rows, cols = repeat
    return np.tile(np.reshape(levels, (rows, cols)), (_CELL // rows, _CELL // cols))


def _numbers(data: Bytes, order: str, entry: Entry | None) -> list[float]:
    """Read a tag's numbers, whole or fractions; none where it has no usable ones."""
    field = value_of(data, order, entry, _MOST_BYTES) if entry else None
    letter = _LETTER.get(field[0]) if field else None
    if field is None or letter is None:
        return []
    kind, _, raw = field
    parts = struct.unpack(f"<{len(raw) // struct.calcsize(letter)}{letter}", raw)
    if kind != _RATIONAL:
        return list(parts)
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    return [high / low for high, low in pairs] if all(low for _, low in pairs) else []
