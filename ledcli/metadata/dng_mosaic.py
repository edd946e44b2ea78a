"""What a DNG itself says of its mosaic: size, active area, crop, black and white levels.

Also the opcode lists of any DNG: corrections that its reader makes (DNG 1.7, chapter 7).
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ledcli.metadata.tiff import STRIPS, TILES, Bytes, Directory

_DNG_VERSION, _SUBFILE_TYPE, _PHOTOMETRIC = 50706, 254, 262
_CFA, _LINEAR_RAW = 32803, 34892
_WIDTH, _LENGTH, _SAMPLES, _SAMPLE_FORMAT = 256, 257, 277, 339
_FLOAT = 3
_COMPRESSION, _JPEG, _JPEG_MAGIC = 259, 7, b"\xff\xd8"
_CFA_LAYOUT, _ACTIVE_AREA, _MASKED_AREAS = 50711, 50829, 50830
_BLACK_REPEAT, _BLACK, _DELTA_H, _DELTA_V, _WHITE = 50713, 50714, 50715, 50716, 50717
_CROP_ORIGIN, _CROP_SIZE = 50719, 50720
_NOISE_PROFILE = 51041
_INTERLEAVED = {50975: "rows", 52547: "columns"}
"""RowInterleaveFactor, ColumnInterleaveFactor."""
_LINEARISATION, _OPCODES = 50712, 51008
"""LinearizationTable, OpcodeList1."""
MAX_OPCODES = 1000
"""Real lists have up to a few dozen."""

Area = tuple[int, int, int, int]
"""Top, left, bottom, right in samples."""


def is_dng(data: Bytes) -> bool:
    """Return True if a file is a DNG."""
    return _DNG_VERSION in Directory.first(data).entries


def mosaic_directory(data: Bytes, shape: tuple[int, int] | None = None) -> Directory:
    """Find the directory of the full-size mosaic, of a shape (H, W) if given; empty if none.

    A monochrome sensor's image counts as one: LinearRaw with one sample per pixel.
    """
    for directory in Directory.walk(data):
        kind = directory.integers(_SUBFILE_TYPE) or [0]
        linear = directory.integers(_PHOTOMETRIC) == [_LINEAR_RAW]
        mono = linear and directory.integers(_SAMPLES) in ([], [1])
        if kind != [0] or not (mono or directory.integers(_PHOTOMETRIC) == [_CFA]):
            continue
        if shape is None or stored_size(directory) == list(shape):
            return directory
    return Directory()


@dataclass(frozen=True)
class DngMosaic:
    """What a DNG says of its mosaic; lists are empty where a tag is missing."""

    shape: tuple[int, int]
    """Of the stored samples (H, W)."""
    active_area: Area | None
    crop: Area | None
    """Top, left, height and width, from the active area's first pixel."""
    black: list[float]
    black_repeat: list[int]
    """Values in DN, and the rows and columns after which they repeat."""
    delta_h: list[float]
    delta_v: list[float]
    """What is added to black in each column and each row of the active area, DN."""
    white: list[float]
    """DN."""
    masked: list[Area] | None
    """Samples that no light reaches; None if the tag is missing."""
    is_float: bool
    """The samples are floating point."""
    linearisation: list[int]
    """DN by stored value."""
    opcodes: bytes
    """The corrections of the stored samples."""
    noise: tuple[float, float] | None
    """Gain and read variance of NoiseProfile, for white - black = 1; the mean of the colours."""
    unreadable: str
    """Why the layout cannot be honoured, as the end of a sentence; empty if it can."""
    lost: str
    """What is missing of the samples, as the end of a sentence; empty if all seem there."""


def read_dng_mosaic(data: Bytes, shape: tuple[int, int]) -> DngMosaic | None:
    """Read the directory of a DNG's mosaic of a shape (H, W); None if the file has none.

    LibRaw 0.22 cuts black to whole numbers, averages the deltas, knows one black for all colours of
    an X-Trans, and drops the first row or column of an odd active area.
    """
    directory = mosaic_directory(data, shape)
    if not is_dng(data) or not directory.entries:
        return None

    has_masks = _MASKED_AREAS in directory.entries
    # LibRaw, which finds levels in the first directory, would put black by the masked areas.
    elsewhere = has_masks and _BLACK not in directory.entries

    def numbers(tag: int) -> list[float]:
        level = elsewhere and tag in (_BLACK, _BLACK_REPEAT)
        found = (Directory.first(data) if level else directory).get(tag)
        return found.numbers() if found else []

    def integers(tag: int) -> list[int]:
        return [round(number) for number in numbers(tag) if math.isfinite(number)]

    area = integers(_ACTIVE_AREA)
    origin, size = integers(_CROP_ORIGIN), integers(_CROP_SIZE)
    crop = (origin[1], origin[0], size[1], size[0]) if len(origin) == len(size) == 2 else None
    return DngMosaic(
        shape=shape,
        active_area=next(_areas(area, shape), None) if len(area) == 4 else None,
        crop=crop,
        black=numbers(_BLACK),
        black_repeat=integers(_BLACK_REPEAT),
        delta_h=numbers(_DELTA_H),
        delta_v=numbers(_DELTA_V),
        white=numbers(_WHITE),
        masked=list(_areas(integers(_MASKED_AREAS), shape)) if has_masks else None,
        is_float=_FLOAT in integers(_SAMPLE_FORMAT),
        linearisation=integers(_LINEARISATION),
        opcodes=directory.stored(_OPCODES) or b"",
        noise=_noise(directory) or _noise(Directory.first(data)),
        unreadable=_unreadable(directory),
        lost=_lost(data, directory),
    )


