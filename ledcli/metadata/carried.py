"""The tags of a source file that go to its result: `tags.csv` has a row for each of them.

Add a row to carry another tag.
"""

import contextlib
import csv
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cache
from importlib import resources

from ledcli.metadata.containers import Holds, is_crw, parts
from ledcli.metadata.dng_mosaic import is_dng, mosaic_directory
from ledcli.metadata.tiff import Bytes, Directory, Field, FieldType
from ledcli.metadata.xmp import BASIC, MAX_PACKET_BYTES, description, join

Fields = Mapping[int, Field]
"""By tag."""

MAP_DIMENSIONS = {50938: 50937, 50939: 50937, 50982: 50981}
"""Tables of a camera profile, and the tag with their number of hues, saturations and values."""
_XMP, _IPTC, _EXIF_IFD, _GPS_IFD, _MAKER_NOTES = 700, 33723, 34665, 34853, 37500
_DNG_PRIVATE_DATA = 50740
_RATING = 18246
"""Microsoft's tag for a photo's stars; the standard has them in XMP."""
_MAX_STARS = 5
_IPTC_MARKER = 0x1C
_MAX_IPTC_BYTES = 1 << 20
_WHOLE = {FieldType.BYTE, FieldType.SHORT, FieldType.LONG}
_FRACTIONS = {FieldType.RATIONAL, FieldType.SRATIONAL}
_UNICODE = b"UNICODE\0"


class Place(Enum):
    """Directory that a tag is read from and written to."""

    IMAGE = "first directory of any file"
    CAMERA = "first directory of a DNG: the camera"
    COLOUR = "first directory of a DNG: how to show its colours"
    RAW = "directory of the raw image"
    EXIF = "Exif directory"
    GPS = "GPS directory"


class Rule(Enum):
    """What else is asked of a tag's value."""

    NONE = "any value"
    DATE = "text with date and time"
    MAY_BE_UNKNOWN = 'the fraction 0/0, "unknown", is allowed'
    CHARSET = "the first eight bytes name the character set"
    CROP = "top, left, bottom and right of a rectangle, as shares of height and width"
    MOSAIC_ONLY = "not for a demosaiced image"
    LITTLE_ENDIAN = "only from a little-endian file: the numbers inside have the file's byte order"


@dataclass(frozen=True)
class Tag:
    """A tag that is carried over.

    Name and type are the standard's. Whole numbers of another width, and fractions of the other
    signedness, are converted if they fit. `count` is the smallest and largest number of values.
    """

    number: int
    name: str
    place: Place
    type: FieldType
    count: tuple[int, int]
    rule: Rule = Rule.NONE


def _read_table() -> tuple[Tag, ...]:
    text = resources.files(__package__).joinpath("tags.csv").read_text("utf-8")
    tags = []
    for row in csv.DictReader(line for line in text.splitlines() if line[0] != "#"):
        low, _, high = row["count"].partition("-")
        count, kind = (int(low), int(high or low)), FieldType[row["type"]]
        place, rule = Place[row["directory"]], Rule[row["rule"] or "NONE"]
        tags.append(Tag(int(row["number"]), row["name"], place, kind, count, rule))
    return tuple(tags)


TAGS = _read_table()


@cache
def tags_in(place: Place) -> dict[int, Tag]:
    """Return the rows of a directory by tag number."""
    return {tag.number: tag for tag in TAGS if tag.place is place}


def fit(tag: Tag, field: Field, order: str = "<") -> Field | None:
    """Convert a value to what the standard asks for.

    None for a wrong type or number of values, a number out of range, a zero denominator, and a
    float that is not finite. `order` is the source's byte order, for UTF-16 in comments.
    """
    low, high = tag.count
    if tag.type == FieldType.ASCII:
        if field.type not in (FieldType.ASCII, FieldType.BYTE):
            return None
        if tag.rule is Rule.DATE and not date(field.data.rstrip(b"\0").decode("utf-8", "replace")):
            return None
        text = field.data if field.data.endswith(b"\0") else field.data + b"\0"
        return Field(FieldType.ASCII, text) if len(text) <= high + 1 else None
    if not low <= field.count <= high or (tag.rule is Rule.LITTLE_ENDIAN and order == ">"):
        return None
    types = {tag.type, field.type}
    if types <= _WHOLE or types <= _FRACTIONS:
        words = field.words()
        if types <= _FRACTIONS and not all(
            below or (tag.rule is Rule.MAY_BE_UNKNOWN and not above)
            for above, below in zip(words[::2], words[1::2], strict=True)
        ):
            return None
        if tag.rule is Rule.CROP:
            top, left, bottom, right = field.numbers()
            if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
                return None
        try:
            return Field.of_words(tag.type, words)
        except struct.error:
            return None
    if tag.type != field.type:
        return None
    if tag.type == FieldType.FLOAT and not all(map(math.isfinite, field.words())):
        return None
    if tag.rule is Rule.CHARSET and order == ">" and field.data.startswith(_UNICODE):
        comment = field.data[8 : field.count // 2 * 2].decode("utf-16-be", "replace")
        return Field(field.type, _UNICODE + comment.encode("utf-16-le"))
    return field


def date(value: str | None) -> str | None:
    """Return a time that exists, ``YYYY:MM:DD HH:MM:SS``, unchanged; anything else as None."""
    with contextlib.suppress(ValueError):
        time = datetime.strptime(value or "", "%Y:%m:%d %H:%M:%S")
        # strptime also takes numbers without their zeros.
        return value if value and value.replace(":", "-", 2) == str(time) else None
    return None


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

    Takes the tags of `TAGS` whose values are what the standard asks for, from TIFF of either
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
        self.take(Place.RAW, mosaic_directory(data))
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
