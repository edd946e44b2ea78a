"""What a source file itself says: the tags that go to its result, and a DNG's active area."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ledcli.metadata.containers import Holds, is_crw, parts
from ledcli.metadata.tags import MAP_DIMENSIONS, Place, fit, tags_in
from ledcli.metadata.tiff import Bytes, Directory, Field
from ledcli.metadata.xmp import BASIC, MAX_PACKET_BYTES, description, join

Fields = Mapping[int, Field]
"""By tag."""

_XMP, _IPTC, _EXIF_IFD, _GPS_IFD, _MAKER_NOTES = 700, 33723, 34665, 34853, 37500
_DNG_VERSION, _DNG_PRIVATE_DATA = 50706, 50740
_RATING = 18246
"""Microsoft's tag for a photo's stars; the standard has them in XMP."""
_MAX_STARS = 5
_IPTC_MARKER = 0x1C
_MAX_IPTC_BYTES = 1 << 20
_SUBFILE_TYPE, _PHOTOMETRIC, _CFA = 254, 262, 32803
_WIDTH, _LENGTH, _ACTIVE_AREA = 256, 257, 50829
_BLACK_REPEAT, _BLACK, _CROP_ORIGIN, _CROP_SIZE = 50713, 50714, 50719, 50720
_PATTERN_REPEAT = 33421
_CELL = 6
"""Rows and columns after which every CFA repeats."""


@dataclass(frozen=True)
class Carried:
    """Tags of a source that go to its result as they are.

    Fields are those of the first directory (`image`, with a DNG's colour tags), of the Exif and
    the GPS directory, and of that of the raw image. `maker_notes` says whether the source has any.
    """

    image: Fields = field(default_factory=dict)
    exif: Fields = field(default_factory=dict)
    gps: Fields = field(default_factory=dict)
    xmp: bytes | None = None
    iptc: bytes | None = None
    maker_notes: bool = False
    raw: Fields = field(default_factory=dict)


def read_carried(data: Bytes) -> Carried:
    """Read the tags of a raw file that go to its result.

    Takes the tags of `tags.TAGS` whose values are what the standard asks for, from TIFF of either
    byte order (most raws), CR3, RAF, MRW, and raws that begin with a JPEG; nothing from others.
    Damage never raises; only reading `data` may.
    """
    found = _Found()
    for part in parts(data):
        if part.holds is Holds.ALL:
            found.take_file(part.data)
        elif part.holds is Holds.EXIF:
            found.take(Place.EXIF, Directory.first(part.data))
        elif part.holds is Holds.GPS:
            found.take(Place.GPS, Directory.first(part.data))
        elif part.holds is Holds.XMP:
            found.xmp = found.xmp or part.data[:]
        else:
            found.maker_notes = True
    tags, maker_notes = found.tags, found.maker_notes or is_crw(data)
    image = tags[Place.IMAGE] | tags[Place.CAMERA] | tags[Place.COLOUR]
    _drop_wrong_maps(image)
    xmp = _with_rating(found.xmp, found.stars)
    exif, gps, raw = tags[Place.EXIF], tags[Place.GPS], tags[Place.RAW]
    return Carried(image, exif, gps, xmp, found.iptc, maker_notes, raw)


class _Found:
    """Tags as they are found; the first value of a tag stays."""

    def __init__(self) -> None:
        self.tags: dict[Place, dict[int, Field]] = {place: {} for place in Place}
        self.xmp: bytes | None = None
        self.iptc: bytes | None = None
        self.stars = 0
        self.maker_notes = False

    def take_file(self, data: Bytes) -> None:
        first = Directory.first(data)
        exif = first.child(_EXIF_IFD)
        self.take(Place.IMAGE, first)
        # Some cameras keep the exposure in the first directory, as in TIFF/EP.
        self.take(Place.EXIF, exif)
        self.take(Place.EXIF, first)
        self.take(Place.GPS, first.child(_GPS_IFD))
        self.take(Place.RAW, _raw_directory(data))
        if is_dng(data):
            self.take(Place.CAMERA, first)
            self.take(Place.COLOUR, first)
        self.stars = self.stars or sum(first.integers(_RATING)[:1])
        self.xmp = self.xmp or first.stored(_XMP, MAX_PACKET_BYTES)
        # Often typed LONG, but the bytes are never turned round.
        iptc = first.stored(_IPTC, _MAX_IPTC_BYTES)
        if self.iptc is None and iptc and iptc[0] == _IPTC_MARKER:
            self.iptc = iptc
        notes = _MAKER_NOTES in exif.entries or _MAKER_NOTES in first.entries
        self.maker_notes = self.maker_notes or notes or _DNG_PRIVATE_DATA in first.entries

    def take(self, place: Place, directory: Directory) -> None:
        wanted, found = tags_in(place), self.tags[place]
        for number in wanted.keys() & directory.entries.keys() - found.keys():
            value = directory.get(number)
            fitting = fit(wanted[number], value, directory.order) if value else None
            if fitting is not None:
                found[number] = fitting


def _with_rating(xmp: bytes | None, stars: int) -> bytes | None:
    """Return the packet, with the camera's rating if it has none of its own."""
    if xmp is not None and len(xmp) > MAX_PACKET_BYTES:
        xmp = None
    if not 1 <= stars <= _MAX_STARS or b"Rating" in (xmp or b""):
        return xmp
    return join(xmp, description(f'xmlns:xmp="{BASIC}" xmp:Rating="{stars}"'))


def _drop_wrong_maps(image: dict[int, Field]) -> None:
    """Remove a profile's tables whose size is not what the profile says."""
    for table, dimensions in MAP_DIMENSIONS.items():
        size = image[dimensions].words() if dimensions in image else (0,)
        if table in image and image[table].count != 3 * math.prod(size):
            del image[table]
    used = {dimensions for table, dimensions in MAP_DIMENSIONS.items() if table in image}
    for dimensions in set(MAP_DIMENSIONS.values()) - used:
        image.pop(dimensions, None)


def is_dng(data: Bytes) -> bool:
    """Return True if a file is a DNG."""
    return _DNG_VERSION in Directory.first(data).entries


def _raw_directory(data: Bytes) -> Directory:
    """Find the directory of the full-size mosaic; empty if there is none."""
    for directory in Directory.walk(data):
        kind = directory.integers(_SUBFILE_TYPE) or [0]
        if kind == [0] and directory.integers(_PHOTOMETRIC) == [_CFA]:
            return directory
    return Directory()


class DngMosaic(NamedTuple):
    """What a DNG says of its mosaic.

    Attributes
    ----------
    shape : (H, W)
        Of the stored samples.
    active_area : (top, left, bottom, right)
    black : float64 array (6, 6) or None
        Black level in DN by row and column of the active area, modulo 6; None if the levels repeat
        otherwise.
    crop : (top, left, height, width) or None
        From the active area's first pixel.
    """

    shape: tuple[int, int]
    active_area: tuple[int, int, int, int]
    black: NDArray[np.float64] | None
    crop: tuple[int, int, int, int] | None


def misread_mosaic(data: Bytes) -> DngMosaic | None:
    """Read what LibRaw 0.22 gets wrong: odd active areas of Bayer DNGs, black of X-Trans DNGs.

    LibRaw drops the first row or column of an odd Bayer area and mixes up the colours' black
    levels; to an X-Trans it gives one black level for all colours. None for every other file.
    """
    if not is_dng(data):
        return None
    directory = _raw_directory(data)

    def numbers(tag: int) -> list[float]:
        found = directory.get(tag)
        return found.numbers() if found else []

    def integers(tag: int) -> list[int]:
        return [round(number) for number in numbers(tag)]

    size = [*integers(_LENGTH), *integers(_WIDTH)]
    area = integers(_ACTIVE_AREA) or [0, 0, *size]
    if len(size) != 2 or len(area) != 4:
        return None
    (height, width), (top, left, bottom, right) = size, area
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        return None
    if not (top | left) % 2 and integers(_PATTERN_REPEAT) != [_CELL, _CELL]:
        return None
    crop = None
    origin, shown = integers(_CROP_ORIGIN), integers(_CROP_SIZE)
    if len(origin) == len(shown) == 2:
        crop = (origin[1], origin[0], shown[1], shown[0])
    black, levels, repeat = None, numbers(_BLACK), integers(_BLACK_REPEAT) or [1, 1]
    if len(repeat) == 2 and set(repeat) <= {1, 2, 3, 6} and len(levels) == math.prod(repeat):
        rows, cols = repeat
        black = np.tile(np.reshape(levels, (rows, cols)), (_CELL // rows, _CELL // cols))
    return DngMosaic((height, width), (top, left, bottom, right), black, crop)