def _noise(directory: Directory) -> tuple[float, float] | None:
    found = directory.get(_NOISE_PROFILE)
    values = found.numbers() if found else []
    if len(values) not in (2, 6, 8) or not all(0 <= value < 1 for value in values):
        return None
    gains, variances = values[::2], values[1::2]
    noise = sum(gains) / len(gains), sum(variances) / len(variances)
    return noise if any(noise) else None


def _unreadable(directory: Directory) -> str:
    samples = directory.integers(_SAMPLES) or [1]
    if samples != [1]:
        return f"has {samples[0]} samples per pixel (Super CCD SR)"
    if (directory.integers(_CFA_LAYOUT) or [1]) != [1]:
        return "has a staggered CFA (CFALayout)"
    for tag, lines in _INTERLEAVED.items():
        if (directory.integers(tag) or [1]) != [1]:
            return f"has interleaved {lines}"
    for tag, name in ((_BLACK, "BlackLevel"), (_DELTA_H, "BlackLevelDeltaH"),
                      (_DELTA_V, "BlackLevelDeltaV"), (_WHITE, "WhiteLevel")):  # fmt: skip
        if tag in directory.entries:
            found = directory.get(tag)
            values = found.numbers() if found else []
            if not values or not all(map(math.isfinite, values)):
                return f"has a {name} that is not a number"
    return ""


def _lost(data: Bytes, directory: Directory) -> str:
    """Say which parts of lossless JPEG do not begin like one: LibRaw decodes nothing there."""
    if directory.integers(_COMPRESSION) != [_JPEG]:
        return ""
    for name, (offsets, _) in (("tiles", TILES), ("strips", STRIPS)):
        starts = directory.integers(offsets)
        lost = sum(data[start : start + 2] != _JPEG_MAGIC for start in starts)
        if lost:
            return f"has lost {lost} of its {len(starts)} {name}"
    return ""


def wrong_layout(data: Bytes) -> str:
    """Say why a DNG's mosaic cannot be laid out, as the end of a sentence; empty if it can."""
    directory = mosaic_directory(data)
    shape, area = stored_size(directory), directory.integers(_ACTIVE_AREA)
    if len(shape) == 2 and len(area) == 4 and not list(_areas(area, (shape[0], shape[1]))):
        return (
            f"has an ActiveArea (rows {area[0]} to {area[2]}, columns {area[1]} to {area[3]}) that "
            f"is not inside its {shape[0]} rows and {shape[1]} columns"
        )
    for offsets, counts in map(directory.integers, STRIPS), map(directory.integers, TILES):
        parts = sorted(zip(offsets, counts, strict=False))
        if any(start + size > after for (start, size), (after, _) in pairwise(parts)):
            return "has strips or tiles that share bytes"
    return ""


def _areas(numbers: Sequence[int], shape: tuple[int, int]) -> Iterator[Area]:
    """Yield the areas in a list of numbers that lie inside the samples."""
    for at in range(0, len(numbers) - 3, 4):
        top, left, bottom, right = numbers[at : at + 4]
        if 0 <= top < bottom <= shape[0] and 0 <= left < right <= shape[1]:
            yield top, left, bottom, right


def stored_size(directory: Directory) -> list[int]:
    """Return the rows and columns of a directory's image; empty if it says none."""
    return [*directory.integers(_LENGTH), *directory.integers(_WIDTH)]


class Opcode(NamedTuple):
    """One correction; `version` is that of the first DNG specification that has it."""

    number: int
    version: int
    flags: int
    data: bytes

    @property
    def optional(self) -> bool:
        """Return True if a reader may leave it out."""
        return bool(self.flags & 1)


def read_opcodes(data: bytes) -> Iterator[Opcode]:
    """Yield the opcodes of a list, which is big-endian in every file; damage ends it."""
    at = 4
    for _ in range(min(int.from_bytes(data[:4]), MAX_OPCODES)):
        head = data[at : at + 16]
        if len(head) < 16:
            return
        number, version, flags, size = struct.unpack(">4I", head)
        at += 16
        if at + size > len(data):
            return
        yield Opcode(number, version, flags, data[at : at + size])
        at += size
